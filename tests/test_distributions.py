"""Importing gearmancmd where two distributions own the module gearman: real folders, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gearman
import pytest

from tests.support.waiting import LIMIT
from tests.support.workers import ROOT

RECORD = "gearman/__init__.py,sha256=x,1\ngearman/job.py,sha256=x,1\n"
EDITABLE = "__editable___pygearman_finder.py,sha256=x,1\n"


@pytest.fixture
def site(tmp_path: Path):
    """A folder with a copy of the module, and nothing that says who installed it."""
    shutil.copytree(Path(gearman.__file__).parent, tmp_path / "gearman")
    return tmp_path


def trace(site: Path, name: str, **files: str) -> None:
    """What an installation leaves beside the module: a folder with files in it, or a file."""
    if not files:
        (site / name).write_text("Metadata-Version: 1.0\n", "utf-8")
        return
    (site / name).mkdir()
    for file, text in files.items():
        (site / name / file.replace("_txt", ".txt").replace("installed_files", "installed-files")).write_text(text)


def warnings_of_import(site: Path, *statements: str) -> list[str]:
    """The warnings of a fresh process that imports gearmancmd, with the modules of that folder before all others."""
    done = subprocess.run(
        [sys.executable, "-c", "; ".join(["import gearmancmd", *statements])],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if "Warning: " in line]


@pytest.mark.parametrize(
    "first, second",
    [
        (("gearman3-0.2.1.dist-info", {"RECORD": RECORD}), ("pygearman-0.2.6.dist-info", {"RECORD": RECORD})),
        (("gearman-2.0.2.dist-info", {"RECORD": RECORD}), ("pygearman-0.2.6.dist-info", {"RECORD": RECORD})),
        (
            ("gearman-2.0.2-py3.11.egg-info", {"top_level_txt": "gearman\n"}),
            ("gearman3-0.2.1.dist-info", {"RECORD": RECORD}),
        ),
        (
            ("gearman3-0.2.1-py3.11.egg-info", {"installed_files_txt": "../gearman/__init__.py\n"}),
            ("pygearman-0.2.6.dist-info", {"RECORD": RECORD}),
        ),
    ],
)
def test_two_are_named_once_with_what_to_do(site, first, second):
    for name, files in (first, second):
        trace(site, name, **files)
    (line,) = warnings_of_import(site, "import gearmancmd.client", "import gearmancmd.compat")
    names = sorted(name.partition("-")[0] for name, _ in (first, second))
    versions = [name.split("-")[1].removesuffix(".dist") for name, _ in sorted((first, second))]
    told = " and ".join(f"{name} {version}" for name, version in zip(names, versions, strict=True))
    assert f"UserWarning: {told} each installed the module gearman in {site}" in line
    assert line.endswith(f"pip uninstall -y {' '.join(names)} && pip install pygearman")


@pytest.mark.parametrize(
    "traces",
    [
        {},
        {"pygearman-0.2.6.dist-info": {"RECORD": RECORD}},
        {"gearman3-0.2.1.dist-info": {"RECORD": RECORD}},
        {"pygearman-0.2.6.dist-info": {"RECORD": EDITABLE}, "gearman3-0.2.1.dist-info": {"RECORD": RECORD}},
        {"pygearman.egg-info": {"top_level_txt": "gearman\n"}, "gearman3.egg-info": {"top_level_txt": "gearman\n"}},
        {"pygearman-0.2.6.dist-info": {"METADATA": ""}, "gearman3-0.2.1.dist-info": {"RECORD": RECORD}},
        {"gearman-2.0.2-py3.11.egg-info": {}, "gearman3-0.2.1.dist-info": {"RECORD": RECORD}},
        {"gearman_tools-1.0.dist-info": {"RECORD": RECORD}, "pygearman-0.2.6.dist-info": {"RECORD": RECORD}},
        {"~earman3-0.2.1.dist-info": {"RECORD": RECORD}, "pygearman-0.2.6.dist-info": {"RECORD": RECORD}},
    ],
    ids=["none", "pygearman", "gearman3", "editable", "a checkout", "no list", "one file", "another name", "removed"],
)
def test_nothing_is_claimed_that_cannot_be_seen(site, traces):
    for name, files in traces.items():
        trace(site, name, **files)
    assert warnings_of_import(site) == []


def test_the_other_may_stand_in_another_folder(site, tmp_path_factory):
    """Its files are its own there, whichever module is imported."""
    other = tmp_path_factory.mktemp("other")
    trace(other, "gearman3-0.2.1.dist-info", RECORD=RECORD)
    trace(site, "pygearman-0.2.6.dist-info", RECORD=RECORD)
    assert warnings_of_import(Path(f"{site}{os.pathsep}{other}")) == []


def test_a_module_in_a_zip_file_is_no_trouble(site):
    archive = shutil.make_archive(str(site / "gearman"), "zip", site, "gearman")
    assert warnings_of_import(Path(archive)) == []


def test_importing_it_costs_no_importlib_metadata(site):
    trace(site, "gearman3-0.2.1.dist-info", RECORD=RECORD)
    trace(site, "pygearman-0.2.6.dist-info", RECORD=RECORD)
    assert len(warnings_of_import(site, "import sys", "assert 'importlib.metadata' not in sys.modules")) == 1
