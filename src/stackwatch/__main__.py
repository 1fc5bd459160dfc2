"""`python -m stackwatch`: the same as the command `stackwatch`."""

import sys

from stackwatch.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
