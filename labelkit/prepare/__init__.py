"""A raw dump of classes becomes training and validation images: ImageNet-21K-P's recipe.

Loads no torch: worker processes only read, decode, resize and encode images.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
