"""The model that is trained: one of `model_table.py`, or that of a config of MMDetection, for our classes and batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..runtime.distributed import Ranks
from ..runtime.progress import Progress
from ..settings import DetectorSettings, PipelineSettings
from . import model_table, weights
from .base_configs.backbones import Norm

if TYPE_CHECKING:
    from .stock_config import StockModel


def with_model_of(mmdet_config: str | None, settings: PipelineSettings) -> tuple[PipelineSettings, StockModel | None]:
    """Return settings that say where the model is from, and what is taken of a config of MMDetection.

    Raises:
        SettingsError: a config of MMDetection and one of our models are asked for, or its optimiser without it.
        DataError: there is no such config, or its model cannot be ours.
    """
    wanted = settings.detector
    if mmdet_config is None:
        if wanted.model == "mmdet-config" or wanted.optimizer == "config":
            name = "model=mmdet-config" if wanted.model == "mmdet-config" else "optimizer=config"
            raise SettingsError(f"detector.{name}: expected --mmdet-config FILE, got none")
        return settings, None
    from .stock_config import read_stock_model

    if wanted.model not in ("mask-rcnn", "mmdet-config"):  # the first is what settings say when nothing is asked for
        raise SettingsError(
            f"--mmdet-config {mmdet_config}: expected it without --model, got detector.model={wanted.model}; give one"
        )
    stock = read_stock_model(mmdet_config)
    if wanted.optimizer == "config" and stock.optimizer is None:
        raise SettingsError(
            "detector.optimizer=config: expected a config with optim_wrapper.optimizer.lr, got one without"
        )
    return settings.model_copy(update={"detector": wanted.model_copy(update={"model": "mmdet-config"})}), stock


def network_of(
    stock: StockModel | None,
    settings: DetectorSettings,
    class_count: int,
    start: weights.State | None,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the config of the network, and of the optimiser where a config of MMDetection brings its own.

    Args:
        stock: of `with_model_of`.
        settings: of the detector.
        class_count: how many classes there are.
        start: weights that it starts from; None for random ones.
        progress: where it is said what of a config of MMDetection is not used.
    """
    if stock is not None:
        return _stock_network(stock, settings, class_count, start is None, progress)
    norm: Norm = "BN" if start is not None and weights.is_batch_normalised(start) else "GN"
    return model_table.model_config(settings, class_count, norm), None


def _stock_network(
    stock: StockModel, settings: DetectorSettings, classes: int, from_nothing: bool, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the network and the optimiser of a config of MMDetection, for our classes and batch."""
    from . import stock_config

    network = stock_config.with_classes(stock.model, classes)
    network = stock_config.with_score_threshold(network, settings.score_threshold)
    if from_nothing:
        network = stock_config.started_anew(network)
    if stock.start_weights:
        names = ", ".join(name.rpartition("/")[2] for name in stock.start_weights)
        progress.note(f"{stock.path.name}: start weights that it names are not loaded, --init decides: {names}")
    if stock.optimizer and settings.optimizer != "config":
        own = stock.optimizer["optimizer"]
        progress.note(
            f"{stock.path.name}: learnt by {settings.optimizer} at {settings.learning_rate:g}; its own is "
            f"{own.get('type')} at {own.get('lr'):g}, which --set detector.optimizer=config takes"
        )
    return network, stock.optimizer_for(settings.batch_size * Ranks.of_this_process().world)
