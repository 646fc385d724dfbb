"""The closure of store paths: all that they refer to, and what that refers to in turn.

Owns the question, asked of Nix's own database or else of ``nix-store``. Changes nothing there. Knows nothing of salts.

The database is Nix's (src/libstore/schema.sql): ValidPaths(id, path, ...), Refs(referrer, reference).
"""

import os
import sqlite3
import subprocess
from typing import Dict, List, Sequence
from urllib.parse import quote

from kachelib.outcome import KacheError

_STATE = "/nix/var/nix"

_CLOSURE = """
WITH RECURSIVE closure(id) AS (
    SELECT id FROM ValidPaths WHERE path IN (%s)
    UNION SELECT reference FROM Refs JOIN closure ON referrer = closure.id
)
SELECT path FROM closure JOIN ValidPaths USING (id)
"""


def closure(paths: Sequence[str], environ: Dict[str, str]) -> List[str]:
    """The store paths of the closure of ``paths``, sorted. Raises KacheError where Nix does not know them all."""
    try:
        found = _from_database(paths, environ)
    except sqlite3.Error:
        # There is none, or it is another user's and its log is not there to be read.
        found = []
    if not set(paths) <= set(found):
        found = _from_command(paths)
    return sorted(found)


def _from_database(paths: Sequence[str], environ: Dict[str, str]) -> List[str]:
    file = environ.get("NIX_STATE_DIR", _STATE) + "/db/db.sqlite"
    connection = sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True)
    try:
        marks = ",".join("?" * len(paths))
        return [path for (path,) in connection.execute(_CLOSURE % marks, list(paths))]
    finally:
        connection.close()


def _from_command(paths: Sequence[str]) -> List[str]:
    command = ["nix-store", "--query", "--requisites", *paths]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        text = f"salt: Nix's database does not know {paths[0]}, nor is there a nix-store: {error.strerror}"
        raise KacheError(text) from None
    if done.returncode or not done.stdout.strip():
        said = os.fsdecode(done.stderr).strip().rpartition("\n")[2] or f"it ended with {done.returncode}"
        raise KacheError(f"salt: nix-store does not know the closure: {said}")
    return os.fsdecode(done.stdout).split()
