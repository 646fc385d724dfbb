"""Dep-info: what rustc wrote is understood, and comes back for another place as rustc would have written it there."""

import subprocess
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kachelib import depinfo
from kachelib.entry import EnvDep
from kachelib.roots import Roots

HERE = Roots({"workspace": "/here/ws", "target": "/here/ws/target", "home": "/here"}, True, False)
THERE = Roots({"workspace": "/else where/w", "target": "/tmp/t", "home": "/h"}, True, False)
OUT = "/here/ws/target/debug/deps"

# No newline: rustc cannot write one either. A backslash before a blank is what its format cannot tell from an escape.
names = (
    st.text(
        st.characters(min_codepoint=33, exclude_categories=["Cs"], exclude_characters="<\n\r/"), min_size=1, max_size=8
    )
    .map(lambda name: name.replace("\\ ", "_").rstrip("\\") or "_")
    .filter(lambda name: not name.startswith("#") and name not in (".", ".."))
)
blanks = st.lists(names, min_size=1, max_size=3).map(" ".join).filter(lambda name: "\\ " not in name)
relative = st.lists(blanks, min_size=1, max_size=3).map("/".join).map(lambda name: "src/" + name)
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def escape(path: str) -> str:
    return path.replace(" ", "\\ ")


def escape_value(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def written(files: List[str], variables: Mapping[str, Optional[str]], out: str = OUT) -> bytes:
    """What rustc writes (``rustc_interface``, ``write_out_deps``)."""
    read = " ".join(escape(name) for name in files)
    text = "".join(f"{out}/{name}: {read}\n\n" for name in ("x-1.d", "libx-1.rlib"))
    text += "".join(f"{escape(name)}:\n" for name in files)
    if variables:
        text += "\n"
    for name, value in variables.items():
        text += "# env-dep:" + escape_value(name) + ("" if value is None else "=" + escape_value(value)) + "\n"
    return text.encode("utf-8", "surrogateescape")


@given(
    st.lists(relative, min_size=1, max_size=4, unique=True),
    st.dictionaries(st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), st.none() | values, max_size=3),
)
def test_files_and_variables_are_read(files: List[str], variables: Dict[str, Optional[str]]) -> None:
    found = depinfo.parse(written(files, variables))
    assert found.files == files
    assert found.variables == list(variables.items())


@given(st.binary(max_size=300))
def test_nothing_that_is_no_dep_info_raises(data: bytes) -> None:
    depinfo.parse(data)
    depinfo.template(data, HERE, OUT)


def test_each_file_is_named_once() -> None:
    found = depinfo.parse(b"a.d: x.rs y.rs x.rs\n\nliba.rlib: x.rs z.rs\n\nx.rs:\n")
    assert found.files == ["x.rs", "y.rs", "z.rs"]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("# env-dep:A=b", ("A", "b")),
        ("# env-dep:A", ("A", None)),
        ("# env-dep:A=", ("A", "")),
        ("# env-dep:A=b=c", ("A", "b=c")),
        ("# env-dep:A=one\\ntwo\\rthree", ("A", "one\ntwo\rthree")),
        ("# env-dep:A=back\\\\slash\\\\n", ("A", "back\\slash\\n")),
        ("# env-dep:A=trailing\\\\", ("A", "trailing\\")),
        ("# env-dep:A= blanks: kept ", ("A", " blanks: kept ")),
    ],
)
def test_variables_have_an_escaping_of_their_own(line: str, expected: Tuple[str, Optional[str]]) -> None:
    found = depinfo.parse(f"a.d: x.rs\n\nx.rs:\n\n{line}\n".encode())
    assert found.variables == [expected]
    assert found.files == ["x.rs"]


def moved(data: bytes, files: Mapping[str, str], variables: Mapping[str, Optional[str]]) -> bytes:
    """``data`` as template, and back for another place."""
    text = depinfo.template(data, HERE, OUT)
    assert text is not None
    deps = [EnvDep(name, "-" if value is None else "=", value or "") for name, value in variables.items()]
    return depinfo.expand(text, THERE, "/tmp/t/debug/deps", deps, {n: v for n, v in variables.items() if v is not None})


@given(st.lists(st.tuples(st.sampled_from(["", "ws", "target", "home", "outside"]), relative), min_size=1, max_size=4))
def test_a_template_is_the_file_of_another_place(found: List[Tuple[str, str]]) -> None:
    here = {"": "", "ws": "/here/ws/", "target": "/here/ws/target/", "home": "/here/", "outside": "/usr/"}
    there = {"": "", "ws": "/else where/w/", "target": "/tmp/t/", "home": "/h/", "outside": "/usr/"}
    before = [here[root] + name for root, name in found]
    assume(not any(name.startswith(("ws/", "target/")) for root, name in found))
    after = [there[root] + name for root, name in found]
    expected = written(after, {}, "/tmp/t/debug/deps")
    assert moved(written(before, {}), {}, {}) == expected


@pytest.mark.parametrize("name", ["src/:", "src/a:", "src/a: b", "src/a: b:", "src/: :"])
def test_a_name_that_ends_or_goes_on_with_a_colon(name: str) -> None:
    before = written(["/here/ws/src/lib.rs", "/here/ws/" + name], {})
    after = written(["/else where/w/src/lib.rs", "/else where/w/" + name], {}, "/tmp/t/debug/deps")
    assert moved(before, {}, {}) == after
    assert depinfo.parse(before).files == ["/here/ws/src/lib.rs", "/here/ws/" + name]


@given(st.lists(relative, min_size=1, max_size=3), st.dictionaries(st.sampled_from("ABC"), st.none() | values))
def test_in_the_same_place_it_is_the_same(files: List[str], variables: Dict[str, Optional[str]]) -> None:
    data = written(files, variables)
    text = depinfo.template(data, HERE, OUT)
    assert text is not None
    deps = [EnvDep(name, "=", value or "") for name, value in variables.items()]
    environ = {name: value for name, value in variables.items() if value is not None}
    assert depinfo.expand(text, HERE, OUT, deps, environ) == data


def test_variables_have_the_values_of_the_place() -> None:
    text = depinfo.template(written(["src/lib.rs"], {"A": "old", "B": None}), HERE, OUT)
    assert text is not None
    assert b"old" not in text
    deps = [EnvDep("A", "~", "<workspace>"), EnvDep("B", "-", "")]
    data = depinfo.expand(text, THERE, OUT, deps, {"A": "new\nline"})
    assert depinfo.parse(data).variables == [("A", "new\nline"), ("B", None)]


@pytest.mark.parametrize("name", ["<workspace>", "<target>", "<home>", "<out-dir>"])
def test_a_path_like_a_placeholder_has_no_template(name: str) -> None:
    assert depinfo.template(written([f"src/{name}/lib.rs"], {}), HERE, OUT) is None
    assert depinfo.template(written(["src/<other>.rs"], {}), HERE, OUT) is not None


@pytest.mark.parametrize("data", [b"", b"\n", b"/elsewhere/x.d: src/lib.rs\n", b"x-1.d: src/lib.rs\n"])
def test_outputs_elsewhere_have_no_template(data: bytes) -> None:
    """A file that is not about this output directory would come back with another's name."""
    text = depinfo.template(data, HERE, OUT)
    assert text is None or b".d" not in text


def test_a_root_that_begins_like_another_path() -> None:
    text = depinfo.template(written(["/here/ws2/lib.rs", "/here/ws/lib.rs"], {}), HERE, OUT)
    assert text is not None
    assert b"<home>/ws2/lib.rs <workspace>/lib.rs" in text


def test_declared_files_join_the_first_rule() -> None:
    """The only one that Cargo reads; the rest stays as it is."""
    data = written(["src/lib.rs"], {"A": "b"})
    found = depinfo.with_files(data, ["/here/ws/sp ace", "/here/ws/caf\udce9"])
    first, _, rest = found.partition(b"\n")
    assert first == f"{OUT}/x-1.d: src/lib.rs /here/ws/sp\\ ace /here/ws/caf".encode() + b"\xe9"
    assert rest == data.partition(b"\n")[2]
    assert depinfo.parse(found).files == ["src/lib.rs", "/here/ws/sp ace", "/here/ws/caf\udce9"]
    assert depinfo.with_files(data, []) == data


def test_rustc_itself_writes_it_so(tmp_path: Path, rust: Mapping[str, str]) -> None:
    """Names and values that need every escape, through the real compiler."""
    if not rust:
        pytest.skip("Rust is missing")
    out = tmp_path / "o ut"
    out.mkdir()
    names = ["sp ace", "two  blanks", "co:lon", "ha#sh", "back\\slash", "eq=ual", "ü"]
    source = "".join(f'#[path = "{name}.rs"] pub mod m{n};\n' for n, name in enumerate(names)).replace("\\", "\\\\")
    source += 'pub const V: &str = env!("VALUE"); pub const W: Option<&str> = option_env!("MISSING");\n'
    (tmp_path / "lib.rs").write_text(source)
    for name in names:
        (tmp_path / f"{name}.rs").write_text("")
    value = "back\\slash new\nline re\rturn = # : ü"
    command = [f"{rust['sysroot']}/bin/rustc", "--crate-name", "x", "--crate-type", "lib", "--emit=dep-info,metadata"]
    subprocess.run(
        [*command, "--out-dir", str(out), "lib.rs"], cwd=tmp_path, env={"VALUE": value, "PATH": "/usr/bin"}, check=True
    )
    data = (out / "x.d").read_bytes()
    found = depinfo.parse(data)
    assert sorted(found.files) == sorted(["lib.rs", *(f"{name}.rs" for name in names)])
    assert dict(found.variables) == {"VALUE": value, "MISSING": None}
    roots = Roots({"workspace": str(tmp_path)}, True, False)
    text = depinfo.template(data, roots, str(out))
    assert text is not None
    deps = [EnvDep(name, "=" if known else "-", known or "") for name, known in found.variables]
    assert depinfo.expand(text, roots, str(out), deps, {"VALUE": value}) == data
