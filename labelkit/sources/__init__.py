"""Where images come from: folders, tars, WebDataset shards, tables, lists. Keys, bytes and labels.

Loads neither torch nor Pillow; pyarrow only for parquet files and Hugging Face data sets.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
