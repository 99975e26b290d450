"""Detectors of whole objects by MMDetection (extra `detector`), trained on label files.

`model_table.py` lists the models, `config.py` writes their configs, `data/training_data.py` reads what is learnt from,
`training.py` runs the training and `folder.py` names what it leaves; `trained.py` opens a detector and `inference.py`
runs it on photos. MMDetection is imported by `mmdetection.py` alone.
"""

from __future__ import annotations

from ..errors import MissingPackageError


def require_mmdetection(wanted_by: str) -> None:
    """Refuse to go on without MMDetection, which is imported only when it is used.

    Args:
        wanted_by: who needs it, for the message.

    Raises:
        MissingPackageError: it does not import.
    """
    try:
        from . import mmdetection  # noqa: F401  # whether it imports is the question
    except (ImportError, AssertionError) as error:  # mmdet asserts the versions of its companions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MissingPackageError(
            f"{wanted_by} needs MMDetection, which does not import here ({reason}): pip install 'amodalpl[detector]'"
        ) from None
