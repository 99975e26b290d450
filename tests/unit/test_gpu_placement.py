"""What goes wrong on a GPU only, looked for without one: tensors left on the host, steps that wait for values."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from drawn_cutouts import write_bank
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from amodalpl.completion.training import CompleterWithLoss, build_optimizer, train
from amodalpl.models.completer import build_completer
from amodalpl.models.completer_table import METHODS
from amodalpl.models.sync_batchnorm import share_statistics
from amodalpl.runtime.progress import SILENT
from amodalpl.settings import SynthesisSettings, TrainingSettings
from amodalpl.synthesis.dataset import SampleStream

SIDE = 32
SYNC = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal"}


class OneDevice(TorchDispatchMode):
    """Takes torch's device without memory, `meta`, for the GPU: an operation on it and on the host is an error there.

    Numbers without a dimension may come from the host, as on a GPU.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.dim()]
        if len({tensor.device.type for tensor in tensors}) > 1:
            raise RuntimeError(f"{func}: tensors on two devices")
        return func(*args, **(kwargs or {}))


def loss_on_gpu(method, with_image, misplaced=None):
    completer = build_completer(method, 4, with_image).to("meta")
    model = CompleterWithLoss(completer, TrainingSettings(), "cpu")
    names = ("modal", "occluder", "boundary", "target", "unknown")
    batch = {name: torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool, device="meta") for name in names}
    if with_image:
        batch["image"] = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8, device="meta")
    if misplaced:
        batch[misplaced] = torch.zeros_like(batch[misplaced], device="cpu")
    with OneDevice():
        loss = model(**batch)["loss"]
        loss.backward()
    return loss.device.type, {weight.grad.device.type for weight in completer.parameters()}


@pytest.mark.parametrize("with_image", [False, True], ids=["masks", "photo too"])
@pytest.mark.parametrize("method", METHODS)
def test_a_training_step_stays_on_the_gpu(method, with_image):
    assert loss_on_gpu(method, with_image) == ("meta", {"meta"})


@pytest.mark.parametrize("name", ["modal", "target", "unknown", "image"])
def test_a_misplaced_tensor_would_be_seen(name):
    with pytest.raises(RuntimeError, match="two devices"):
        loss_on_gpu("layered", True, misplaced=name)


def on_fake_gpu(module):
    """Replace weights and buffers by some that are said to lie on a GPU; for use within a `FakeTensorMode`."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            part._parameters[name] = nn.Parameter(torch.empty_like(weight, device="cuda"))
        for name, buffer in part._buffers.items():
            part._buffers[name] = torch.empty_like(buffer, device="cuda")
    return module


def test_a_gpu_shares_statistics_by_torchs_own_layer():
    completer = build_completer("asbu", 4, False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_fake_gpu(completer)
        names = {name: id(value) for name, value in completer.named_parameters()}
        share_statistics(completer)
    norms = [m for m in completer.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 18 and all(type(m) is nn.SyncBatchNorm for m in norms)
    assert {name: id(value) for name, value in completer.named_parameters()} == names


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_fused_optimizer_is_there(optimizer):
    completer = build_completer("asbu", 4, False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_fake_gpu(completer)
        made = build_optimizer(completer, TrainingSettings(optimizer=optimizer), fused=True)
    assert made.param_groups[0]["fused"] is True


class Asked(TorchDispatchMode):
    """Counts operations that wait for a GPU to tell the host something."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        if name in SYNC:
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"))


def asked_in(steps, folder, checkpoint, extra=None):
    torch.manual_seed(0)
    completer = build_completer("asbu", 4, False)
    settings = TrainingSettings(steps=steps, batch_size=2, workers=0, validate_every=10**6, checkpoint_every=10**6)
    stream = SampleStream(folder, SynthesisSettings(patch_px=SIDE), 0, 2 * steps, "pair")
    if extra:
        completer.register_forward_hook(extra)
    checkpoint.parent.mkdir()
    with Asked() as asked:
        train(
            completer,
            stream,
            settings,
            seed=0,
            device=torch.device("cpu"),
            checkpoint=checkpoint,
            validate=lambda _: {},
            progress=SILENT,
        )
    return asked.count


def asks(output):
    output.sum().item()


def test_more_steps_ask_no_more_often(bank, tmp_path):
    few, many = (asked_in(steps, bank, tmp_path / str(steps) / "checkpoint.pth") for steps in (3, 9))
    assert few == many


def test_a_step_that_asks_would_be_seen(bank, tmp_path):
    counts = [
        asked_in(steps, bank, tmp_path / str(steps) / "c.pth", extra=lambda module, inputs, output: asks(output))
        for steps in (3, 9)
    ]
    assert counts[1]["aten::_local_scalar_dense"] - counts[0]["aten::_local_scalar_dense"] == 6
