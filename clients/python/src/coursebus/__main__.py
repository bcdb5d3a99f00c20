"""``python -m coursebus`` is the command line, like the script ``coursebus``."""

from .cli import main

main()
