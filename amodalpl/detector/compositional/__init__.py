"""The Bayesian compositional model: whole objects from boxes and classes alone (Sun, Kortylewski and Yuille 2022).

Data flow one way: a box of a photo becomes a grid of unit vectors (features.py), a vocabulary of parts tells
them (concepts.py), objects of a class are grouped by pose (mixtures.py), and all is learnt from boxes (training.py).
The result (model.py) says how likely a grid is and what each cell shows; inference.py makes masks of it.
Equation numbers are the paper's.
"""
