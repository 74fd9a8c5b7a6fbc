"""`python -m galaxymorph` is the same as `galaxymorph`."""

import sys

from galaxymorph.cli import main

sys.exit(main())
