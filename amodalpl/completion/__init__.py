"""Completers: training, files on disk, export, predictions."""
