"""Benchmarks from a folder of class folders: which classes, which images, and which labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
