"""The pages of the documentation; `protocols.md` is installed too, because `amodalpl explain` reads it."""
