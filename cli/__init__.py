"""The command line of amodalpl: options and printing only; the work is done by `amodalpl.pipeline`."""
