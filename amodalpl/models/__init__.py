"""The networks: tensors in, tensors out; plain arguments, no settings."""
