"""`python -m legacy_monolith …`"""

import sys

from legacy_monolith.cli import main

sys.exit(main())
