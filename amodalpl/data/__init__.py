"""Annotations: the one record of an object, a file per format of the COCO family, label files and decisions."""
