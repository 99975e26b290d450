"""A backend for using a network on a CPU: a few patches at a time, and each thread has patches of its own.

What the first and last layers hold of 32 patches fits into no cache, so that a quarter of the time is spent waiting.
And threads that share a convolution wait for each other after each one, most of all beside other programs. They also
add up in another order than one thread does: the answers here are those of one thread, whatever their number.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from .unet import UNet

FEW = 4  # patches of 128 px: the fastest of 1 to 32


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
        few = x.tensor_split(max(1, -(-len(x) // FEW)))  # none alone: one patch is computed in another way than several
        threads, autocast = torch.get_num_threads(), torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu")

        def features(some: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=autocast):
                return self.network.features(some)

        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                found = list(pool.map(features, few))
            torch.set_num_threads(1)
            return self.network.leave(torch.cat(found))
        finally:
            torch.set_num_threads(threads)
