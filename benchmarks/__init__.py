"""How fast amodalpl is, beside what the machine can do: `python -m benchmarks --help`.

Everything runs on scenes that are drawn on the fly; no data is needed. Each case runs in a process of its own, so that
its memory is its own, and measures the machine just before itself, so that a busy machine slows both sides of a ratio.
"""
