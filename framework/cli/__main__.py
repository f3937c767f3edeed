"""`python -m groupwise.framework.cli`."""

import sys

from groupwise.framework.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
