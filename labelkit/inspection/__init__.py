"""Summaries, pictures and HTML pages of trees and label maps. Loads no torch.

Each name is imported on first use, so that summaries load no imaging libraries.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
