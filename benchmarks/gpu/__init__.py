"""What amodalpl does on one GPU, measured by one command: `python -m benchmarks.gpu --help`, or `make gpu-measure`.

Rows are measured one after the other, each in a process of its own under its own time limit, and each figure is printed
and kept as soon as it is there: what is cut short has lost nothing but its last figure. The same command with `--tiny
--device cpu` runs every row at sizes that mean nothing, to see that it works before a GPU is at hand.

This file, `__main__`, `figures`, `rows` and `runner` need Python only: what they start may be installed by them.
"""
