"""Every public name says what it is, and the reference has it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

import gearmancmd
from gearmancmd import compat
from tests.support.workers import ROOT

REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
WHOLE_MODULES = re.findall(r"automodule:: (\S+)\n   :members:\n", REFERENCE)
MODULES = sorted((ROOT / "gearmancmd").rglob("*.py"))


def undocumented(node: ast.AST, name: str) -> Iterator[str]:
    """The public names in a module or class, and the module itself, that have no docstring."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        overloads = any(getattr(each, "id", "") == "overload" for each in getattr(node, "decorator_list", ()))
        if ast.get_docstring(node) is None and not overloads:
            yield name
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for each in node.body:
            if not getattr(each, "name", "_").startswith("_"):
                yield from undocumented(each, f"{name}.{each.name}")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_name_has_a_docstring(path):
    assert list(undocumented(ast.parse(path.read_text("utf-8")), path.stem)) == []


@pytest.mark.parametrize("module", [gearmancmd, compat], ids=["gearmancmd", "compat"])
def test_the_reference_has_every_name(module):
    def is_there(name: str) -> bool:
        return f" {module.__name__}.{name}\n" in REFERENCE or getattr(module, name).__module__ in WHOLE_MODULES

    assert [name for name in module.__all__ if not is_there(name)] == []
