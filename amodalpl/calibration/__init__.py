"""What can be said of labels: how sure they are, and what a sample of them that a person judged says of all."""
