"""`python -m meshmark`: the same as the `meshmark` command."""

import sys

from meshmark.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
