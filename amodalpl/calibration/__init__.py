"""Thresholds, calibration and scores of a completer, from the hold-out."""
