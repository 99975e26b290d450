"""The rows: what is measured, where that is written, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        title: what it measures.
        module: of this folder, whose `measure` does it.
        limit_s: seconds after which it is ended.
        tiny_s: the same at tiny sizes.
    """

    title: str
    module: str
    limit_s: int
    tiny_s: int = 300


ROWS = {
    "ceilings": Row("what the card can do: a large copy, a large product", "ceilings", 40),
    "doctor": Row("what is installed", "installation", 60),
    "a": Row("the tests marked gpu", "marked_tests", 150),
    "b": Row("training of the completer", "training_speed", 240),
    "c": Row("the demo, beside the CPU's", "demo_scores", 240),
    "d": Row("labelling photos, beside the CPU's labels", "labelling", 200),
    "e": Row("Mask R-CNN, beside MMDetection's own loop", "detector_speed", 240),
    "g": Row("each detector, a few steps", "every_detector", 300),
    "h": Row("the largest batch that fits", "largest_batch", 120),
    "p": Row("where the time goes", "profiles", 120),
    "f": Row("a real training, which later calls continue", "long_training", 540),
}
