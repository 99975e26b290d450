"""Training: interrupted and resumed gives what an uninterrupted run gives, bit for bit."""

from __future__ import annotations

import gc
import json
import multiprocessing
import random
import signal
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_cutouts import write_discs
from interruptions import Killed, KillIn
from torch import nn

from amodalpl.completion.training import CompleterWithLoss, StepSampler, train
from amodalpl.errors import CheckpointError, SettingsError
from amodalpl.io.checkpoints import load_plain
from amodalpl.models import losses
from amodalpl.models.completer import Completer, build_completer
from amodalpl.models.completer_table import METHODS
from amodalpl.runtime import forecast
from amodalpl.runtime.mmengine_runner import NAN_BATCH, TrainingError, image_ids, seed_step
from amodalpl.runtime.progress import SILENT, Progress
from amodalpl.settings import SynthesisSettings, TrainingSettings
from amodalpl.synthesis.dataset import SampleStream

CPU = torch.device("cpu")
SAMPLES = SynthesisSettings(patch_px=16)
TINY = TrainingSettings(
    steps=6, batch_size=2, workers=0, optimizer="adamw", learning_rate=0.01, validate_every=4, checkpoint_every=2
)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("bank"))


def run(bank, checkpoint, settings=TINY, progress=SILENT, method="asbu", validate=None, width=4):
    torch.manual_seed(0)
    completer = build_completer(method, width, False, init_gain=0.5)
    stream = SampleStream(bank, SAMPLES, 0, settings.steps * settings.batch_size, "pair")

    def score(trained):
        assert not trained.training
        return {"hold-out miou": sum(p.abs().sum().item() for p in trained.parameters())}

    checkpoint.parent.mkdir(exist_ok=True)
    history = train(
        completer,
        stream,
        settings,
        seed=0,
        device=CPU,
        checkpoint=checkpoint,
        validate=validate or score,
        progress=progress,
    )
    return completer, history


def assert_same(first, second):
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


SCHEDULES = {
    "constant, adamw": TINY,
    "steps, sgd": TINY.model_copy(update={"optimizer": "sgd", "schedule": "steps", "milestones": (3, 5)}),
    "one-cycle, adamw": TINY.model_copy(update={"schedule": "one-cycle"}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_killed_twice_and_resumed_is_the_same_to_the_bit(bank, tmp_path, name):
    settings = SCHEDULES[name]
    whole, curve = run(bank, tmp_path / "whole" / "checkpoint.pth", settings)
    checkpoint = tmp_path / "killed" / "checkpoint.pth"
    with pytest.raises(Killed):  # before the first checkpoint
        run(bank, checkpoint, settings, KillIn("training the completer", 1))
    assert not checkpoint.exists()
    for step in (3, 5):
        with pytest.raises(Killed):
            run(bank, checkpoint, settings, KillIn("training the completer", step))
        assert load_plain(checkpoint)["step"] == step - 1
    resumed, again = run(bank, checkpoint, settings)
    assert_same(whole, resumed)
    assert again == curve
    assert checkpoint.read_bytes() == (tmp_path / "whole" / "checkpoint.pth").read_bytes()
    assert [row["step"] for row in curve if "loss" in row] == [2, 4, 6]
    assert [row["step"] for row in curve if "hold-out miou" in row] == [4, 6]


def test_killed_after_the_last_step_does_not_train_again(bank, tmp_path):
    checkpoint = tmp_path / "checkpoint.pth"
    whole, curve = run(bank, checkpoint)
    before = checkpoint.read_bytes()
    resumed, again = run(bank, checkpoint, progress=KillIn("training the completer", TINY.steps + 1))
    assert_same(whole, resumed)
    assert again == curve and checkpoint.read_bytes() == before


def test_workers_do_not_change_the_result(bank, tmp_path):
    alone, _ = run(bank, tmp_path / "a" / "c.pth")
    shared, _ = run(bank, tmp_path / "b" / "c.pth", TINY.model_copy(update={"workers": 1}))
    assert_same(alone, shared)


@pytest.mark.parametrize("end", ["done", "stopped"])
def test_the_loader_s_processes_end_with_the_training(bank, tmp_path, end):
    """Left to Python's collector of cycles, torch waits five seconds for each."""
    gc.disable()
    try:
        with pytest.raises(Killed) if end == "stopped" else nullcontext():
            run(
                bank,
                tmp_path / "checkpoint.pth",
                TINY.model_copy(update={"workers": 2}),
                KillIn("training the completer", 3) if end == "stopped" else SILENT,
            )
        assert not multiprocessing.active_children()
    finally:
        gc.enable()


def test_loss_goes_down(bank, tmp_path):
    settings = TINY.model_copy(update={"steps": 40, "checkpoint_every": 100, "validate_every": 100})
    _, curve = run(bank, tmp_path / "c.pth", settings)
    losses = [row["loss"] for row in curve if "loss" in row]
    assert len(losses) == 2 and losses[-1] < losses[0]


def first_batch(bank):
    stream = SampleStream(bank, SAMPLES, 0, 2, "pair")
    return {name: torch.stack([stream[0][name], stream[1][name]]) for name in stream[0]}


def test_first_loss_is_that_of_the_first_batch(bank, tmp_path):
    settings = TINY.model_copy(update={"steps": 1, "inside_weight": 7.0})
    _, curve = run(bank, tmp_path / "c.pth", settings)
    torch.manual_seed(0)
    completer = build_completer("asbu", 4, False, init_gain=0.5).train()
    batch = first_batch(bank)
    outputs = completer(batch["modal"], batch["occluder"], batch["boundary"])
    loss = losses.asbu(outputs, batch["target"], losses.pixel_weight(batch["occluder"], 7.0))
    assert curve[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("method", "inside", "contact"), [("layered", 50.0, 3.0), ("pcnet-m", 5.0, 1.0), ("asbu", 5.0, 1.0)]
)
def test_weights_of_the_loss_are_the_method_s(bank, tmp_path, method, inside, contact):
    """5 under the occluder in the papers; in ours 50, and three times that near the visible part."""
    _, curve = run(bank, tmp_path / "c.pth", TINY.model_copy(update={"steps": 1}), method=method)
    torch.manual_seed(0)
    completer = build_completer(method, 4, False, init_gain=0.5).train()
    batch = first_batch(bank)
    outputs = completer(batch["modal"], batch["occluder"], batch["boundary"])

    def loss(inside, contact):
        weight = losses.pixel_weight(batch["occluder"], inside, modal=batch["modal"], contact=contact)
        return completer.method.loss(outputs, batch["target"], weight).item()

    assert curve[0]["loss"] == pytest.approx(loss(inside, contact), rel=1e-5)
    for others in ((2 * inside, contact), (inside, 2 * contact)):
        assert loss(*others) != pytest.approx(loss(inside, contact), rel=1e-3)


def test_unknown_pixels_teach_nothing(bank, tmp_path):
    """Whatever the answer says where it is not known, the weights become the same; elsewhere they do not."""

    class Altered(SampleStream):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            where = item["unknown"] if self.beyond else ~item["unknown"]
            return item | {"target": item["target"] ^ where}

    def trained(name, stream):
        torch.manual_seed(0)
        completer = build_completer("asbu", 4, False, init_gain=0.5)
        folder = tmp_path / name
        folder.mkdir()
        train(
            completer,
            stream,
            TINY,
            seed=0,
            device=CPU,
            checkpoint=folder / "c.pth",
            validate=lambda _: {},
            progress=SILENT,
        )
        return torch.cat([p.detach().flatten() for p in completer.parameters()])

    streams = [kind(bank, SAMPLES, 0, 12, "ais") for kind in (SampleStream, Altered, Altered)]
    streams[1].beyond, streams[2].beyond = True, False
    plain, beyond, within = (trained(str(k), stream) for k, stream in enumerate(streams))
    assert torch.equal(plain, beyond) and not torch.equal(plain, within)


def test_bf16_trains(bank, tmp_path):
    _, curve = run(bank, tmp_path / "c.pth", TINY.model_copy(update={"precision": "bf16", "steps": 2}))
    assert np.isfinite([row["loss"] for row in curve if "loss" in row]).all()


def test_fp16_needs_a_gpu(bank, tmp_path):
    with pytest.raises(SettingsError, match="training.precision: fp16 needs a CUDA device"):
        run(bank, tmp_path / "c.pth", TINY.model_copy(update={"precision": "fp16"}))


class Broken(nn.Module):
    """Gives no numbers from some call on."""

    def __init__(self, good):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.good = good

    def forward(self, x):
        self.good -= 1
        return x[:, :2] * self.weight if self.good >= 0 else x[:, :2] * self.weight + float("nan")


@pytest.mark.parametrize("good", [0, 3])
def test_loss_that_is_no_number_stops_and_spares_the_checkpoint(bank, tmp_path, good):
    stream = SampleStream(bank, SAMPLES, 0, 100, "pair")
    checkpoint = tmp_path / "c.pth"
    named = rf"the loss is nan at step {good + 1} \(samples {2 * good}, {2 * good + 1}; saved in .*{NAN_BATCH}\): try a"
    with pytest.raises(TrainingError, match=named):
        train(
            Completer(Broken(good), METHODS["asbu"]),
            stream,
            TINY.model_copy(update={"steps": 50}),
            seed=0,
            device=CPU,
            checkpoint=checkpoint,
            validate=lambda c: {},
            progress=SILENT,
        )
    saved = json.loads((tmp_path / NAN_BATCH).read_text())
    assert saved == {"step": good + 1, "loss": "nan", "samples": [2 * good, 2 * good + 1]}
    if good:
        assert torch.isfinite(load_plain(checkpoint)["model"]["completer.network.weight"]).all()
    else:
        assert not checkpoint.exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda p: p.write_bytes(b""), "a damaged or foreign file", id="empty"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:-500]), "a damaged or foreign file", id="cut short"),
        pytest.param(lambda p: p.write_text("weights"), "a damaged or foreign file", id="text"),
        pytest.param(lambda p: torch.save([1, 2], p), "expected a training's checkpoint", id="other"),
        pytest.param(lambda p: torch.save(nn.Linear(1, 1), p), "a damaged or foreign file", id="pickled code"),
    ],
)
def test_damaged_checkpoint_is_refused(bank, tmp_path, damage, message):
    run(bank, tmp_path / "c.pth", TINY.model_copy(update={"steps": 2}))
    damage(tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=message):
        run(bank, tmp_path / "c.pth")


def test_checkpoint_of_another_network_is_refused(bank, tmp_path):
    run(bank, tmp_path / "c.pth", TINY.model_copy(update={"steps": 2}))
    with pytest.raises(CheckpointError, match="expected a checkpoint of this network, got one of another"):
        run(bank, tmp_path / "c.pth", width=8)


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="expected a weights file, found none"):
        load_plain(tmp_path / "none.pth")


@pytest.mark.parametrize("start", [0, 3])
def test_processes_share_the_samples_of_a_larger_batch(start):
    steps, batch, world = 5, 2, 3
    one = list(StepSampler(start, steps, batch * world, 0, 1))
    assert one == list(range(start * 6, 30))
    shares = [list(StepSampler(start, steps, batch, rank, world)) for rank in range(world)]
    assert all(len(share) == len(one) // world for share in shares)
    for step in range(steps - start):
        seen = [n for share in shares for n in share[step * batch : (step + 1) * batch]]
        assert sorted(seen) == one[step * 6 : (step + 1) * 6]


def draws():
    return [float(torch.rand(1)), float(np.random.rand()), random.random()]


def test_a_resumed_step_draws_what_an_undisturbed_one_draws():
    seed_step(3, 7, 0)
    first = draws()
    draws()
    seed_step(3, 7, 0)
    assert draws() == first
    for other in ((4, 7, 0), (3, 8, 0), (3, 7, 1)):  # another seed, step, process
        seed_step(*other)
        assert not set(draws()) & set(first)


def test_batch_of_the_detector_is_named_by_its_photos():
    assert image_ids(3, {"data_samples": [SimpleNamespace(img_id=7), SimpleNamespace(img_id=9)]}) == {
        "image_ids": [7, 9]
    }
    assert image_ids(3, None) == {"image_ids": []}


class CtrlC(Progress):
    """Presses Ctrl-C in the middle of a step, `times` times, and keeps what is said."""

    def __init__(self, step, times=1):
        self.left, self.times, self.said = step, times, []

    @contextmanager
    def task(self, label, total, done=0):
        def advance(units):
            self.left -= units
            if self.left == 0:
                for _ in range(self.times):
                    signal.raise_signal(signal.SIGINT)

        yield advance

    def note(self, text):
        self.said.append(text)


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_saves_the_step_and_says_which(bank, tmp_path, workers):
    settings = TINY.model_copy(update={"checkpoint_every": 100, "validate_every": 100, "workers": workers})
    whole, curve = run(bank, tmp_path / "whole" / "c.pth", settings)
    before, keys = signal.getsignal(signal.SIGINT), CtrlC(3)
    with pytest.raises(KeyboardInterrupt):
        run(bank, tmp_path / "c.pth", settings, keys)
    assert signal.getsignal(signal.SIGINT) is before
    assert keys.said == ["stopped: step 3 of 6 is saved, the same command goes on there"]
    assert load_plain(tmp_path / "c.pth")["step"] == 3
    keys = CtrlC(0)
    resumed, again = run(bank, tmp_path / "c.pth", settings, keys)
    assert keys.said[0] == "goes on after step 3 of 6"
    assert_same(whole, resumed)
    assert again == curve
    assert (tmp_path / "c.pth").read_bytes() == (tmp_path / "whole" / "c.pth").read_bytes()


def test_a_second_ctrl_c_stops_at_once(bank, tmp_path):
    keys = CtrlC(3, times=2)
    with pytest.raises(KeyboardInterrupt):
        run(bank, tmp_path / "c.pth", progress=keys)
    assert load_plain(tmp_path / "c.pth")["step"] == 2  # as the interval says
    assert "stopped: step 2 of 6 is saved" in keys.said[-1]


@pytest.mark.parametrize(("seconds", "warned"), [(30000.0, True), (100.0, False)])
def test_a_training_of_days_says_so_at_its_start(seconds, warned, monkeypatch):
    now = iter([0.0, 2 * seconds])
    monkeypatch.setattr(forecast.time, "monotonic", lambda: next(now))
    keys = CtrlC(0)
    hook = forecast.Forecast(keys, "do less")
    for step in range(5):
        hook.after_train_iter(SimpleNamespace(max_iters=13), step)
    assert keys.said == ["warning: this training will take 3.5 days: 13 steps of 3e+04 s; do less"] * warned


@pytest.mark.parametrize(("given", "unmasked", "expected"), [(None, 0.0, 1.0), (None, 0.5, 10.0), (3.0, 0.5, 3.0)])
def test_pixels_without_a_mask_weigh_more_where_neighbours_may_lack_theirs(given, unmasked, expected):
    """With nothing shown in front, all pixels are such: the loss is their weight times that of the papers."""
    completer = build_completer("layered", 4, False).eval()
    masks = {name: torch.rand(2, 1, 16, 16) > 0.5 for name in ("modal", "target")}
    masks |= dict.fromkeys(("occluder", "boundary"), torch.zeros(2, 1, 16, 16, dtype=torch.bool))
    settings = TrainingSettings(outside_weight=given)
    plain = CompleterWithLoss(completer, TrainingSettings(outside_weight=1.0), "cpu")(**masks)["loss"]
    loss = CompleterWithLoss(completer, settings, "cpu", unmasked)(**masks)["loss"]
    torch.testing.assert_close(loss, expected * plain)
