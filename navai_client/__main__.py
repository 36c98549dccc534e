"""``python -m navai_client``: the command ``navai``."""

import sys

from navai_client.cli.__main__ import main

sys.exit(main())
