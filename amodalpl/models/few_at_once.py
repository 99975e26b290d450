"""A backend for using a network on a CPU: a few patches at a time, and each thread has patches of its own.

What the first and last layers hold of 32 patches fits into no cache, so that a quarter of the time is spent waiting.
And threads that share a convolution wait for each other after each one, most of all beside other programs. They also
add up in another order than one thread does: the answers here are those of one thread, whatever their number.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from .unet import UNet

FEW = 4  # patches of 128 px: the fastest of 1 to 32
MANY = 16  # patches from which PyTorch takes another kernel for the last layer
REMEMBERED_BYTES = 2**27


class FewAtOnce(nn.Module):
    """A trained UNet: the answers of one thread, bit for bit, sooner. Gradients are not asked for.

    Shapes: (B, C, H, W) float -> (B, 2, H, W) float, raw.
    """

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the two raw channels."""
        if x.device.type != "cpu" or torch.jit.is_tracing():
            return self.network(x)
        return self.answers(x, len(x))

    def answers(self, x: torch.Tensor, together: int) -> torch.Tensor:
        """Return the two raw channels, on a CPU, to the bit as if there were more patches.

        Args:
            x: some patches of a batch, one only if it is the whole batch.
            together: how many patches the batch has.
        """
        few = x.tensor_split(max(1, -(-len(x) // FEW)))  # none alone: one patch is computed in another way than several
        threads, autocast = torch.get_num_threads(), torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu")

        def features(some: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=autocast):
                return self.network.features(some)

        try:
            if threads == 1:  # memory that a thread of its own freed would be handed back, and cleared again each time
                found = [features(some) for some in few]
            else:
                with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    found = list(pool.map(features, few))
            torch.set_num_threads(1)
            if len(x) < MANY <= together:
                missing = found[0][:1].expand(MANY - len(x), -1, -1, -1)
                found.append(torch.zeros_like(missing, memory_format=torch.channels_last))
            return self.network.leave(torch.cat(found))[: len(x)]
        finally:
            torch.set_num_threads(threads)


class Remembering(nn.Module):
    """The same network where it is asked the same again and again: what it said stays in memory, up to a limit.

    Answers are those that it would give, bit for bit. On a GPU, where they cost less than looking them up, it is asked.
    """

    def __init__(self, network: FewAtOnce) -> None:
        super().__init__()
        self.network = network
        self._known: dict[tuple[int, bytes], torch.Tensor] = {}
        self._room = REMEMBERED_BYTES

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the two raw channels."""
        if x.device.type != "cpu":
            return self.network(x)
        way = (len(x) > 1) + (len(x) >= MANY)  # in which the answers to a batch of this size are computed
        keys = [(way, hashlib.blake2b(patch.permute(1, 2, 0).contiguous().numpy()).digest()) for patch in x]
        number = {key: k for k, key in enumerate(keys) if key not in self._known}
        asked = list(number.values())
        if len(asked) == 1 < len(x):
            asked.append((asked[0] + 1) % len(x))
        said: dict[tuple[int, bytes], torch.Tensor] = {}
        if asked:
            said = dict(zip((keys[k] for k in asked), self.network.answers(x[asked], len(x)), strict=True))
        given = [said[key] if key in said else self._known[key] for key in keys]
        self._remember({key: said[key] for key in number})
        return torch.stack(given).contiguous(memory_format=torch.channels_last)

    def _remember(self, said: dict[tuple[int, bytes], torch.Tensor]) -> None:
        for key, answer in said.items():
            if answer.nbytes <= self._room:
                self._room -= answer.nbytes
                self._known[key] = answer.clone()
