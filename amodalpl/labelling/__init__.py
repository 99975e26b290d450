"""From visible masks and a completer to labels: neighbours, order, doubt, flags, statistics, review."""
