"""Settings for all tests."""

from hypothesis import settings

# A deadline is a timing assert: the first example pays for lazy imports, and machines are shared.
settings.register_profile("labelkit", deadline=None)
settings.load_profile("labelkit")
