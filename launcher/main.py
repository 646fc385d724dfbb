"""``python3 kache``: become what the shell script would have started. Must be readable by every Python from 2.7 on."""

# ruff: noqa: RUF005, UP036

import os
import sys

STUB = ""  # the builder puts stub.py here

if sys.version_info < (3, 9):
    version = ".".join(str(number) for number in sys.version_info[:3])
    sys.exit("kache: needs Python 3.9 or newer, this is %s (%s)" % (version, sys.executable))
value = os.environ.get("LC_CTYPE")
word = "" if value is None else "=" + value
os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "utf8", "-c", STUB, sys.argv[0], word] + sys.argv[1:])
