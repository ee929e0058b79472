"""``python -m labelkit.cli`` is the ``labelkit`` command."""

from labelkit.cli import main

main()
