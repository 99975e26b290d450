"""Scores, each under the name of its protocol: a file per `evaluate` command, and a completer on its hold-out."""
