"""How Sphinx builds the documentation: `tox -e docs`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the reference is about this checkout, whatever is installed


def read_version() -> str:
    """The version, as setup.py reads it."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "gearmancmd" / "__init__.py").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError("gearmancmd/__init__.py has no __version__")
    return found.group(1)


project = "gearmancmd"
author = copyright = "The gearmancmd authors"
version = release = read_version()

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

# Docstrings have names of arguments, and code, in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["gear"]  # which only the embedded server needs
# No page tells of the types of others, nor of the names that are private.
nitpick_ignore_regex = [("py:class", r"(?!gearmancmd\.).*"), ("py:class", r"gearmancmd\.(.*\.)?(_.*|[A-Z])")]

html_theme = "furo"
html_title = f"gearmancmd {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
pygments_dark_style = "github-dark"  # furo's own underlines the names of modules
