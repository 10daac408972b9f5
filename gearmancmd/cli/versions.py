"""What ``gearmancmd --version`` says."""

from __future__ import annotations

import platform

from .. import __version__

#: The packages that the program needs, and those that it can use, by the names of their modules.
_MODULES = ("gearman", "simplejson", "click", "rich", "gear", "prometheus_client")


def versions() -> str:
    """Our version, Python's, and those of the packages below us that are installed."""
    from importlib import metadata  # noqa: PLC0415 - its import takes longer than most commands do

    # The module gearman comes with pygearman as well as with gearman3: only the installed packages tell.
    packages = metadata.packages_distributions()
    # Python 3.10 does not know the modules of each package; most packages have the name of their module.
    names = [name for module in _MODULES for name in dict.fromkeys(packages.get(module, [module]))]
    below = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            below.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            pass  # an extra that is not there
    return f"gearmancmd {__version__} ({', '.join(below)})"
