"""How good a completer and its labels are: scores on the hold-out, and the free baselines beside them."""
