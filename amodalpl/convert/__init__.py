"""Annotations of other tools in, annotations for other tools out: one file per format, `data.records` between them."""
