"""Annotations of other tools in, annotations for other tools out; one file per format, `hub` between them."""
