"""Occlusions with known answers, made from the user's own masks: a bank of cut-outs, samples, a frozen hold-out."""
