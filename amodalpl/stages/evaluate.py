"""`amodalpl evaluate`: one function per subcommand; `evaluate detector` is `train_detector.evaluate_detector`."""

from .compare import compare_evaluations
from .evaluate_completer import evaluate_completer
from .evaluate_completion import evaluate_completion
from .evaluate_detections import evaluate_detections
from .evaluate_order import evaluate_order
from .evaluate_promise import evaluate_promise

__all__ = [
    "compare_evaluations",
    "evaluate_completer",
    "evaluate_completion",
    "evaluate_detections",
    "evaluate_order",
    "evaluate_promise",
]
