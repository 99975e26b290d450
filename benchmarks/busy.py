"""How much of the time a GPU works, as its driver counts it."""

from __future__ import annotations

import os
import subprocess

_MS_BETWEEN = 200  # the driver averages over about as long


class BusyShare:
    """Asks `nvidia-smi` again and again between `start` and `stop`, from a process of its own."""

    def __init__(self, command: str = "nvidia-smi") -> None:
        self.command = command
        self._asking: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin; where the command is missing nothing is asked."""
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
        wanted = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--id={first}"]
        try:
            self._asking = subprocess.Popen(
                [self.command, *wanted, f"--loop-ms={_MS_BETWEEN}"], stdout=subprocess.PIPE, text=True
            )
        except OSError:
            self._asking = None

    def stop(self) -> float | None:
        """Return the share of the time in which at least one kernel ran, 0 to 1; None when nobody said."""
        if self._asking is None:
            return None
        self._asking.terminate()
        said = [float(line) for line in self._asking.communicate()[0].split() if line.isdigit()]
        self._asking = None
        return sum(said) / len(said) / 100 if said else None
