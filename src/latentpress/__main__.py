"""`python -m latentpress` is the same as `latentpress`."""

import sys

from latentpress.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
