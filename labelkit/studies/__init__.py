"""Studies: a grid of recipes, run where runs are missing, as one table and one plot.

Reading a study and its results loads no tensors; running it and drawing it do, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
