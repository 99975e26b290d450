"""Train Mask R-CNN on a label file by mmengine's Runner, detect, and score.

Importing this module imports mmdet, which serves as a library: its network and transforms are used as they are, built
from the config that is also written out; loop, sampler, hooks and checkpoints are objects of our own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, DataError
from ..masks import rle
from ..running.progress import Progress
from ..running.provenance import write_whole
from ..running.ranks import Ranks
from ..running.resuming import Checkpoints, Curve, QuietRunner, StepLoop, bare, read_checkpoint, seed_step
from ..settings import DetectorSettings
from . import ops, weights

ops.install()
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")  # on import, mmcv and mmdet warn of deprecations and print what they lack
    from mmdet.datasets import CocoDataset
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict
    from mmengine.dataset import InfiniteSampler, pseudo_collate
    from mmengine.dist import barrier
    from mmengine.registry import init_default_scope
    from mmengine.runner import set_random_seed

    register_all_modules(init_default_scope=False)

CHECKPOINT = "checkpoint.pth"
_CURVE_POINTS = 100  # kept of a training, however long


def wait_for_all() -> None:
    """Return when every process has come here."""
    barrier()


@contextlib.contextmanager
def third_party_quiet() -> Iterator[None]:
    """Keep the warnings of torch and OpenMMLab that users can do nothing about, and pycocotools' prints, away."""
    with warnings.catch_warnings():
        for module in ("torch", "mmdet", "mmcv", "mmengine", "pycocotools", "numpy"):
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
        yield


class LabelDataset(CocoDataset):
    """MMDetection's data set, silent while it reads, and with errors that name the photo.

    Items are asked for by `draw * photos + photo`, and the random choices of the transforms follow from that number
    alone: they are the same for any number of loader processes, and after a restart.
    """

    def __getitem__(self, idx: int) -> Any:
        if not self.test_mode:
            seed_step(idx)
        return super().__getitem__(idx % len(self))

    def load_data_list(self) -> list[dict]:
        """Read the annotation file."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super().load_data_list()

    def prepare_data(self, idx: int) -> Any:
        """Read and transform one photo.

        Raises:
            DataError: it cannot be read (loader processes pass the error on to the main one).
        """
        try:
            return super().prepare_data(idx)
        except Exception as error:
            path = self.get_data_info(idx)["img_path"]
            raise DataError(f"{path}: expected a readable photo, got {type(error).__name__}: {error}") from None


class ResumedSampler(InfiniteSampler):
    """The endless shuffled order of photos, begun where an earlier run stopped; see `LabelDataset` for the numbers."""

    def __init__(self, dataset: Any, start: int, seed: int) -> None:
        super().__init__(dataset, shuffle=True, seed=seed)
        self.start, self.photos = start, len(dataset)
        deque(islice(self.indices, start), maxlen=0)

    def __iter__(self) -> Iterator[int]:
        for drawn, photo in enumerate(self.indices, start=self.start):
            yield (drawn * self.world_size + self.rank) * self.photos + photo


def build(config: Mapping[str, Any], seed: int) -> Any:
    """Build a network from a model config, with seeded random weights.

    Args:
        config: of `model_config`.
        seed: the same gives the same weights.
    """
    init_default_scope("mmdet")
    set_random_seed(seed)
    with third_party_quiet(), _muted():
        model = MODELS.build(ConfigDict(config))
        model.init_weights()
    return model


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Building a network logs each start weight to the console when no Runner has opened a log yet."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


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
        for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
            extractor.register_forward_pre_hook(_pool_in_full_precision)
    source = config["train_dataloader"]["dataset"]
    loader = {
        **config["train_dataloader"],
        "dataset": {**source, "type": LabelDataset},
        "pin_memory": device.type == "cuda",
        "sampler": {"type": ResumedSampler, "start": done * settings.batch_size, "seed": seed},
    }
    with progress.task("training detector", settings.steps, done=done) as advance, third_party_quiet():
        advice = "lower detector.learning_rate or lengthen detector.warmup_steps"
        curve = Curve(max(settings.steps // _CURVE_POINTS, 1), advance, advice)
        runner = QuietRunner(
            model=model,
            work_dir=str(out / "log"),
            train_dataloader=loader,
            train_cfg={"type": StepLoop, "max_iters": settings.steps, "seed": seed},
            optim_wrapper=config["optim_wrapper"],
            param_scheduler=config["param_scheduler"] or None,
            default_hooks={"logger": {"type": "LoggerHook", "interval": 50}, "checkpoint": None},
            custom_hooks=[curve, Checkpoints(out / CHECKPOINT, settings.checkpoint_every, saved, curve)],
            log_processor={"by_epoch": False},
            visualizer={"type": "Visualizer", "_scope_": "mmengine", "vis_backends": None},
            launcher="pytorch" if world > 1 else "none",
            env_cfg=config["env_cfg"],
            default_scope="mmdet",
            randomness={"seed": seed + 1_000_003 * rank},
            experiment_name=f"{out.name}_{done}",
        )
        with _one_line():
            runner.train()
    return curve.points


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Loader processes hand an error on with their whole trace as its text; the user needs its last line."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).strip().splitlines()[-1].rpartition("DataError: ")[2]) from None


def _pool_in_full_precision(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """MMDetection casts RoIs to the features' type; in bfloat16 a corner at 1000 would move by up to 4 pixels."""
    features, *rest = arguments
    return (tuple(level.float() for level in features), *rest)


@torch.no_grad()
def detect(
    model: Any,
    dataset: Mapping[str, Any],
    category_ids: Sequence[int],
    *,
    workers: int,
    device: torch.device,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run a network on photos.

    Args:
        model: trained.
        dataset: config of the photos, with a test pipeline.
        category_ids: of the labels 0, 1, ...
        workers: loader processes.
        device: to run on.
        progress: where photos are reported.

    Returns:
        COCO results, by photo and falling score: `bbox` as x, y, width, height, `segmentation` as compressed RLE.
    """
    photos = LabelDataset(**{key: value for key, value in dataset.items() if key != "type"})
    loader: Any = torch.utils.data.DataLoader(
        photos, batch_size=1, num_workers=workers, collate_fn=pseudo_collate, pin_memory=device.type == "cuda"
    )
    model.to(device).eval()
    results: list[dict[str, Any]] = []
    with progress.task("detecting", len(photos)) as advance, third_party_quiet(), _one_line():
        for batch in loader:
            for sample in model.test_step(batch):
                found = sample.pred_instances
                told = zip(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
                for ((x1, y1, x2, y2), label, score), mask in zip(told, found.masks.cpu().numpy(), strict=True):
                    results.append(
                        {
                            "image_id": sample.img_id,
                            "category_id": category_ids[label],
                            "bbox": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
                            "score": round(score, 5),
                            "segmentation": rle.to_json(rle.encode(mask)),
                        }
                    )
                advance(1)
    return results


def save_weights(path: Path, model: nn.Module, class_names: Sequence[str]) -> None:
    """Write plain weights that `torch.load(weights_only=True)` and mmdet's `init_detector` read."""
    state = {name: value.detach().cpu() for name, value in bare(model).state_dict().items()}
    content = {"state_dict": state, "meta": {"dataset_meta": {"classes": tuple(class_names)}}}
    write_whole(path, lambda part: torch.save(content, part))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read what `save_weights` wrote.

    Raises:
        CheckpointError: it does not fit.
    """
    state = weights.read_state(path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not the weights of this detector ({str(error).splitlines()[0]})") from None


def write_results(path: Path, detections: Sequence[Mapping[str, Any]]) -> None:
    """Write COCO results, one detection per line."""
    lines = ",\n".join(json.dumps(d, separators=(",", ":")) for d in detections)
    write_whole(path, lambda part: part.write_text(f"[\n{lines}\n]\n", encoding="utf-8"))
