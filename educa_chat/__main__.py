"""`python -m educa_chat` is `educa-chat`."""

import sys

from educa_chat.cli import main

sys.exit(main())
