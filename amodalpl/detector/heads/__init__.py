"""The parts of the detectors: a config per model of the zoo, and what MMDetection does not have."""
