"""Settings for all tests."""

import os
import signal

from hypothesis import settings

# A deadline is a timing assert: the first example pays for lazy imports, and machines are shared.
settings.register_profile("labelkit", deadline=None)
settings.load_profile("labelkit")

# A shell ignores Ctrl-C for what it runs in the background, and so would the commands that tests
# interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Variables that change what commands print: tests read the same lines on every machine.
for _name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
    os.environ.pop(_name, None)
