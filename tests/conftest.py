"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from drawn_completer import write_completer

from amodalpl import builtin
from amodalpl.runtime.summary import Summary


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks here are so small that threads only wait for one another."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of helpers too; a command does not warn of a busy machine then


@pytest.fixture(autouse=True, scope="session")
def small_builtin(tmp_path_factory) -> Iterator[None]:
    """The package's completer is a tiny one in tests; tests/unit/test_shipped_completer.py looks at the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "FOLDER", write_completer(tmp_path_factory.mktemp("small") / "builtin"))
        yield


@pytest.fixture(autouse=True)
def free_machine(monkeypatch) -> None:
    """The command line warns where the machine is busy, which tests that compare what is printed must not depend on."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)


@pytest.fixture
def fake_stage(monkeypatch) -> Callable[..., list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Replace a stage function behind the command line, and record how it is called."""

    def replace(module: str, function: str, act: Callable[..., Summary] | None = None):
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def stage(*args: Any, **kwargs: Any) -> Summary:
            calls.append((args, kwargs))
            return act(*args, **kwargs) if act else Summary(function, None)

        monkeypatch.setitem(sys.modules, f"amodalpl.{module}", SimpleNamespace(**{function: stage}))
        return calls

    return replace


@pytest.fixture
def mmdet_scope() -> Iterator[None]:
    """Names of types are MMDetection's, whatever trained before: a completer's training leaves them to MMEngine."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The browser that opens the pages; without one, their tests are skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on the path: install it to test the pages")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()
