"""A warning where two distributions own the module `gearman`: what was installed last has overwritten the other.

The look is one reading of the folder in which the module stands. What else it takes is done only where two are found:
importlib.metadata alone takes longer to import than gearman does.
"""

from __future__ import annotations

import os
import warnings

import gearman

_DISTRIBUTIONS = ("gearman", "gearman3", "pygearman")
#: The files that list what a distribution installed, and what they call the module.
_LISTS = {"RECORD": "gearman/__init__.py", "installed-files.txt": "../gearman/__init__.py", "top_level.txt": "gearman"}


def warn_of_two() -> None:
    """Warn, with what to uninstall, when more than one distribution installed the module beside it."""
    folder = os.path.dirname(os.path.dirname(gearman.__file__ or ""))
    found = owners(folder)
    if len(found) < 2:
        return
    names = sorted(found)
    warnings.warn(
        f"{' and '.join(f'{name} {found[name]}' for name in names)} each installed the module gearman in {folder}, one "
        f"over the other. Keep one: pip uninstall -y {' '.join(names)} && pip install pygearman",
        UserWarning,
        stacklevel=2,
    )


def owners(folder: str) -> dict[str, str]:
    """The distributions that installed a module gearman into a folder, each with its version."""
    try:
        entries = [entry for entry in os.listdir(folder) if entry.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return {}  # a zip file, say
    # pip leaves a folder NAME-VERSION.dist-info, older tools NAME-VERSION[-pyX.Y].egg-info. One without a version
    # stands in a checkout, and tells nothing of what is installed.
    traces = [entry for entry in entries if "-" in entry[:-10] and entry.partition("-")[0].lower() in _DISTRIBUTIONS]
    if len(traces) > 1:  # an editable install leaves a trace as well, and its module stands elsewhere
        traces = [entry for entry in traces if _lists_module(os.path.join(folder, entry))]
    return {entry.split("-")[0].lower(): _version(entry) for entry in traces}


def _version(trace: str) -> str:
    return trace.split("-")[1].removesuffix(".dist").removesuffix(".egg")


def _lists_module(trace: str) -> bool:
    """Whether a distribution's own list of its files names the module."""
    for name, line in _LISTS.items():
        try:
            with open(os.path.join(trace, name), encoding="utf-8", errors="replace") as stream:
                return any(each.partition(",")[0].strip() == line for each in stream)
        except OSError:
            continue
    return False
