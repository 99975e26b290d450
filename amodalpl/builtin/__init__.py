"""The completer that comes with the package: half-precision weights, their card, scores, provenance and licence.

It sees masks only, of one class for all: `docs/builtin_completer.md` is its model card. `make builtin COMPLETER=DIR`
puts it here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError

FOLDER = Path(__file__).parent
BUILTIN = "builtin"
"""What stands for it wherever a completer's folder is asked for; a folder of that name is `./builtin`."""
_CARD, _METRICS, _PROVENANCE = "completer.json", "metrics.json", "provenance.json"
_SCORES = "hold-out completion, micro (PCNet/ASBU): all"


def completer_folder(given: Path | str) -> Path:
    """Return the folder of a completer that was asked for.

    Args:
        given: a folder as `amodalpl complete` writes it, or the word `builtin`.

    Raises:
        DataError: this installation has no completer of its own.
    """
    if not is_builtin(given):
        return Path(given)
    if not (FOLDER / _CARD).exists():
        raise DataError(
            f"{FOLDER / _CARD}: expected the completer that comes with amodalpl, found no such file; install it again "
            "from a release, or give a completer of your own (`amodalpl complete`)"
        )
    return FOLDER


@dataclass(frozen=True)
class Start:
    """A completer that a training can start from, as `amodalpl complete --list` shows it."""

    folder: Path

    def describe(self) -> dict[str, str]:
        """Return how it was trained, and its scores on a hold-out of the photos that it was trained beside."""
        try:
            card, metrics, provenance = (
                json.loads((self.folder / name).read_text(encoding="utf-8")) for name in (_CARD, _METRICS, _PROVENANCE)
            )
        except FileNotFoundError:
            return {"method": "not in this installation", "steps": "", "hidden parts, hold-out": "", "hull": ""}
        rows = metrics["scores"][_SCORES]
        return {
            "method": card["method"],
            "steps": f"{provenance['steps']} of {provenance['settings']['training']['batch_size']}",
            "hidden parts, hold-out": _shown(rows["labels"]["invisible_miou"]),
            "hull": _shown(rows["convex hull"]["invisible_miou"]),
        }


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


STARTS = {BUILTIN: Start(FOLDER)}


def is_builtin(given: Path | str) -> bool:
    """Tell whether the completer of the package is meant."""
    return str(given) == BUILTIN
