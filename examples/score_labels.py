"""Compare labels with whole masks that are known, beside baselines that need no training.

python examples/score_labels.py --out runs/example
"""

from __future__ import annotations

from drawn import arguments, completer_of_scenes, scene_files

import amodalpl
from amodalpl.evaluation.completion import evaluate_completion
from amodalpl.evaluation.order import evaluate_order

given = arguments(__doc__)
files = scene_files(given.out)
completer = completer_of_scenes(given.out, given.steps)
labels = given.out / "labels"
amodalpl.label_photos(files.annotations, files.images, completer, labels, device="cpu")

completion = evaluate_completion(files.truth, labels).scores["completion, micro (PCNet/ASBU): all"]
order = evaluate_order(files.truth, labels).scores["order, O-Acc (PCNet/ASBU)"]
for row, scores in completion.items():
    accuracy = f"{order[row]['accuracy']:.3f}" if row in order else "-"
    print(f"{row:12}  mIoU {scores['miou']:.3f}  hidden parts {scores['invisible_miou']:.3f}  order {accuracy}")
