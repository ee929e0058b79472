"""Images, crops tracked through augmentation, and data sets that pool label maps over them.

Listing and opening images needs no torch; it is loaded with the first crop.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
