"""`python -m iotrace` is the command `iotrace`."""

import sys

from iotrace.cli import main

if __name__ == "__main__":
    sys.exit(main())
