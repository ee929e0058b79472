"""Follow a crop through a pipeline of transforms, to know which part of the image it shows."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
