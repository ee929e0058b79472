"""Train a timm model from a recipe: hard labels, a tree, pooled label maps, or a live teacher.

Reading a recipe loads no tensors; everything else does, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
