"""The cases: each prepares its data, measures the machine, works, and says what the least time would have been.

A case is asked through the public interfaces that a user of the library has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from amodalpl.completion.checkpoint import load_completer
from amodalpl.completion.predictor import Scene
from amodalpl.completion.training import train
from amodalpl.detector import require_mmdetection
from amodalpl.detector.model_table import MODELS
from amodalpl.errors import MissingPackageError
from amodalpl.io.images import read_image
from amodalpl.labelling.label_scenes import label_scenes
from amodalpl.labelling.plan import plan_labels
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.pipeline.synth import synth
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.runtime.progress import SILENT, Progress
from amodalpl.settings import TrainingSettings
from amodalpl.settings_values import merge, read_config, resolve
from amodalpl.synthesis.dataset import SampleStream
from amodalpl.synthesis.recipe_table import RECIPES
from amodalpl.tools.check import check
from amodalpl.tools.export_onnx import export_onnx

from . import drawn
from .machine import Machine, best_seconds, measure_machine, wait
from .watch import Counting, Watch


@dataclass(frozen=True)
class Setting:
    """Where and how large a case runs.

    Attributes:
        folder: empty, for whatever it writes.
        device: to compute on.
        quick: less work, for a look; not comparable with the whole.
    """

    folder: Path
    device: torch.device
    quick: bool


@dataclass(frozen=True)
class Result:
    """What a case found.

    Attributes:
        value: in `unit`.
        unit: "ms per sample", "instances per second" and so on.
        seconds: wall time of one unit of work, whatever the unit of the value.
        floor_s: the least that the same work can take on this machine.
        machine: as measured beside it.
        busy: share of the time in which the GPU worked, 0 to 1; None where it was not asked for.
    """

    value: float
    unit: str
    seconds: float
    floor_s: float
    machine: Machine
    busy: float | None = None


class Skipped(Exception):
    """The case cannot run here; the text says why."""


def sample(recipe: str, with_image: bool, workers: int, setting: Setting, with_boundary: bool = True) -> Result:
    """Time one training sample, in this process or through a loader with workers; the floor is to copy its bytes."""
    photos = drawn.draw_photos(setting.folder, 12)
    bank, settings = drawn.build_bank(setting.folder / "synth", photos, with_image)
    count = 64 if setting.quick else 1024
    stream = SampleStream(bank, settings.synthesis, drawn.SEED, 10 * count, recipe, with_boundary)
    item_bytes = sum(tensor.numel() * tensor.element_size() for tensor in stream[0].values())
    torch.set_num_threads(1)
    machine = measure_machine(torch.device("cpu"))
    if workers:
        loader = DataLoader(stream, batch_size=32, num_workers=workers)
        batches = iter(loader)
        for _ in range(2 * workers):  # until all have started
            next(batches)
        start = time.perf_counter()
        for _ in range(count // 32):
            next(batches)
    else:
        for index in range(16):
            stream[index]
        start = time.perf_counter()
        for index in range(count):
            stream[index]
    seconds = (time.perf_counter() - start) / count
    return Result(seconds * 1e3, "ms per sample", seconds, machine.seconds_for(0, item_bytes), machine)


def training_step(method: str, batch: int, patch_px: int, setting: Setting) -> Result:
    """Time one optimiser step, samples included, loading overlapped as by default; the floor is its arithmetic.

    A GPU trains in bf16, and long enough for its driver to tell how busy it is.
    """
    on_gpu = setting.device.type == "cuda"
    photos = drawn.draw_photos(setting.folder, 12)
    bank, defaults = drawn.build_bank(setting.folder / "synth", photos, with_image=False)
    settings = resolve(merge(defaults.model_dump(mode="json"), {"completer": {"method": method}}))
    synthesis = settings.synthesis.model_copy(update={"patch_px": patch_px})
    steps = (4 if setting.quick else 12) * (250 if on_gpu else 1)
    machine = measure_machine(setting.device, torch.bfloat16 if on_gpu else torch.float32)
    watch = Watch("training the completer", setting.device)

    def run(steps: int, progress: Progress, workers: int) -> None:
        training = TrainingSettings(
            steps=steps,
            batch_size=batch,
            workers=workers,
            precision="bf16" if on_gpu else "fp32",
            validate_every=10**6,
            checkpoint_every=10**6,
        )
        completer = drawn.fresh_completer(settings, setting.device)
        method_row = completer.method
        sees_boundary = "boundary" in method_row.channels
        train(
            completer,
            SampleStream(bank, synthesis, drawn.SEED, steps * batch, method_row.recipe, sees_boundary),
            training,
            seed=drawn.SEED,
            device=setting.device,
            checkpoint=setting.folder / f"checkpoint_{steps}.pth",
            validate=lambda completer: {},
            progress=progress,
        )

    with FlopCounterMode(display=False) as counter:
        run(1, SILENT, workers=0)
    run(steps, watch, workers=2)
    seconds = watch.seconds_per_unit()
    floor_s = machine.seconds_for(counter.get_total_flops(), 0)
    return Result(seconds * 1e3, "ms per step", seconds, floor_s, machine, watch.busy)


def complete_eight(method: str, backend: str, setting: Setting) -> Result:
    """Time completion and order of one photo with 8 instances; the floor is the arithmetic of its network calls."""
    photos = drawn.draw_photos(setting.folder, 12)
    folder = drawn.train_briefly(setting.folder, photos, method, steps=10 if setting.quick else 60)
    masks, image = drawn.scene_of_eight()
    labels = resolve({}).labels
    with FlopCounterMode(display=False) as counter:
        label_scenes(plan_labels(load_completer(folder, setting.device), labels), [Scene(masks, image)])
    if backend == "onnx":
        try:
            export_onnx(folder)
        except MissingPackageError as error:
            raise Skipped(str(error)) from None
    plan = plan_labels(load_completer(folder, setting.device, backend), labels)
    machine = measure_machine(setting.device)
    times = 2 if setting.quick else 8
    seconds = best_seconds(lambda: label_scenes(plan, [Scene(masks, image)]), setting.device, times)
    return Result(seconds, "s per photo", seconds, machine.seconds_for(counter.get_total_flops(), 0), machine)


def label_photos(method: str, setting: Setting) -> Result:
    """Time `pseudolabel` as a whole on drawn photos; the floor is the arithmetic of its network calls.

    A GPU gets crops of full size, more photos, and the fp16 that it labels in.
    """
    name, on_gpu = setting.device.type, setting.device.type == "cuda"
    photos = drawn.draw_photos(setting.folder, 12)
    steps, patch_px = 10 if setting.quick else 60, 256 if on_gpu else 64
    folder = drawn.train_briefly(setting.folder, photos, method, steps, patch_px)
    settings = resolve({"labels": {"batch_size": 64}} if on_gpu else {})
    if not setting.quick:
        photos = drawn.draw_photos(setting.folder / "more", 2000 if on_gpu else 48)
    machine = measure_machine(setting.device, torch.float16 if on_gpu else torch.float32)
    start = time.perf_counter()
    summary = make_labels(photos.annotations, photos.images, folder, setting.folder / "labels", settings, device=name)
    wait(setting.device)
    labels = summary.counts["labels"]
    seconds = (time.perf_counter() - start) / labels
    with FlopCounterMode(display=False) as counter:  # not in the run that is timed
        make_labels(photos.annotations, photos.images, folder, setting.folder / "again", settings, device=name)
    floor_s = machine.seconds_for(counter.get_total_flops() / labels, 0)
    return Result(1 / seconds, "instances per second", seconds, floor_s, machine)


def detector_training(setting: Setting) -> Result:
    """Time photos at detector training, by the paper's settings on a GPU, else the laptop's; floor: its arithmetic."""
    try:
        require_mmdetection("train-detector")
    except MissingPackageError as error:
        raise Skipped(str(error)) from None
    photos = drawn.draw_photos(setting.folder, 12)
    on_gpu = setting.device.type == "cuda"
    values = read_config(Path("cocoa_paper" if on_gpu else "coco_cpu"))
    machine = measure_machine(setting.device)
    watch = Watch("training detector", setting.device)

    def run(steps: int, progress: Progress, workers: int) -> int:
        changed = {"detector": {"steps": steps, "workers": workers, "frozen_stages": -1, "warmup_steps": 1}}
        settings = resolve(merge(values, changed))
        out = setting.folder / f"detector_{steps}"
        name = setting.device.type
        train_detector(photos.truth, photos.images, out, settings, init="none", device=name, progress=progress)
        return settings.detector.batch_size

    counting = Counting("training detector")
    run(1, counting, workers=0)
    batch = run((4 if setting.quick else 20) * (10 if on_gpu else 1), watch, workers=8 if on_gpu else 1)
    seconds = watch.seconds_per_unit() / batch
    floor_s = machine.seconds_for(counting.flops / batch, 0)
    return Result(1 / seconds, "photos per second", seconds, floor_s, machine, watch.busy)


def prediction(model: str, setting: Setting) -> Result:
    """Time detection on a photo in memory, masks encoded; the floor is MMDetection's own tool on the same network.

    Args:
        model: of `train-detector --list`, or the name of a config in MMDetection's package.
        setting: where and how large.
    """
    try:
        require_mmdetection("train-detector")
    except MissingPackageError as error:
        raise Skipped(str(error)) from None
    from mmdet.apis import init_detector

    from amodalpl.detector import trained

    from .beside_mmdetection import seconds_in_turns

    data = drawn.draw_photos(setting.folder, 12)
    stock = model if model.endswith(".py") else None
    changed = {"steps": 1, "warmup_steps": 0, "workers": 0, "class_agnostic": True, "milestones": []}
    changed |= {"vrsp": {"codes": 64, "shape_steps": 50}} | ({} if stock else {"model": model})
    settings = resolve(merge(read_config(Path("coco_cpu")), {"detector": changed}))
    name = setting.device.type
    out = setting.folder / "d"
    train_detector(data.truth, data.images, out, settings, init="none", mmdet_config=stock, device=name)
    ours = trained.open_detector(out, None, setting.device)
    theirs = init_detector(str(out / "mmdet_config.py"), str(out / "weights.pth"), device=name)
    photos = [read_image(path) for path in sorted(data.images.iterdir())[: 2 if setting.quick else 12]]
    machine = measure_machine(setting.device)
    seconds, floor_s = seconds_in_turns(ours, theirs, photos, 2 if setting.quick else 6, setting.device)
    return Result(1 / seconds, "photos per second", seconds, floor_s, machine)


def check_large_file(setting: Setting) -> Result:
    """Time `check` of a large COCO file of polygons; the floor is to copy the file and its photos once."""
    instances = 5_000 if setting.quick else 1_000_000
    file, images = drawn.write_large_file(setting.folder, instances)
    machine = measure_machine(torch.device("cpu"))
    start = time.perf_counter()
    summary = check(file, images)
    seconds = time.perf_counter() - start
    if summary.counts["instances"] != instances:
        raise RuntimeError(f"expected {instances} instances in the file just written, got {summary.counts}")
    read_bytes = file.stat().st_size + sum(photo.stat().st_size for photo in images.iterdir())
    return Result(seconds, f"s for {instances:,} instances", seconds, machine.seconds_for(0, read_bytes), machine)


def synth_large_photos(photos: int, objects: int, size_hw: tuple[int, int], rest: int, setting: Setting) -> Result:
    """Time `synth` of large photos, and see its memory; the floor is to copy the pixels of each photo once."""
    if setting.quick:
        photos, objects, size_hw = min(photos, 8), objects // 8, (size_hw[0] // 2, size_hw[1] // 2)
    file, images = drawn.write_large_photos(setting.folder / "large", photos, objects, size_hw, min(rest, objects))
    machine = measure_machine(torch.device("cpu"))
    start = time.perf_counter()
    synth(file, images, setting.folder / "synth", resolve({"seed": drawn.SEED}))
    seconds = time.perf_counter() - start
    pixels = photos * size_hw[0] * size_hw[1]
    return Result(seconds, f"s for {pixels / 1e6:.0f} megapixels", seconds, machine.seconds_for(0, 3 * pixels), machine)


def label_large_photos(photos: int, objects: int, size_hw: tuple[int, int], rest: int, setting: Setting) -> Result:
    """Time `pseudolabel` of large photos, and see its memory; the floor is the arithmetic of its network calls."""
    if setting.quick:
        photos, objects, size_hw = min(photos, 4), objects // 8, (size_hw[0] // 2, size_hw[1] // 2)
    file, images = drawn.write_large_photos(setting.folder / "large", photos, objects, size_hw, min(rest, objects))
    small = drawn.draw_photos(setting.folder, 12)
    folder = drawn.train_briefly(setting.folder, small, "layered", 10 if setting.quick else 60)
    settings, name = resolve({}), setting.device.type
    machine = measure_machine(setting.device)
    start = time.perf_counter()
    summary = make_labels(file, images, folder, setting.folder / "labels", settings, device=name)
    wait(setting.device)
    seconds = time.perf_counter() - start
    with FlopCounterMode(display=False) as counter:  # not in the run that is timed
        make_labels(file, images, folder, setting.folder / "again", settings, device=name)
    floor_s = machine.seconds_for(counter.get_total_flops(), 0)
    return Result(seconds, f"s for {summary.counts['labels']} labels", seconds, floor_s, machine)


MANY_OBJECTS = (2, 800, (4000, 6000), 30)  # photos, objects of the first, height and width, objects of the others
MANY_PHOTOS = (300, 25, (3000, 4000), 25)
RTMDET = "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py"

CASES: dict[str, Callable[[Setting], Result]] = {
    **{
        f"sample {recipe}{' with photo' if with_image else ''}, {f'{workers} workers' if workers else '1 process'}": (
            partial(sample, recipe, with_image, workers)
        )
        for recipe in RECIPES
        for with_image in (False, True)
        for workers in (0, 2)
    },
    "sample pair without boundary, 1 process": partial(sample, "pair", False, 0, with_boundary=False),  # PCNet-M's
    "training step pcnet-m, 8 x 128 px": partial(training_step, "pcnet-m", 8, 128),
    "training step asbu, 32 x 256 px": partial(training_step, "asbu", 32, 256),
    "completion and order of 8 instances, pcnet-m": partial(complete_eight, "pcnet-m", "torch"),
    "completion and order of 8 instances, asbu": partial(complete_eight, "asbu", "torch"),
    "completion and order of 8 instances, asbu by onnx": partial(complete_eight, "asbu", "onnx"),
    "labels, whole command, asbu": partial(label_photos, "asbu"),
    "detector training": detector_training,
    **{f"prediction beside MMDetection, {model}": partial(prediction, model) for model in (*MODELS, RTMDET)},
    "check of a large file": check_large_file,
    "synth of 800 objects in 24 megapixels": partial(synth_large_photos, *MANY_OBJECTS),
    "labels of 800 objects in 24 megapixels": partial(label_large_photos, *MANY_OBJECTS),
    "synth of 300 photos of 12 megapixels": partial(synth_large_photos, *MANY_PHOTOS),
    "labels of 300 photos of 12 megapixels": partial(label_large_photos, *MANY_PHOTOS),
}
