"""``python -m clients.mic``."""

import sys

from clients.mic.program import main

sys.exit(main())
