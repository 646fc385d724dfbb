"""What Cargo writes about a unit: read, and written again, byte for byte; every other form is refused."""

from typing import List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import fingerprint
from kachelib.fingerprint import FormatError, Watched

paths = st.tuples(st.integers(0, 1), st.binary(max_size=20), st.just(b""))
variables = st.tuples(st.binary(max_size=10), st.one_of(st.none(), st.binary(max_size=10)))


@given(st.lists(paths, max_size=5), st.lists(variables, max_size=5))
def test_a_dep_file_comes_back_as_it_was(
    rows: List[Tuple[int, bytes, bytes]], names: List[Tuple[bytes, Optional[bytes]]]
) -> None:
    watched = Watched()
    watched.paths, watched.variables = rows, names
    data = watched.encode()
    found = fingerprint.decode_dep(data)
    assert (found.paths, found.variables) == (rows, names)
    assert found.encode() == data


def test_a_checksum_is_kept() -> None:
    data = fingerprint.DEP_MAGIC + b"\x01\0\0\0" + b"\0\x01\0\0\0x" + b"\x01" + b"\x05\0\0\0\0\0\0\0" + b"\x02\0\0\0ab"
    data += b"\0\0\0\0"
    found = fingerprint.decode_dep(data)
    assert found.paths[0][1] == b"x"
    assert found.encode() == data


def test_what_is_cut_or_longer_is_refused() -> None:
    watched = Watched()
    watched.paths = [(0, b"src/lib.rs", b""), (1, b"/ws/x", b"")]
    watched.variables = [(b"A", b"1"), (b"B", None)]
    data = watched.encode()
    for length in range(len(data)):
        with pytest.raises(FormatError):
            fingerprint.decode_dep(data[:length])
    with pytest.raises(FormatError):
        fingerprint.decode_dep(data + b"\0")
    with pytest.raises(FormatError):
        fingerprint.decode_dep(b"\x00" + data[1:])


def test_a_number_in_json_is_the_hash_in_the_file() -> None:
    # seen in a target of Cargo 1.95
    assert fingerprint.hash_text(10666470532987695344) == "f030e7b56fea0694"


def test_json_is_understood() -> None:
    text = b'{"rustc":1,"deps":[[5,"a",false,10666470532987695344]],"rustflags":["-g"],'
    found = fingerprint.describe(text + b'"local":[{"RerunIfChanged":{"output":"o","paths":["b"]}}]}')
    assert found.dependencies == ["f030e7b56fea0694"]
    assert found.declared() == ["b"]
    assert found.rustflags == ["-g"]
    undeclared = fingerprint.describe(b'{"deps":[],"local":[{"Precalculated":"1.0"}],"rustflags":[]}')
    assert undeclared.declared() is None
    for broken in (b"", b"{}", b"[]", b'{"deps":[[1]],"local":[],"rustflags":[]}'):
        with pytest.raises(FormatError):
            fingerprint.describe(broken)


def test_which_files_are_fingerprints() -> None:
    names = ["lib-x", "lib-x.json", "dep-lib-x", "output-lib-x", "invoked.timestamp"]
    assert fingerprint.unit_names(names) == ["lib-x"]
    assert fingerprint.is_hash(b"f030e7b56fea0694")
    assert not fingerprint.is_hash(b"")
    assert not fingerprint.is_hash(b"f030e7b56fea069\n")
