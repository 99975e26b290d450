"""What whole shapes of a class look like: an auto-encoder, a codebook, and how ordinary a shape is."""
