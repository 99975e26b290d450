"""The completer of a labelling run: opened, fitted to the photos where that is wanted, and named in labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..builtin import completer_folder, is_builtin
from ..completion.checkpoint import CARD, WEIGHTS, CompleterBundle, load_completer
from ..completion.onnx_backend import NETWORK
from ..completion.precision import in_precision
from ..data.records import AnnotationSet
from ..io.files import hash_file, read_json
from ..runtime.distributed import pick_device
from ..runtime.progress import Progress
from ..settings import PipelineSettings
from .refit import Refitted, refit


@dataclass(frozen=True)
class CompleterInUse:
    """What completes the masks of a run.

    Attributes:
        folder: output folder of `amodalpl complete`, or of the package.
        bundle: what is in it, ready to be used.
        backend: what runs it, "torch" or "onnx".
        device: as it was asked for.
        of_package: whether it is the one that comes with the package.
        fitted: how it was fitted to the photos, if it was.
    """

    folder: Path
    bundle: CompleterBundle
    backend: str
    device: str
    of_package: bool
    fitted: Refitted | None = None

    @classmethod
    def open(cls, completer: Path | str, backend: str, device: str) -> CompleterInUse:
        """Open a completer.

        Args:
            completer: output folder of `amodalpl complete`, or `builtin`.
            backend: what runs it, "torch" or "onnx".
            device: "auto", "cpu" or "cuda".

        Raises:
            CheckpointError: it is missing or damaged.
            SettingsError: an unknown backend, or a device that is not there.
            MissingPackageError: onnxruntime is asked for and not installed.
        """
        folder = completer_folder(completer)
        return cls(folder, load_completer(folder, pick_device(device), backend), backend, device, is_builtin(completer))

    @property
    def where(self) -> torch.device:
        """The device that runs it."""
        return pick_device(self.device)

    def fitting(self, settings: PipelineSettings) -> PipelineSettings:
        """Return the settings; the package's own completer is fitted to the photos where they do not say."""
        if not self.of_package or settings.labels.refit is not None:
            return settings
        return settings.model_copy(update={"labels": settings.labels.model_copy(update={"refit": True})})

    def hashes(self) -> dict[str, str]:
        """Return hashes of its files, by what they are."""
        card = {"completer": hash_file(self.folder / CARD)}
        if self.backend == "onnx":
            return {**card, "network in ONNX": hash_file(self.folder / NETWORK)}
        return {**card, "weights": hash_file(self.folder / WEIGHTS)}

    def fitted_to(
        self, data: AnnotationSet, images: Path, out: Path, settings: PipelineSettings, progress: Progress, keep: bool
    ) -> CompleterInUse:
        """Return it as it is used on the photos: fitted to them if settings say so, in the arithmetic they name.

        Args:
            data: annotations of usable photos.
            images: folder of the photos.
            out: folder for what is fitted.
            settings: `seed`, `synthesis` and `labels` are used.
            progress: shown while it works.
            keep: take what an earlier run on other photos has fitted.
        """
        folder, bundle, fitted = self.folder, self.bundle, None
        if settings.labels.refit:
            fitted = refit(folder, data, images, out, settings, self.device, progress, keep=keep)
            folder = fitted.folder
            bundle = replace(load_completer(folder, self.where), completer=bundle.completer)
        if self.backend == "torch":
            bundle = replace(bundle, completer=in_precision(bundle.completer, settings.labels.precision, self.where))
        return replace(self, folder=folder, bundle=bundle, fitted=fitted)

    @property
    def name(self) -> str:
        """What labels say of who completed them."""
        return _name_of(self.folder, self.of_package, self.fitted)


def _name_of(completer: Path, of_package: bool, fitted: Refitted | None) -> str:
    """Return the completer's name in labels: its method or `builtin`, and whether it was fitted to the photos.

    >>> _name_of(Path(), True, Refitted(Path(), 209, [])), _name_of(Path(), True, Refitted(Path(), 0, []))
    ('builtin, fitted to these photos', 'builtin, as it came')
    """
    name = "builtin" if of_package else str(read_json(completer / CARD, "the card of a completer")["method"])
    if fitted is None:
        return f"{name}, as it came" if of_package else name
    return f"{name}, fitted to these photos" if fitted.objects else f"{name}, as it came"
