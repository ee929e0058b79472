"""The whole path on photos that come with packages: tree, label maps, pictures, a student."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
