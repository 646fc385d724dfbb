"""``kache key``: pairs of keys to sign what goes to the remote.

Owns the command line. What a key is, signing.py says.
"""

import os
import sys
from typing import List

from kachelib import console, signing
from kachelib.outcome import UsageError


def run(argv: List[str]) -> int:
    """``kache key``; returns the exit code."""
    parser = console.Parser(
        "key",
        "Make a pair of keys: the secret one signs (cache.remote.signing_key), the public one is what others trust\n"
        "(cache.remote.trusted_keys). Both are NAME:BASE64, as Nix writes them.",
        "Exit codes: 0 done; 1 failed; 2 wrong use.",
    )
    parser.add_argument("action", choices=("generate", "public"), help="generate: a new pair; public: of a secret key")
    parser.add_argument("name", nargs="?", default="", help="the new key's name, such as ci.example.org-1")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the secret key there, for its owner alone")
    options = parser.parse_args(argv)
    if options.action == "public":
        print(signing.public_of(sys.stdin.read()))
        return 0
    if not options.name or not options.output:
        raise UsageError("key: say 'kache key generate NAME -o FILE'")
    secret, public = signing.generate(options.name)
    fd = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secret + "\n")
    print(public)
    return 0
