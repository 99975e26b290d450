"""Train a detector on a label file by mmengine's Runner.

MMDetection serves as a library: its networks and transforms are built from the config that is also written out; loop,
sampler, hooks and checkpoints are objects of our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.config import ConfigDict
from mmengine.dist import barrier
from mmengine.hooks import RuntimeInfoHook
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from torch import nn

from ..errors import AmodalplError, DataError
from ..io.files import write_whole
from ..runtime.distributed import Ranks
from ..runtime.forecast import Forecast
from ..runtime.mmengine_runner import Checkpoints, Curve, QuietRunner, StepLoop, bare, read_checkpoint, run_training
from ..runtime.progress import Progress
from ..settings import DetectorSettings
from . import mmdet_registry as _mmdet_registry  # noqa: F401  # MMDetection knows our parts from here on
from .data.dataset import LabelDataset, ResumedSampler
from .data.shared_memory import masks_as_bits
from .mmdetection import MODELS
from .quiet import muted, one_line, third_party_quiet

T = TypeVar("T")
CHECKPOINT = "checkpoint.pth"
_CURVE_POINTS = 100  # kept of a training, however long


def wait_for_all() -> None:
    """Return when every process has come here."""
    barrier()


def first_then_others(work: Callable[[], T]) -> T:
    """Do something in the first process, and then in the others, which find what it wrote."""
    if Ranks.of_this_process().is_first:
        done = work()
        wait_for_all()
        return done
    wait_for_all()
    return work()


def build(config: Mapping[str, Any], seed: int | None, source: str = "") -> Any:
    """Build a network from a model config.

    Args:
        config: of `model_table.model_config`, or of a config of MMDetection.
        seed: of its random weights; None for a network whose weights are loaded.
        source: of the config, named in messages.

    Raises:
        DataError: MMDetection cannot build it, since it needs parts or packages that are not here.
    """
    init_default_scope("mmdet")
    if seed is not None:
        set_random_seed(seed)
    try:
        with third_party_quiet(), muted():
            model = MODELS.build(ConfigDict(config))
            if seed is not None:
                model.init_weights()
    except AmodalplError:
        raise
    except Exception as error:  # MMEngine wraps whatever the parts of a network raise
        unknown = re.search(r"(\w+) is not in the \S+ registry", str(error))
        if unknown:
            raise DataError(
                f"{source}: model {config.get('type')}: expected parts that MMDetection or the config's custom_imports "
                f"bring, got type {unknown[1]!r}"
            ) from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{source}: model {config.get('type')}: MMDetection could not build it ({reason})") from None
    return model


def train(
    model: Any,
    config: Mapping[str, Any],
    out: Path,
    settings: DetectorSettings,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train a network in place, going on from `checkpoint.pth` in the output folder.

    Args:
        model: with its start weights.
        config: of `full_config`.
        out: output folder.
        settings: of the detector.
        seed: of the run.
        device: to train on.
        progress: where steps are reported.

    Returns:
        The loss curve.

    Raises:
        DataError: a photo cannot be read.
    """
    ranks = Ranks.of_this_process()
    rank, world = ranks.rank, ranks.world
    saved = read_checkpoint(out / CHECKPOINT)
    done = int(saved["step"]) if saved else 0
    model.to(device)
    if settings.precision != "fp32":
        pool_precisely(model)
    source = config["train_dataloader"]["dataset"]
    loader = {  # no memory is pinned: the thread that does it reads the batches too, and this one would wait for it
        **config["train_dataloader"],
        "dataset": {**source, "type": LabelDataset},
        "sampler": {"type": ResumedSampler, "start": done * settings.batch_size, "seed": seed},
    }
    with progress.task("training detector", settings.steps, done=done) as advance, third_party_quiet():
        advice = "lower detector.learning_rate or lengthen detector.warmup_steps"
        curve = Curve(max(settings.steps // _CURVE_POINTS, 1), advance, advice)
        checkpoints = Checkpoints(out / CHECKPOINT, settings.checkpoint_every, saved, curve)
        runner = QuietRunner(
            model=model,
            work_dir=str(out / "log"),
            train_dataloader=loader,
            train_cfg={"type": StepLoop, "max_iters": settings.steps, "seed": seed},
            optim_wrapper=config["optim_wrapper"],
            param_scheduler=config["param_scheduler"] or None,
            # of mmengine's only that of the schedule, and that of the step's number
            default_hooks={**dict.fromkeys(("logger", "checkpoint", "sampler_seed", "timer")), "runtime_info": _Step()},
            custom_hooks=[
                curve,
                checkpoints,
                Forecast(progress, "--config coco_cpu is for CPUs, fewer detector.steps end earlier"),
            ],
            visualizer={"type": "Visualizer", "_scope_": "mmengine", "vis_backends": None},
            launcher="pytorch" if world > 1 else "none",
            env_cfg=config["env_cfg"],
            default_scope="mmdet",
            randomness={"seed": seed + 1_000_003 * rank},
            experiment_name=f"{out.name}_{done}",
        )
        with one_line(), masks_as_bits():
            run_training(runner, checkpoints, progress)
    return curve.points


class _Step(RuntimeInfoHook):
    """Tells the number of the step, which some of MMDetection's models ask for; mmengine's also waits for each loss."""

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `Curve` keeps the losses."""


def pool_precisely(model: nn.Module) -> None:
    """Let all parts that pool regions do so in full precision."""
    for module in model.modules():
        if type(module).__name__.endswith("RoIExtractor"):
            module.register_forward_pre_hook(_pool_in_full_precision)


def _pool_in_full_precision(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """MMDetection casts RoIs to the features' type; in bfloat16 a corner at 1000 would move by up to 4 pixels."""
    features, *rest = arguments
    return (tuple(level.float() for level in features), *rest)


def save_weights(path: Path, model: nn.Module, class_names: Sequence[str]) -> None:
    """Write plain weights that `torch.load(weights_only=True)` and mmdet's `init_detector` read."""
    state = {name: value.detach().cpu() for name, value in bare(model).state_dict().items()}
    content = {"state_dict": state, "meta": {"dataset_meta": {"classes": tuple(class_names)}}}
    write_whole(path, lambda part: torch.save(content, part))
