"""From visible masks and a completer to labels: neighbours, order, uncertainty, flags, statistics."""
