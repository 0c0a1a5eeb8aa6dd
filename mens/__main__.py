"""`python -m mens`."""

import sys

from mens.cli.main import main

sys.exit(main())
