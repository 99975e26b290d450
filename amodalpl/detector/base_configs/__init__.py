"""MMDetection's own models as configs, which the models of `model_table.py` start from."""
