"""Scores, each under the name of its protocol, in three steps: check the input, count in whole pixels, compute."""
