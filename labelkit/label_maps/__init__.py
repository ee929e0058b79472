"""Label maps: the file, its one reader and one writer, and pooling over a crop.

Loads torch only for the names that need it: batches of maps, and their pooling.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
