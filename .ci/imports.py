"""Who imports whom, against the contracts in pyproject.toml: what `make imports` runs, and a step of `.ci/check`."""

from __future__ import annotations

from importlinter.cli import lint_imports

if __name__ == "__main__":
    raise SystemExit(lint_imports(no_logo=True, no_cache=True))
