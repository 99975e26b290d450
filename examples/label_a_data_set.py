"""Label a data set: an annotation file with visible masks in, a COCO file with whole masks and a report out.

python examples/label_a_data_set.py --out runs/example
"""

from __future__ import annotations

import json

from drawn import arguments, completer_of_scenes, scene_files

import amodalpl

given = arguments(__doc__)
files = scene_files(given.out)
completer = completer_of_scenes(given.out, given.steps)

summary = amodalpl.label_photos(files.annotations, files.images, completer, given.out / "labels", device="cpu")

labels = json.loads(summary.files["labels"].read_text(encoding="utf-8"))["annotations"]
completed = [label for label in labels if label["amodalpl"]["added_px"]]
print(f"{len(labels)} labels, {len(completed)} of them completed behind others")
most = max(labels, key=lambda label: label["amodalpl"]["uncertainty"])
print(f"look first at label {most['id']}, uncertainty {most['amodalpl']['uncertainty']:.2f}")
print(f"report: {summary.files['report']}")
