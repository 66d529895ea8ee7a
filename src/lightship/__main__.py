"""``python -m lightship`` is the ``lightship`` command."""

import sys

from lightship.app import main

sys.exit(main())
