"""Plain file work: whole files, JSON entry by entry, photos, YAML, processes; it knows nothing of runs."""
