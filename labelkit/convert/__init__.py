"""Trees and label maps to and from other projects' formats.

Trees: the published ``.pth``, and CSV. Label maps: ReLabel's folders of ``.pt`` files, and
one image's as ``.npz``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
