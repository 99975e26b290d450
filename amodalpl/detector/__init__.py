"""Detectors of whole objects by MMDetection (extra `detector`), trained on label files.

`zoo.py` lists the models, `config.py` writes their configs, `training.py` and `inference.py` run them. MMDetection is
imported by `mmdetection.py` alone.
"""
