"""A data set and a teacher become a label-map file, and such a file is held against them again.

Each part is imported when it is first asked for: checking a file needs no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
