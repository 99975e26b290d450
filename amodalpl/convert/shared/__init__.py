"""What formats of other tools have in common: one file per photo, attributes, names of photos, and more."""
