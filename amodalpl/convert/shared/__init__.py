"""What formats of other tools have in common: attributes, numbers in PNG files, names of photos. None is a format."""
