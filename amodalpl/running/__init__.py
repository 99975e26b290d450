"""How any stage runs: whole files, locks, resuming, several processes, what is shown and recorded."""
