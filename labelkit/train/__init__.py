"""Train a timm model from a recipe: hard labels, semantic softmax, or pooled label maps.

Reading a recipe loads no tensors; everything else does, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
