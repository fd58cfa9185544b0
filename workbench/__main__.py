"""`python -m workbench VERB …`, which is how `torchrun` starts the command."""

import sys

from workbench.cli.main import main

sys.exit(main())
