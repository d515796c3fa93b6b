"""`python -m riverport` is the `riverport` command."""

import sys

from riverport.cli.main import main

sys.exit(main())
