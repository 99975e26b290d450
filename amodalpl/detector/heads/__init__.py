"""The parts of our detectors that MMDetection does not have: heads, their losses, who is ignored."""
