"""Settings files, one per experiment: flat, complete, with a reason beside each number."""
