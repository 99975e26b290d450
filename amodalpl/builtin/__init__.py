"""The completer that comes with the package: half-precision weights, their card, scores, provenance and licence.

It sees masks only, of one class for all: `docs/builtin_completer.md` is its model card. `make builtin COMPLETER=DIR`
puts it here.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError

FOLDER = Path(__file__).parent
BUILTIN = "builtin"
"""What stands for it wherever a completer's folder is asked for; a folder of that name is `./builtin`."""
_CARD = "completer.json"


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


def is_builtin(given: Path | str) -> bool:
    """Tell whether the completer of the package is meant."""
    return str(given) == BUILTIN
