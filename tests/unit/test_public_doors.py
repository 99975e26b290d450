"""Tests come through public doors: none names what a module of the product keeps to itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("amodalpl", "cli", "benchmarks", "docker")


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name != "_"


def is_own(node):
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def defined_in(tree) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif is_own(node) and isinstance(node.ctx, ast.Store):
            yield node.attr


def named_in(tree) -> Iterator[tuple[int, str]]:
    """Yield what is imported, what is taken from something else than `self`, and strings, as patches take them."""
    filled_in = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and not is_own(node):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in filled_in:
            yield node.lineno, node.value.rpartition(".")[2]


@pytest.fixture(scope="module")
def private():
    files = [file for folder in PRODUCT for file in (ROOT / folder).rglob("*.py")]
    names = {name for file in files for name in defined_in(ast.parse(file.read_text(encoding="utf-8")))}
    return set(filter(is_private, names))


def test_no_test_names_what_is_private(private):
    found = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for line, name in named_in(ast.parse(file.read_text(encoding="utf-8")))
        if name in private
    ]
    assert not found, "\n".join(["go through the behaviour, or give it a public name:", *found])


@pytest.mark.parametrize(
    "code",
    [
        "from amodalpl.runtime.stage_run import _visible",
        "stage_run._visible(folder)",
        "run._lock.release()",
        'monkeypatch.setattr(stage_run, "_visible", list)',
        'monkeypatch.setattr("amodalpl.runtime.stage_run._visible", list)',
    ],
    ids=["import", "function", "attribute", "patch", "patch by its path"],
)
def test_every_way_in_is_seen(private, code):
    assert len([name for _, name in named_in(ast.parse(code)) if name in private]) == 1
