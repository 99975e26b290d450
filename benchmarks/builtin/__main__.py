"""`python -m benchmarks.builtin data|pack|others|scores`: make the package's completer, put it in place, measure it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from amodalpl.errors import AmodalplError
from amodalpl.pipeline.stage_table import ADVISED


def main() -> int:
    """Return the exit code: 0 done, 2 wrong input."""
    options = _options()
    try:
        if options.command == "data":
            from .training_data import write_training_data

            print(write_training_data(options.coco, options.bank, options.out))
        elif options.command == "others":
            from .training_data import write_other_sources

            print(write_other_sources(options.bank, options.out))
        elif options.command == "pack":
            from .pack import pack

            print(pack(options.completer))
        else:
            from .scores import measure

            print(measure(options.data, options.out, dict(options.beside), options.until))
    except AmodalplError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builtin", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="put the masks together that it learns from")
    data.add_argument("coco", type=Path, help="instances.json of COCO's format")
    data.add_argument("bank", type=Path, help="masks of other sources, named at each picture")
    data.add_argument("--out", type=Path, required=True)
    pack = commands.add_parser("pack", help="put a trained completer into the package")
    pack.add_argument("completer", type=Path, help="output folder of `amodalpl complete`")
    scores = commands.add_parser(
        "scores", help="label data whose truth is known, and write the table of the model card"
    )
    scores.add_argument("data", type=Path, help="YAML: name -> truth, annotations, images")
    scores.add_argument("--out", type=Path, required=True)
    scores.add_argument(
        "--beside",
        type=_named_folder,
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="output folders of `amodalpl complete` to compare it with where there is truth",
    )
    scores.add_argument(
        "--until", default="ready-made", choices=ADVISED, help="how far to train where there is no truth"
    )
    others = commands.add_parser("others", help="masks of the bank that it did not learn from, to measure on")
    others.add_argument("bank", type=Path, help="masks of other sources, named at each picture")
    others.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, got {text!r}")
    return name, Path(folder)


if __name__ == "__main__":
    raise SystemExit(main())
