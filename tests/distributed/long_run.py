"""A long run in small: many drawn instances through `pseudolabel`, its memory, and the same again while it is killed.

python tests/distributed/long_run.py FOLDER --instances 50000 --kills 10
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from drawn_completer import write_completer

from amodalpl.data.label_folder import DOUBT, LABELS, ORDER, STATS
from amodalpl.drawn_scenes import write_scenes
from amodalpl.pipeline import pseudolabel as stage
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.pseudolabel import write_label_files, write_label_page
from amodalpl.report.label_page import REPORT_FILE, SHEET_FILE
from amodalpl.runtime.parts import PARTS
from amodalpl.runtime.progress import Progress
from amodalpl.settings_values import resolve

OUTPUTS = (LABELS, ORDER, DOUBT, STATS, REPORT_FILE, SHEET_FILE)
_SCENES = 40  # that are different; their photos serve many entries, each with a part of the objects


def draw(folder: Path, instances: int) -> None:
    """Write `annotations.json` with so many instances, `images/` and `completer/`."""
    files = write_scenes(folder / "scenes", _SCENES, seed=0, size_hw=(48, 64))
    data = json.loads(files.annotations.read_text(encoding="utf-8"))
    of_scene = [[a for a in data["annotations"] if a["image_id"] == image["id"]] for image in data["images"]]
    draws = random.Random(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    while len(annotations) < instances:
        scene = draws.randrange(_SCENES)
        images.append({**data["images"][scene], "id": len(images) + 1})
        chosen = [a for a in of_scene[scene] if draws.random() < 0.9][: instances - len(annotations)]
        annotations += [{**a, "id": len(annotations) + k + 1, "image_id": len(images)} for k, a in enumerate(chosen)]
    text = json.dumps({**data, "images": images, "annotations": annotations})
    (folder / "annotations.json").write_text(text, encoding="utf-8")
    files.images.rename(folder / "images")
    write_completer(folder / "completer")


class _Memory(Progress):
    """Notes the most memory held in each part of the work, in MB."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.part = "reading"

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Any:
        if label == "labelling photos":
            self.begin(label)
        yield lambda units: None

    def begin_with(self, call: Callable[..., Any], part: str) -> None:
        """Let a part of the work begin with the call of a function of the stage."""

        def watched(*given: Any) -> Any:
            self.begin(part)
            return call(*given)

        setattr(stage, call.__name__, watched)

    def begin(self, part: str) -> None:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        self.peaks[self.part] = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) // 1024
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self.part = part


def label(folder: Path, out: Path) -> dict[str, Any]:
    """Label what `draw` wrote; return seconds, labels and the peaks."""
    torch.set_num_threads(1)
    memory, start = _Memory(), time.monotonic()
    memory.begin_with(write_label_files, "putting together")
    memory.begin_with(write_label_page, "drawing the report")
    settings = resolve({"labels": {"gap_px": 2}})
    done = make_labels(
        folder / "annotations.json",
        folder / "images",
        folder / "completer",
        out,
        settings,
        device="cpu",
        progress=memory,
    )
    memory.begin("end")
    return {"labels": done.counts["labels"], "seconds": round(time.monotonic() - start, 1), "peak MB": memory.peaks}


def start_labelling(folder: Path, out: Path) -> subprocess.Popen[str]:
    """Label in a process of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), "--label", str(out)], stdout=subprocess.PIPE, text=True
    )


def killed(folder: Path, out: Path, kills: int) -> list[int]:
    """Label, killed so many times at moments drawn from all of it; return how many parts were there each time."""
    draws = random.Random(1)
    parts = -(-len(json.loads((folder / "annotations.json").read_text())["images"]) // 16)
    found = []
    for stop in sorted(draws.randrange(parts) for _ in range(kills)):
        process = start_labelling(folder, out)
        while process.poll() is None and len(list((out / PARTS).glob("[0-9]*"))) <= stop:
            time.sleep(0.05)
        time.sleep(draws.uniform(0, 0.5))
        process.kill()
        process.communicate()
        found.append(len(list((out / PARTS).glob("[0-9]*"))))
    return found


def main() -> None:
    """Draw, label undisturbed, label while being killed, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="to work in; must not be there yet")
    parser.add_argument("--instances", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--label", type=Path, help="label into this folder, which is what the others do")
    given = parser.parse_args()
    if given.label:
        print(json.dumps(label(given.folder, given.label)))
        return
    given.folder.mkdir(parents=True)
    draw(given.folder, given.instances)
    print("undisturbed:", start_labelling(given.folder, given.folder / "labels").communicate()[0].strip(), flush=True)
    if given.kills:
        found = killed(given.folder, given.folder / "killed", given.kills)
        print(f"killed {given.kills} times, with so many parts written: {found}", flush=True)
        print("last start:", start_labelling(given.folder, given.folder / "killed").communicate()[0].strip())
        different = [
            name
            for name in OUTPUTS
            if (given.folder / "labels" / name).read_bytes() != (given.folder / "killed" / name).read_bytes()
        ]
        print(f"{len(OUTPUTS)} files, different: {', '.join(different) or 'none'}")
        sys.exit(bool(different))


if __name__ == "__main__":
    main()
