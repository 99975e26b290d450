"""The completer of a labelling run: opened, and named in labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..builtin import completer_folder, is_builtin
from ..completion.checkpoint import CARD, WEIGHTS, CompleterBundle, load_completer
from ..completion.onnx_backend import NETWORK
from ..completion.precision import Precision, in_precision
from ..io.files import hash_file, read_json
from ..runtime.distributed import pick_device
from ..settings import PipelineSettings


@dataclass(frozen=True)
class CompleterInUse:
    """What completes the masks of a run.

    Attributes:
        folder: output folder of `amodalpl complete`, or of the package.
        bundle: what is in it, ready to be used.
        backend: what runs it, "torch" or "onnx".
        device: as it was asked for.
        of_package: whether it is the one that comes with the package.
        fitted_to: number of occluded objects that it was fitted to (`refit`); 0 where the photos had too few, so that
            it is used as it came; None where nobody tried.
        warnings: where its scores on the photos are poor.
    """

    folder: Path
    bundle: CompleterBundle
    backend: str
    device: str
    of_package: bool
    fitted_to: int | None = None
    warnings: tuple[str, ...] = ()

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

    def in_precision(self, precision: Precision) -> CompleterInUse:
        """Return it in the arithmetic that `labels.precision` names; onnxruntime has its own."""
        if self.backend != "torch":
            return self
        network = in_precision(self.bundle.completer, precision, self.where)
        return replace(self, bundle=replace(self.bundle, completer=network))

    @property
    def name(self) -> str:
        """What labels say of who completed them: its method or `builtin`, and whether it was fitted to the photos."""
        name = "builtin" if self.of_package else str(read_json(self.folder / CARD, "the card of a completer")["method"])
        if self.fitted_to:
            return f"{name}, fitted to these photos"
        return f"{name}, as it came" if self.of_package or self.fitted_to == 0 else name
