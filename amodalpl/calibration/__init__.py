"""What a completer's answers are worth: thresholds, calibration and scores on the hold-out."""
