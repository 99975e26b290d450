"""Amodal instance segmentation for people who have only modal masks."""

__version__ = "0.1.0"
