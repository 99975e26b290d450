"""Complete the objects of one photo: visible masks in, whole masks out.

    python examples/complete_one_photo.py --out runs/example

With a completer of your own, the lines with `load_completer` and `complete_image` are all you need.
"""

from __future__ import annotations

import cv2
import numpy as np
from drawn import arguments, completer_of_scenes

from amodalpl import complete_image, load_completer
from amodalpl.drawn_scenes import draw_scene
from amodalpl.report import draw

given = arguments(__doc__)
completer = load_completer(completer_of_scenes(given.out, given.steps), device="cpu")

scene = draw_scene(np.random.default_rng(10_000))  # a photo that training has not seen
found = complete_image(completer, scene.modal)  # (N, H, W) bool: the visible masks of all its objects

for k, occluders in enumerate(found.occluders):
    hidden_px = int(found.hidden[k].sum())
    behind = ", ".join(map(str, occluders)) or "nothing"
    print(f"object {k}: {hidden_px} px completed, behind {behind}, uncertainty {found.uncertainty[k]:.2f}")

tiles = [
    (f"object {k}", draw.close_up(scene.image, visible, whole, side_px=240))
    for k, (visible, whole) in enumerate(zip(found.visible, found.amodal, strict=True))
]
sheet = draw.contact_sheet(tiles, columns=3, legend="blue line: visible   white line: whole   orange: completed")
cv2.imwrite(str(given.out / "one_photo.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
print(f"picture: {given.out / 'one_photo.png'}")
