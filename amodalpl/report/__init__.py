"""What a person looks at: overlays, curves, and the page beside a label file."""
