"""How any stage runs: its output folder and record, locks, several processes, what is shown while it works."""
