"""The version; this file imports nothing, so that everything can import it."""

__version__ = "0.1.0"
