"""`amodalpl doctor`."""

from __future__ import annotations

from . import options
from .display import show


def doctor(as_json: options.Json = False) -> None:
    """Print what is installed, which device is used, and what to do about what is missing.

    Exits with 1 when a required package is missing.

    Example: [bold]amodalpl doctor[/bold]
    """
    from amodalpl.tools.doctor import doctor as stage

    show(lambda progress: stage(), as_json)
