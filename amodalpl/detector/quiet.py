"""Keeping away what third parties print and warn of, where users can do nothing about it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from ..errors import DataError


@contextlib.contextmanager
def third_party_quiet() -> Iterator[None]:
    """Keep the warnings of torch and OpenMMLab that users can do nothing about, and pycocotools' prints, away."""
    with warnings.catch_warnings():
        for module in ("torch", "mmdet", "mmcv", "mmengine", "pycocotools", "numpy"):
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
        yield


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Building a network logs each start weight to the console when no Runner has opened a log yet."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Loader processes hand an error on with their whole trace as its text; the user needs its last line."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).strip().splitlines()[-1].rpartition("DataError: ")[2]) from None
