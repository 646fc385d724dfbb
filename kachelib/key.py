"""Keys: tagged, length-framed blake3 over named fields.

Owns how fields become a digest. Knows nothing of what the fields mean.

Grammar of what is hashed (version SCHEMA):

    key    = { field }
    field  = length(tag) tag length(value) value
    length = ASCII decimal, then ":"

A tag and a length frame every value, so no two lists of fields that differ
have the same bytes. The same fields, unhashed, are the transcript that
``why-miss`` compares.
"""

from blake3 import blake3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple

# Raise whenever the recipe of a key or the bytes that are stored change.
SCHEMA = "kache-rust-1"


def digest_bytes(data: bytes) -> str:
    """The store's name of ``data``: 64 lower-case hex digits."""
    return blake3(data).hexdigest()  # type: ignore[no-any-return,unused-ignore]


class Transcript:
    """Named fields in the order they were added; their digest is the key."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: "List[Tuple[str, str]]" = []

    def add(self, tag: str, value: str) -> None:
        """Append one field. ``value`` may hold surrogate escapes (bytes that are not UTF-8)."""
        self.fields.append((tag, value))

    def digest(self) -> str:
        """The key: 64 lower-case hex digits."""
        parts = []
        for tag, value in self.fields:
            name = tag.encode("utf-8", "surrogateescape")
            data = value.encode("utf-8", "surrogateescape")
            parts.append(b"%d:%b%d:%b" % (len(name), name, len(data), data))
        return digest_bytes(b"".join(parts))
