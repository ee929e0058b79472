"""Accuracies and distances, each as a function for one batch and a class for many.

``compute()`` sums over the processes of a distributed run, so every process must call it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
