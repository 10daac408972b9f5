"""What setup.py says of the package is what is tested, and what the CHANGELOG says."""

from __future__ import annotations

import re

import pytest

from tests.support.workers import ROOT

SETUP = (ROOT / "setup.py").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
PYTHONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', SETUP)


def test_the_classifiers_name_the_pythons_that_are_tested():
    (tested,) = re.findall(r"for version in (3\.10[ .\d]*); do", (ROOT / "scripts" / "check").read_text("utf-8"))
    assert tested.split() == PYTHONS
    assert f'python_requires=">={PYTHONS[0]}"' in SETUP
    environments = ", ".join(f"py{version.replace('.', '')}" for version in PYTHONS)
    assert environments in (ROOT / "tox.ini").read_text("utf-8")


def test_the_development_status_and_the_version_are_those_of_the_changelog():
    version, state = re.findall(r"^## (\S+) - (\S+)$", CHANGELOG, re.MULTILINE)[0]
    assert f'__version__ = "{version}"' in (ROOT / "gearmancmd" / "__init__.py").read_text("utf-8")
    assert ("Development Status :: 4 - Beta" in SETUP) == (state == "unreleased")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_of_a_page_lead_somewhere(name):
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", (ROOT / name).read_text("utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []
