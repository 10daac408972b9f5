"""The command line: ``gearmancmd ...`` and ``python -m gearmancmd ...``. It comes with the extra ``cli``."""

from __future__ import annotations

import sys
from typing import NoReturn

try:
    from .program import main
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in {"click", "rich"}:
        raise

    def main() -> NoReturn:
        """Say what has to be installed."""
        sys.exit("gearmancmd: the command line needs click and rich: pip install 'gearmancmd[cli]'")


__all__ = ["main"]
