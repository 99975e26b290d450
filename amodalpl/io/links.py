"""Whether photos may be links that lead out of their folder: no, unless whoever starts amodalpl says so."""

from __future__ import annotations

import os

FOLLOW_LINKS = "AMODALPL_FOLLOW_LINKS"
"""Variable of the environment, which processes that are started inherit; `amodalpl --follow-links` sets it."""


def links_are_followed() -> bool:
    """Tell whether photos may be links that lead out of the image folder."""
    return os.environ.get(FOLLOW_LINKS, "") not in ("", "0")
