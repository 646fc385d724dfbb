"""The entry: what is kept under one action key, and its bytes on disk.

Owns the records Candidate, Input, EnvDep, Output and their format. Knows the
digest function and nothing else of kache: not where an entry lies, not what a
path's placeholder stands for.

Grammar (version 1; every number is ASCII decimal):

    file       = "kache-entry 1" LF checksum LF body
    checksum   = blake3 of the action key (64 hex digits) and body, 64 hex digits
    body       = count { SP length } LF { candidate } transcript
                 count lengths of candidates, the newest first, then the length of the transcript
    candidate  = list of fields, joined by NUL:
                 cache_key crate_name crate_types created compile_ms fingerprint layout
                 n { root value }                 bindings: the outputs contain this local root
                 n { name state value }           env-deps: state "=" exact, "~" with placeholders, "-" unset
                 n { kind path digest }           inputs: see Input
                 n { path }                       must exist for an executable to start
                 n { name emit digest size mode } outputs: mode "x" or "-"
                 form data form data              stdout, stderr: form "" none, "i" inline, "b" digest of a blob
    transcript = list of fields, joined by NUL: n { tag value }

No field may hold a NUL: paths and environment variables cannot, and a stream
that does is kept as a blob.
"""

from kachelib.key import Transcript, digest_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, List, Optional, Sequence, Tuple

MAGIC = b"kache-entry 1\n"
HEADER = len(MAGIC) + 65

# An action rarely has more than a few live variants; more than this is an
# edit history that nobody returns to.
MOST_CANDIDATES = 24

# Streams above this are blobs, so that an entry stays one cheap read.
INLINE_LIMIT = 32 * 1024

SOURCE = "s"
FILE = "f"
ABSENT = "a"
MISSING = "m"
PLACE = "p"
LINK = "l"
NAMES = "n"
ALONE = "u"
NOWHERE = "-"


class Input:
    """One file that a compile read.

    kind: SOURCE, a Rust source (``foo.rs`` and ``foo/mod.rs`` exclude each
    other); FILE, anything else; ABSENT, what was looked for and not there;
    MISSING, the same for several names in one directory; PLACE, a directory
    that was searched, whatever is in it, with a slash behind it; LINK, another
    name of a file that was read; ALONE, a FILE that is none of the other ALONE
    ones, though one may be equal; NAMES, a directory of whose entries the compiler
    chose. path: with placeholders. digest: 64 hex digits of the content, of NAMES
    of the names (or NOWHERE), "" of ABSENT, of MISSING the names, joined by slashes, of
    PLACE the first of those before it that is the same directory, "" for none,
    NOWHERE where none is, of LINK the path without links.
    """

    __slots__ = ("digest", "kind", "path")

    def __init__(self, kind: str, path: str, digest: str) -> None:
        self.kind = kind
        self.path = path
        self.digest = digest


class EnvDep:
    """One environment variable that a compile read.

    state: "=" value is exact, "~" value has placeholders, "-" it was not set.
    """

    __slots__ = ("name", "state", "value")

    def __init__(self, name: str, state: str, value: str) -> None:
        self.name = name
        self.state = state
        self.value = value


class Output:
    """One file that a compile wrote: its base name, emit kind ("link", "metadata", "dep-info"), blob and size."""

    __slots__ = ("digest", "emit", "executable", "name", "size")

    def __init__(self, name: str, emit: str, digest: str, size: int, executable: bool) -> None:
        self.name = name
        self.emit = emit
        self.digest = digest
        self.size = size
        self.executable = executable


class Stream:
    """What the compiler printed: inline bytes, or the digest of a blob, or nothing."""

    __slots__ = ("data", "digest")

    def __init__(self, data: bytes = b"", digest: str = "") -> None:
        self.data = data
        self.digest = digest


class Candidate:
    """One earlier run of an action.

    bindings: (root name, value) pairs that must hold here. needs: absolute
    paths that must exist here. created: seconds since the epoch. compile_ms:
    how long the compiler ran. fingerprint: of the package, "" where the unit
    carries none. layout: which --diagnostic-width its diagnostics suit, see
    replay.
    """

    __slots__ = (
        "bindings",
        "cache_key",
        "compile_ms",
        "crate_name",
        "crate_types",
        "created",
        "env_deps",
        "fingerprint",
        "inputs",
        "layout",
        "needs",
        "outputs",
        "stderr",
        "stdout",
    )

    def __init__(self) -> None:
        self.cache_key = ""
        self.crate_name = ""
        self.crate_types = ""
        self.created = 0
        self.compile_ms = 0
        self.fingerprint = ""
        self.layout = ""
        self.bindings: "List[Tuple[str, str]]" = []
        self.env_deps: "List[EnvDep]" = []
        self.inputs: "List[Input]" = []
        self.needs: "List[str]" = []
        self.outputs: "List[Output]" = []
        self.stdout = Stream()
        self.stderr = Stream()

    def compute_cache_key(self, action_key: str) -> str:
        """The cache key: the action and everything this run read. The order of reading does not count."""
        key = Transcript()
        key.add("action", action_key)
        key.add("fingerprint", self.fingerprint)
        key.add("layout", self.layout)
        for name, value in sorted(self.bindings):
            key.add("binding", name + "\0" + value)
        for dep in sorted(self.env_deps, key=lambda d: d.name):
            key.add("env", dep.name + "\0" + dep.state + "\0" + dep.value)
        for item in sorted(self.inputs, key=lambda i: i.path):
            key.add("input", item.kind + "\0" + item.path + "\0" + item.digest)
        return key.digest()

    def blobs(self) -> "List[str]":
        """The digests of every blob that this candidate names."""
        found = [output.digest for output in self.outputs]
        found += [stream.digest for stream in (self.stdout, self.stderr) if stream.digest]
        return found

    def size(self) -> int:
        """Bytes of all outputs."""
        return sum(output.size for output in self.outputs)


class Entry:
    """All candidates of one action, the newest first, decoded when asked for, and the action's transcript."""

    __slots__ = ("_frames", "_transcript")

    def __init__(self, frames: "List[bytes]", transcript: bytes) -> None:
        self._frames = frames
        self._transcript = transcript

    def __len__(self) -> int:
        return len(self._frames)

    def candidates(self) -> "Iterator[Candidate]":
        """Decode one candidate after the other, the newest first."""
        for frame in self._frames:
            yield _decode_candidate(frame)

    def transcript(self) -> "List[Tuple[str, str]]":
        """The fields of the action key, as (tag, value)."""
        fields = self._transcript.decode("utf-8", "surrogateescape").split("\0")
        return list(zip(fields[1::2], fields[2::2]))

    def with_candidate(self, candidate: Candidate, fields: "Sequence[Tuple[str, str]]") -> "Entry":
        """A new entry with ``candidate`` in front; an older run with the same cache key gives way."""
        key = candidate.cache_key.encode() + b"\0"
        frames = [_encode_candidate(candidate)]
        frames += [frame for frame in self._frames if not frame.startswith(key)]
        return Entry(frames[:MOST_CANDIDATES], _encode_transcript(fields))

    def keeping(self, wanted: "Callable[[Candidate], bool]") -> "Entry":
        """A new entry with the candidates for which ``wanted`` is true."""
        return Entry([f for f in self._frames if wanted(_decode_candidate(f))], self._transcript)

    def encode(self, action_key: str) -> bytes:
        """The bytes of the entry's file, which no other action will believe."""
        lengths = [len(frame) for frame in self._frames] + [len(self._transcript)]
        head = b" ".join([b"%d" % len(self._frames)] + [b"%d" % length for length in lengths])
        body = b"".join([head, b"\n", *self._frames, self._transcript])
        return MAGIC + _checksum(action_key, body) + b"\n" + body


def empty() -> Entry:
    """An entry without candidates."""
    return Entry([], b"")


def decode(data: bytes, action_key: str) -> "Optional[Entry]":
    """Read an entry's file; None for anything that is not exactly what ``encode`` wrote for this action."""
    if not data.startswith(MAGIC):
        return None
    body = data[HEADER:]
    if data[len(MAGIC) : HEADER] != _checksum(action_key, body) + b"\n":
        return None
    head, _, rest = body.partition(b"\n")
    lengths = [int(number) for number in head.split(b" ")[1:]]
    frames = []
    start = 0
    for length in lengths:
        frames.append(rest[start : start + length])
        start += length
    transcript = frames.pop()
    return Entry(frames, transcript)


def _checksum(action_key: str, body: bytes) -> bytes:
    return digest_bytes(action_key.encode() + body).encode()


def _encode_transcript(fields: "Sequence[Tuple[str, str]]") -> bytes:
    flat = [str(len(fields))]
    for tag, value in fields:
        flat += (tag, value.replace("\0", " "))
    return "\0".join(flat).encode("utf-8", "surrogateescape")


def _encode_candidate(c: Candidate) -> bytes:
    fields = [c.cache_key, c.crate_name, c.crate_types, str(c.created), str(c.compile_ms)]
    fields += (c.fingerprint, c.layout)
    fields.append(str(len(c.bindings)))
    for name, value in c.bindings:
        fields += (name, value)
    fields.append(str(len(c.env_deps)))
    for dep in c.env_deps:
        fields += (dep.name, dep.state, dep.value)
    fields.append(str(len(c.inputs)))
    for item in c.inputs:
        fields += (item.kind, item.path, item.digest)
    fields.append(str(len(c.needs)))
    fields += c.needs
    fields.append(str(len(c.outputs)))
    for output in c.outputs:
        fields += (output.name, output.emit, output.digest, str(output.size), "x" if output.executable else "-")
    data = "\0".join(fields).encode("utf-8", "surrogateescape")
    return b"\0".join((data, *_encode_stream(c.stdout), *_encode_stream(c.stderr)))


def _encode_stream(stream: Stream) -> "Tuple[bytes, bytes]":
    if stream.digest:
        return b"b", stream.digest.encode()
    return (b"i", stream.data) if stream.data else (b"", b"")


def _decode_candidate(frame: bytes) -> Candidate:
    # The streams come last and stay bytes; all before them is text.
    text, form_out, data_out, form_err, data_err = frame.rsplit(b"\0", 4)
    f = text.decode("utf-8", "surrogateescape").split("\0")
    c = Candidate()
    c.cache_key, c.crate_name, c.crate_types = f[0], f[1], f[2]
    c.created, c.compile_ms, c.fingerprint, c.layout = int(f[3]), int(f[4]), f[5], f[6]
    at = 7
    end = at + 1 + 2 * int(f[at])
    c.bindings = list(zip(f[at + 1 : end : 2], f[at + 2 : end : 2]))
    at, end = end, end + 1 + 3 * int(f[end])
    c.env_deps = [EnvDep(*row) for row in zip(f[at + 1 : end : 3], f[at + 2 : end : 3], f[at + 3 : end : 3])]
    at, end = end, end + 1 + 3 * int(f[end])
    c.inputs = [Input(*row) for row in zip(f[at + 1 : end : 3], f[at + 2 : end : 3], f[at + 3 : end : 3])]
    at, end = end, end + 1 + int(f[end])
    c.needs = f[at + 1 : end]
    at, end = end, end + 1 + 5 * int(f[end])
    for i in range(at + 1, end, 5):
        c.outputs.append(Output(f[i], f[i + 1], f[i + 2], int(f[i + 3]), f[i + 4] == "x"))
    c.stdout = _decode_stream(form_out, data_out)
    c.stderr = _decode_stream(form_err, data_err)
    return c


def _decode_stream(form: bytes, data: bytes) -> Stream:
    return Stream(digest=data.decode()) if form == b"b" else Stream(data=data)
