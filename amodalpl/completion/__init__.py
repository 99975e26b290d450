"""The completer at work: trained, stored, exported, asked, and what its answers are worth."""
