"""The `evaluate` commands: files in, scores out, each under the name of its protocol."""
