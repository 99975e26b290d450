"""Each stage on drawn data so small that it takes about a second, as functions of the output folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from amodalpl.data.review_file import fingerprint
from amodalpl.drawn_scenes import write_scenes
from amodalpl.io.files import hash_file, read_json, write_json, write_whole
from amodalpl.pipeline.apply_review import apply_review
from amodalpl.pipeline.complete import complete
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.synth import synth
from amodalpl.runtime.stage_run import StageRun
from amodalpl.settings_values import resolve

VALUES = {
    "synthesis": {"patch_px": 32, "holdout_fraction": 0.3, "holdout_scenes": 2, "with_image": True},
    "completer": {"method": "asbu", "width": 4, "init_gain": 0.5},
    "training": {
        "steps": 4,
        "batch_size": 2,
        "workers": 0,
        "optimizer": "adamw",
        "schedule": "one-cycle",
        "validate_every": 3,
        "checkpoint_every": 1,
    },
    "labels": {"images_per_part": 1, "batch_size": 4},
    "detector": {
        "backbone": "resnet18_small",
        "steps": 4,
        "batch_size": 2,
        "workers": 0,
        "optimizer": "adamw",
        "warmup_steps": 2,
        "image_scale": [64, 48],
        "rpn_proposals": 20,
        "roi_samples": 16,
        "channels": 16,
        "checkpoint_every": 1,
    },
    "compositional": {
        "backbone": "mobilenet_v2",
        "concepts": 16,
        "concept_rounds": 5,
        "kappa": 10,
        "outliers": 1,
        "least_objects": 1,
        "objects_per_class": 2,
        "least_height_px": 4,
        "most_overlap": 1,
        "epochs": 2,
    },
    "refine": {"rounds": 2, "match_iou": 0.05, "least_score": 0.0, "drop_above": 0.0},  # a detector that knows little
}
Stage = Callable[[Path], object]


class TinyStages:
    """Drawn scenes, and the stages on them; each reads what the ones before made in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scenes = write_scenes(folder / "scenes", 8, seed=0, size_hw=(64, 80))
        self.settings = resolve(VALUES)

    def synth(self, out: Path) -> None:
        synth(self.scenes.annotations, self.scenes.images, out, self.settings)

    def hide(self, out: Path) -> None:
        hidden = {
            "recipe": "occluded-objects",
            "holdout_fraction": 0.5,
            "occluded": {"least_side_px": 10, "objects": 1},
        }
        synth(self.scenes.truth, self.scenes.images, out, resolve({"synthesis": hidden}))

    def complete(self, out: Path) -> None:
        complete(self.folder / "synth", out, {k: VALUES[k] for k in ("completer", "training")}, "cpu")

    def pseudolabel(self, out: Path) -> None:
        files = self.scenes
        make_labels(files.annotations, files.images, self.folder / "complete", out, self.settings, device="cpu")

    def apply_review(self, out: Path) -> None:
        apply_review(self.folder / "pseudolabel", self.scenes.images, self._review(), out)

    def _review(self) -> Path:
        """Write one decision of each kind on the labels, once."""
        file, labels = self.folder / "review.json", self.folder / "pseudolabel" / "pseudo_amodal.json"
        if not file.exists():
            annotations = read_json(labels, "labels")["annotations"]
            decisions = [
                {"id": entry["id"], "decision": decision, "fingerprint": fingerprint(entry)}
                for entry, decision in zip(annotations, ("accept", "reject", "keep-modal"), strict=False)
            ]
            head = {"format": "amodalpl-review", "version": 1, "labels_sha256": hash_file(labels)}
            write_json(file, {**head, "decisions": decisions})
        return file

    def train_detector(self, out: Path) -> None:
        from amodalpl.pipeline.train_detector import train_detector

        train_detector(self.scenes.truth, self.scenes.images, out, self.settings, init="none", device="cpu")

    def train_compositional(self, out: Path) -> None:
        from amodalpl.pipeline.train_compositional import train_compositional

        train_compositional(self.scenes.truth, self.scenes.images, out, self.settings, init="none", device="cpu")

    def run_from_boxes(self, out: Path) -> None:
        """Learn shapes from boxes, hide objects to calibrate on, label, train a detector."""
        from amodalpl.pipeline.run_all import run_pipeline

        files = self.scenes
        photos = {"annotations": str(files.truth), "images": str(files.images), "init": "none"}
        known = {"known": str(files.truth), "known_images": str(files.images)}
        hiding = {"holdout_fraction": 0.5, "occluded": {"least_side_px": 10, "objects": 3}}
        data = {**photos, **known, "box_model": "bayesian-amodal", "box_init": "none"}
        run_pipeline({**VALUES, "synthesis": hiding, "data": data}, out, "cpu")

    def refine(self, out: Path) -> None:
        from amodalpl.pipeline.refine import refine

        labels, synth_dir = self.folder / "pseudolabel", self.folder / "synth"
        refine(labels, self.scenes.images, out, self.settings, synth_dir=synth_dir, init="none", device="cpu")

    def label_boxes(self, out: Path) -> None:
        files, detector = self.scenes, self.folder / "train_detector"
        make_labels(files.annotations, files.images, "builtin", out, self.settings, device="cpu", detector=detector)


def toy(out: Path) -> None:
    """Write three parts, each only once, and put them together: what every stage does, in a millisecond."""
    run = StageRun.open(out, "toy", {}, {"input": "0"}, 0)
    if run.done:
        return
    parts = out / "parts"
    parts.mkdir(exist_ok=True)
    for number in range(3):
        if not (parts / f"{number}.json").exists():
            write_json(parts / f"{number}.json", {"number": number})
    whole = [read_json(parts / f"{number}.json", "a part")["number"] for number in range(3)]
    write_whole(out / "whole.json", lambda part: part.write_text(json.dumps(whole), encoding="utf-8"))
    run.finish({"parts": 3}, ["whole.json", "parts"])
