"""What whole objects look like, learnt from whole masks."""
