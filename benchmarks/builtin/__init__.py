"""How the completer that comes with the package is made and measured; `docs/builtin_completer.md` is its model card."""
