"""Loading a page of ours again in a browser."""

from __future__ import annotations

import json
from typing import Any


def reload(page: Any, kept_by: Any = None) -> None:
    """Load a page again: it starts with what it put into `localStorage`, or with what a tab beside it sees there.

    On a busy machine, Chromium 150 hands an empty storage to about one page in fifty that is loaded again, whatever was
    kept before. A test of our pages does not depend on that.
    """
    kept = (kept_by or page).evaluate("({...localStorage})")
    page.add_init_script(f"Object.assign(localStorage, {json.dumps(kept)})")
    page.reload()
