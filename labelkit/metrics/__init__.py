"""Accuracies and distances; every one is a function for a batch and a class for many.

``compute()`` sums over the processes of a distributed run, so all of them must call it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
