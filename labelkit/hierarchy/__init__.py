"""Class lists, WordNet, taxonomies and the semantic tree. Loads no tensors.

Class lists load neither numpy nor torch; numpy is loaded with the first tree.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
