"""What `amodalpl doctor` says here."""

from __future__ import annotations

from amodalpl.tools.doctor import doctor

from .context import Context


def measure(context: Context) -> None:
    """Keep each line of `doctor`."""
    counts = doctor().counts
    for name, version in counts.pop("packages").items():
        context.say(name, version)
    for name, value in counts.items():
        context.say(name.replace("_", " "), "; ".join(map(str, value)) if isinstance(value, list) else str(value))
