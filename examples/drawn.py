"""What the examples share: drawn scenes in place of your data, and a completer trained on them."""

from __future__ import annotations

import argparse
from pathlib import Path

import amodalpl
from amodalpl.drawn_scenes import SceneFiles, write_scenes

SCENES = 40


def scene_files(out: Path) -> SceneFiles:
    """Draw photos with visible masks (`annotations.json`) and, for scores, whole ones (`truth.json`)."""
    return write_scenes(out / "scenes", SCENES, seed=0)  # the same seed gives the same files, byte for byte


def completer_of_scenes(out: Path, steps: int) -> Path:
    """Cut out the objects, train a completer on them, and return its folder; what was made before is kept."""
    files = scene_files(out)
    amodalpl.synthesise(files.annotations, files.images, out / "synth", config="demo")
    amodalpl.train_completer(out / "synth", out / "completer", config="demo", training={"steps": steps})
    return out / "completer"


def arguments(doc: str | None) -> argparse.Namespace:
    """Read `--out` and `--steps` from the command line."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--steps", type=int, default=300, help="steps of the completer's training")
    return parser.parse_args()
