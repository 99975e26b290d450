"""`python -m amodalpl` is the command `amodalpl`, for environments whose scripts are not on the path."""

from __future__ import annotations

from amodalpl_cli.main import app

if __name__ == "__main__":
    app(prog_name="amodalpl")
