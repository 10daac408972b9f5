#!/usr/bin/env python3
"""Checks the types of the code that users are shown: each ```python block of README.md and docs/, and examples/.

Each is a module of its own, under mypy --strict and pyright's basic rules. The one setting is what mypy needs for the
module gearman, which has no annotations: it may read its source, and its functions may be called.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Not the Django project: neither Django nor its models have annotations.
PAGES = [ROOT / "README.md", *sorted(set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "frameworks.md"})]
#: Where the modules find what they import: the library, and an example that another one tests.
IMPORTED = [ROOT, ROOT / "examples"]
FILES = [*sorted((ROOT / "examples").glob("*.py")), ROOT / "tests" / "contract" / "typed_user.py"]

MYPY = """
[mypy]
untyped_calls_exclude = gearman, gearmancmd
[mypy-gearman.*]
follow_untyped_imports = True
"""


def name_of(path: Path) -> str:
    """A module's name, such as docs_clients for docs/clients.md."""
    return "_".join(path.relative_to(ROOT).with_suffix("").parts)


def modules() -> dict[str, str]:
    """The modules by name. A block is named after its line, and stands at that line, so that errors name it."""
    found = {name_of(file): file.read_text("utf-8") for file in FILES}
    for page in PAGES:
        text = page.read_text("utf-8")
        for block in BLOCK.finditer(text):
            lines_before = text.count("\n", 0, block.start(1))
            found[f"{name_of(page)}_line_{lines_before + 1}"] = "\n" * lines_before + block[1]
    return found


def is_content(*command: str | Path) -> bool:
    """Whether a checker finds nothing; it tells what it finds."""
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, IMPORTED))}
    return subprocess.run([sys.executable, "-m", *command], env=environment, check=False).returncode == 0


def check(directory: Path) -> bool:
    """Whether both checkers are content with the modules, which are written to a directory."""
    paths = []
    for name, source in modules().items():
        paths.append(directory / f"{name}.py")
        paths[-1].write_text(source, "utf-8")
    configuration = directory / "mypy.ini"
    configuration.write_text(MYPY, "utf-8")
    options = ("--strict", "--config-file", configuration, "--follow-imports=silent", "--cache-dir", os.devnull)
    mypy = is_content("mypy", *options, *paths)
    settings = {"typeCheckingMode": "basic", "extraPaths": [*map(str, IMPORTED)]}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    pyright = is_content("pyright", "--project", directory, "--pythonpath", sys.executable)
    return mypy and pyright


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        content = check(Path(made).resolve())  # pyright finds no file below a symbolic link
    sys.exit(0 if content else 1)
