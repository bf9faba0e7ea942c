"""``python -m fed_backend``: the ``fedseg`` command where it is not installed."""

from fed_backend.cli import main

main()
