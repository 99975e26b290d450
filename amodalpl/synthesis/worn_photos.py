"""A training photo made worse as a whole after pasting, so that the seams of what was pasted tell less.

Pasted things have edges that no camera draws, of other sharpness, noise and compression than the rest; a network that
looks for them has learnt nothing of photos. Dwibedi et al. 2017 (Cut, paste and learn) blend in several ways; here all
of the patch is blurred, noisy, compressed and of another brightness, each by chance.
"""

from __future__ import annotations

import cv2
import numpy as np

BLUR_PX = (0.4, 1.5)  # standard deviation
CONTRAST, BRIGHTNESS = (0.75, 1.25), (-25.0, 25.0)
NOISE = (1.0, 8.0)  # standard deviation of each of 0-255
JPEG_QUALITY = (30, 95)


def wear(photo: np.ndarray, rng: np.random.Generator, chance: float) -> np.ndarray:
    """Return a photo made worse.

    Args:
        photo: (H, W, 3) uint8 RGB.
        rng: decides what happens to it, and how much.
        chance: of each of the four changes, 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    blurred, lit, noisy, compressed = rng.random(4) < chance
    if blurred:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(*BLUR_PX))
    if lit or noisy:
        changed = photo.astype(np.float32)
        if lit:
            changed = (changed - 128) * rng.uniform(*CONTRAST) + 128 + rng.uniform(*BRIGHTNESS)
        if noisy:
            changed = changed + rng.uniform(*NOISE) * rng.standard_normal(photo.shape, dtype=np.float32)
        photo = np.rint(np.clip(changed, 0, 255)).astype(np.uint8)
    if compressed:
        quality = int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
        _, file = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
        photo = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    return photo
