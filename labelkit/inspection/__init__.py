"""Look at what was made: summaries, pictures and HTML pages. Loads no torch.

Each part is imported when it is first asked for: words for a terminal need no pictures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
