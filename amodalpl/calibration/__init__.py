"""Thresholds and calibration of a completer, fitted on one half of its hold-out."""
