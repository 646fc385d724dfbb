"""What Cargo writes about a unit: its fingerprint directory, and the binary ``dep-…`` file in it.

Owns these formats, as Cargo's sources have them from 0.85 to 1.9x (``core/compiler/fingerprint``). Knows nothing of
kache's own records. A form that is not known is FormatError, and the unit is left alone.

    .fingerprint/<package>-<hash>/
        lib-x                 the fingerprint: 16 hex digits, the bytes of a number in little-endian order
        lib-x.json            the same in words; names the fingerprints of what it depends on as decimal numbers
        dep-lib-x             which files and variables it watches; not for runs of build scripts
        output-lib-x          warnings to print again
        invoked.timestamp     when the compile began

Grammar of dep-… (version 1; numbers are little-endian):

    file     = 01 00 00 00 ff 01  u32 count { path }  u32 count { variable }
    path     = u8 base  u32 length  bytes  u8 has-checksum  [ u64 size  u32 length  bytes ]
    variable = u32 length  bytes  u8 is-set  [ u32 length  bytes ]
    base     = 0 the package's root, 1 the target's root or an absolute path
"""

from struct import error as StructError
from struct import pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

DIRECTORY = ".fingerprint"
STAMP = "invoked.timestamp"
DEP_PREFIX = "dep-"
OUTPUT_PREFIX = "output-"
JSON_ENDING = ".json"
RUN_PREFIX = "run-build-script-"
SCRIPT_PREFIX = "build-script-"
DOC_PREFIXES = ("doc-", "doctest-")

DEP_MAGIC = b"\x01\x00\x00\x00\xff\x01"


class FormatError(Exception):
    """Something that Cargo wrote is not in a form that is known."""


class Watched:
    """The content of a dep-… file. paths: (base, path, checksum as its raw bytes or b""); variables: (name, value or
    None)."""

    __slots__ = ("paths", "variables")

    def __init__(self) -> None:
        self.paths: "List[Tuple[int, bytes, bytes]]" = []
        self.variables: "List[Tuple[bytes, Optional[bytes]]]" = []

    def encode(self) -> bytes:
        """The file's bytes."""
        parts = [DEP_MAGIC, pack("<I", len(self.paths))]
        for base, path, checksum in self.paths:
            parts += (pack("<BI", base, len(path)), path, b"\x01" + checksum if checksum else b"\x00")
        parts.append(pack("<I", len(self.variables)))
        for name, value in self.variables:
            parts += (pack("<I", len(name)), name)
            parts.append(b"\x00" if value is None else pack("<BI", 1, len(value)) + value)
        return b"".join(parts)

    def with_paths(self, change: "Callable[[bytes], bytes]") -> "Watched":
        """The same with every path changed."""
        found = Watched()
        found.paths = [(base, change(path), checksum) for base, path, checksum in self.paths]
        found.variables = self.variables
        return found


def decode_dep(data: bytes) -> Watched:
    """Read a dep-… file. Raises FormatError."""
    found = Watched()
    if not data.startswith(DEP_MAGIC):
        raise FormatError("a dep file in an unknown form")
    at = len(DEP_MAGIC)

    def take(form: str, size: int) -> int:
        nonlocal at
        (value,) = unpack_from(form, data, at)
        at += size
        return int(value)

    def text() -> bytes:
        nonlocal at
        length = take("<I", 4)
        if at + length > len(data):
            raise FormatError("a dep file that ends too early")
        at += length
        return data[at - length : at]

    try:
        for _ in range(take("<I", 4)):
            base, path = take("<B", 1), text()
            checksum = b""
            if take("<B", 1):
                size = take("<Q", 8)
                checksum = pack("<Q", size)
                name = text()
                checksum += pack("<I", len(name)) + name
            found.paths.append((base, path, checksum))
        for _ in range(take("<I", 4)):
            name = text()
            found.variables.append((name, text() if take("<B", 1) else None))
    except StructError:
        raise FormatError("a dep file that ends too early") from None
    if at != len(data):
        raise FormatError("a dep file with something behind its end")
    return found


def unit_names(names: "List[str]") -> "List[str]":
    """Of the names in a fingerprint directory those that are fingerprints."""
    return [
        name
        for name in names
        if name != STAMP and not name.endswith(JSON_ENDING) and not name.startswith((DEP_PREFIX, OUTPUT_PREFIX, "."))
    ]


def is_hash(data: bytes) -> bool:
    """Whether a fingerprint is complete: Cargo empties the file while the unit is in work."""
    return len(data) == 16 and data.isalnum()


def hash_text(number: int) -> str:
    """A fingerprint as its file has it, from the number in JSON."""
    return pack("<Q", number).hex()


class Described:
    """What the JSON beside a fingerprint says. dependencies: fingerprints as in files; rustflags: words; rerun: whether
    a run names what it depends on; tracked: files of a run's ``rerun-if-changed``, as declared."""

    __slots__ = ("dependencies", "local", "rustflags")

    def __init__(self) -> None:
        self.dependencies: "List[str]" = []
        self.rustflags: "List[str]" = []
        self.local: "List[Dict[str, Any]]" = []

    def declared(self) -> "Optional[List[str]]":
        """The paths of ``rerun-if-changed``; None for a run that declares nothing at all."""
        if not self.local or any("Precalculated" in each for each in self.local):
            return None
        paths: "List[str]" = []
        for each in self.local:
            if "RerunIfChanged" in each:
                paths += [str(path) for path in each["RerunIfChanged"]["paths"]]
        return paths


def describe(data: bytes) -> Described:
    """Read the JSON of a fingerprint. Raises FormatError."""
    import json

    found = Described()
    try:
        document = json.loads(data.decode("utf-8", "surrogateescape"))
        found.dependencies = [hash_text(each[3]) for each in document["deps"]]
        found.rustflags = [str(word) for word in document["rustflags"]]
        found.local = [each for each in document["local"] if isinstance(each, dict)]
    except (ValueError, KeyError, TypeError, IndexError, StructError):
        raise FormatError("a fingerprint's JSON in an unknown form") from None
    return found
