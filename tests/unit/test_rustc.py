"""Command lines: what is understood is a plan, what is not is refused by name, a question is none of our business."""

import re
import subprocess
from pathlib import Path
from typing import List, Mapping, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import outcome, rustc
from kachelib.outcome import NotACompile, Refusal
from kachelib.rustc import Plan

LINE = "--crate-name x --edition=2021 src/lib.rs --crate-type lib --emit=dep-info,metadata,link --out-dir target/deps"


def parse(*words: str) -> Union[Plan, Refusal, NotACompile]:
    return rustc.parse(list(words))


def plan(*more: str, line: str = LINE) -> Plan:
    found = rustc.parse([*line.split(), *more])
    assert isinstance(found, Plan), getattr(found, "reason", found)
    return found


def refused(*more: str, line: str = LINE) -> str:
    found = rustc.parse([*line.split(), *more])
    assert isinstance(found, Refusal), found
    assert found.reason in outcome.REFUSALS
    return found.reason


def asks(*words: str) -> bool:
    return isinstance(rustc.parse(list(words)), NotACompile)


def test_a_line_of_cargos() -> None:
    line = (
        "--crate-name serde --edition=2021 /r/serde-1.0/src/lib.rs --error-format=json "
        "--json=diagnostic-rendered-ansi,artifacts,future-incompat --diagnostic-width=167 --crate-type lib "
        '--emit=dep-info,metadata,link -C embed-bitcode=no -C debuginfo=2 --cfg feature="default" '
        "--check-cfg cfg(docsrs) "
        "-C metadata=0123 -C extra-filename=-4567 --out-dir /t/debug/deps -L dependency=/t/debug/deps "
        "--extern serde_derive=/t/debug/deps/libserde_derive-1.so --extern priv,noprelude:core --cap-lints allow"
    )
    found = plan(line=line)
    assert found.crate_name == "serde"
    assert found.crate_types == ["lib"]
    assert found.emit == ["dep-info", "metadata", "link"]
    assert found.source == "/r/serde-1.0/src/lib.rs"
    assert found.out_dir == "/t/debug/deps"
    assert found.output_stem() == "serde-4567"
    assert found.depinfo_name() == "serde-4567.d"
    assert found.codegen == [
        ("embed-bitcode", "no"),
        ("debuginfo", "2"),
        ("metadata", "0123"),
        ("extra-filename", "-4567"),
    ]
    assert [(each.name, each.options, each.path) for each in found.externs] == [
        ("serde_derive", "", "/t/debug/deps/libserde_derive-1.so"),
        ("core", "priv,noprelude", ""),
    ]
    assert found.library_paths == [("dependency", "/t/debug/deps")]
    assert ("--cfg", 'feature="default"') in found.options
    assert ("--check-cfg", "cfg(docsrs)") in found.options
    assert ("--cap-lints", "allow") in found.options
    assert found.arguments == line.split()
    assert not found.linked
    assert not found.test


@pytest.mark.parametrize(
    "words",
    [
        ["-vV"], ["-V"], ["--version"], ["--print", "cfg"], ["--print=cfg"], ["-h"], ["--help"],
        ["--explain", "E0308"], ["--explain=E1"],
        ["-", "--crate-name", "___", "--print=file-names"], [*LINE.split(), "--print", "native-static-libs"],
        [*LINE.split(), "--print=cfg"], ["-", "--crate-name", "___"], [*LINE.split(), "-C"], ["--crate-name"],
    ],
)  # fmt: skip
def test_questions_are_not_compiles(words: List[str]) -> None:
    assert asks(*words)


def test_a_compile_without_anything_is_refused() -> None:
    assert isinstance(parse(), Refusal)


@pytest.mark.parametrize(
    "more, reason",
    [
        ("--emit=asm", "emit"),
        ("--emit=mir", "emit"),
        ("--emit=dep-info=/x.d", "emit_path"),
        ("-o out", "output_path"),
        ("-oout", "output_path"),
        ("--crate-type sorcery", "crate_type"),
        ("--sysroot /s", "sysroot"),
        ("second.rs", "several_sources"),
        ("-", "stdin"),
        ("-C save-temps", "save_temps"),
        ("-Csave-temps=yes", "save_temps"),
        ("-Z self-profile", "save_temps"),
        ("-Zself_profile=/p", "save_temps"),
        ("-Z unpretty=expanded", "save_temps"),
        ("-Zdump-mir=all", "save_temps"),
        ("-C split-debuginfo=packed --target x86_64-unknown-linux-gnu", "split_debuginfo"),
        ("-C split-debuginfo=unpacked --target x86_64-unknown-linux-gnu", "split_debuginfo"),
        ("--crate-type bin -C lto", "lto"),
        ("--crate-type bin -C lto=fat", "lto"),
        ("--crate-type bin -C lto=thin", "lto"),
        ("--crate-type staticlib --extern a=/liba.rlib", "staticlib"),
    ],
)
def test_what_is_not_modelled_is_refused(more: str, reason: str) -> None:
    assert refused(*more.split()) == reason


@pytest.mark.parametrize(
    "line, reason",
    [
        (LINE.replace("--crate-name x ", ""), "no_crate_name"),
        (LINE.replace(" --out-dir target/deps", ""), "no_out_dir"),
        (LINE.replace("src/lib.rs ", ""), "several_sources"),
        (LINE.replace("dep-info,metadata,link", "metadata,link"), "emit"),
        (LINE.replace("dep-info,metadata,link", "dep-info"), "emit"),
        (LINE.replace("--emit=dep-info,metadata,link ", ""), "emit"),
    ],
)
def test_what_is_missing_is_refused(line: str, reason: str) -> None:
    assert refused(line=line) == reason


def test_a_refusal_knows_the_crate() -> None:
    found = parse(*LINE.split(), "-o", "out")
    assert isinstance(found, Refusal)
    assert found.plan is not None
    assert found.plan.crate_name == "x"


@pytest.mark.parametrize(
    "more",
    ["-C split-debuginfo=off", "-C lto=fat", "-C lto=off", "--crate-type bin -C lto=off",
     "--crate-type bin -C lto=fat -C lto=no",
     "--crate-type bin -C lto=thin-local", "--crate-type staticlib", "--crate-type staticlib --extern proc_macro",
     "-C split-debuginfo=unpacked --target aarch64-apple-darwin", "-Z threads=8", "--crate-type=lib,cdylib"],
)  # fmt: skip
def test_what_is_harmless_is_not_refused(more: str) -> None:
    plan(*more.split())


def test_split_debuginfo_of_what_is_linked_on_apple_systems() -> None:
    assert (
        refused(*"--crate-type bin -C split-debuginfo=unpacked --target aarch64-apple-darwin".split())
        == "split_debuginfo"
    )


@pytest.mark.parametrize(
    "ways",
    [
        ("-C opt-level=3", "-Copt-level=3", "--codegen opt-level=3", "--codegen=opt-level=3", "-C opt_level=3", "-O"),
        ("-C debuginfo=2", "-Cdebuginfo=2", "-g"),
    ],
)
def test_the_ways_to_write_one_codegen_option(ways: Tuple[str, ...]) -> None:
    found = {tuple(plan(*way.split()).codegen) for way in ways}
    assert len(found) == 1


@pytest.mark.parametrize(
    "ways",
    [
        ("--cfg a", "--cfg=a"),
        ("-W unused", "-Wunused", "--warn unused", "--warn=unused"),
        ("-A unused", "-Aunused", "--allow=unused"),
        ("-D warnings", "-Dwarnings", "--deny=warnings"),
        ("-F unsafe_code", "-Funsafe_code", "--forbid unsafe_code"),
        ("-L native=/n", "-Lnative=/n"),
        ("-l static=a", "-lstatic=a"),
        ("--extern a=/a", "--extern=a=/a"),
        ("--target t", "--target=t"),
        ("--remap-path-prefix a=b", "--remap-path-prefix=a=b"),
    ],
)
def test_the_ways_to_write_one_option(ways: Tuple[str, ...]) -> None:
    found = set()
    for way in ways:
        each = plan(*way.split())
        externs = tuple((extern.name, extern.path) for extern in each.externs)
        found.add((tuple(each.options), externs, tuple(each.library_paths), tuple(each.native_libraries), each.target))
    assert len(found) == 1


def test_the_order_of_options_is_kept() -> None:
    """rustc lets the last one win."""
    found = plan("-W", "a", "-A", "a", "-C", "opt-level=1", "-O", "--cfg", "b", "-C", "opt-level=2")
    assert [each for each in found.options if each[0] in ("--warn", "--allow", "--cfg")] == [
        ("--warn", "a"), ("--allow", "a"), ("--cfg", "b"),
    ]  # fmt: skip
    assert [value for name, value in found.codegen] == ["1", "3", "2"]
    assert found.last_codegen("opt-level") == "2"
    assert found.last_codegen("lto") is None


def test_an_option_behind_a_flag_is_refused() -> None:
    assert refused("-gClto=fat") == "combined_options"


def test_an_unknown_option_is_kept_and_not_dropped() -> None:
    found = plan("--brand-new", "--brand-new=value", "-Qx")
    assert found.options[-3:] == [("--brand-new", ""), ("--brand-new", "value"), ("-Qx", "")]


@pytest.mark.parametrize(
    "value, expected",
    [("native=/n", ("native", "/n")), ("/plain", ("all", "/plain")), ("crate=/c", ("crate", "/c")),
     ("odd=/x", ("all", "odd=/x")),
     ("framework=/F", ("framework", "/F")), ("all=/a", ("all", "/a")), ("dependency=a=b", ("dependency", "a=b"))],
)  # fmt: skip
def test_library_paths(value: str, expected: Tuple[str, str]) -> None:
    assert plan("-L", value).library_paths == [expected]


@pytest.mark.parametrize(
    "value, expected",
    [("a=/liba.rlib", ("a", "", "/liba.rlib")), ("a", ("a", "", "")), ("priv:a=/x=y", ("a", "priv", "/x=y")),
     ("force,nounused:a=/c:d", ("a", "force,nounused", "/c:d"))],
)  # fmt: skip
def test_externs(value: str, expected: Tuple[str, str, str]) -> None:
    (found,) = plan("--extern", value).externs
    assert (found.name, found.options, found.path) == expected


@pytest.mark.parametrize(
    "more, linked",
    [("", False), ("--test", True), ("--crate-type bin", True), ("--crate-type proc-macro", True),
     ("--crate-type cdylib", True), ("--crate-type dylib", True), ("--crate-type rlib", False),
     ("--crate-type staticlib", False), ("--crate-type=rlib,cdylib", True)],
)  # fmt: skip
def test_what_is_linked(more: str, linked: bool) -> None:
    assert plan(*more.split()).linked is linked
    checked = LINE.replace("dep-info,metadata,link", "dep-info,metadata")
    assert plan(*more.split(), line=checked).linked is False


def test_without_a_crate_type_it_is_a_program() -> None:
    found = plan(line=LINE.replace("--crate-type lib ", ""))
    assert found.crate_types == ["bin"]
    assert found.linked


def test_incremental_is_noted() -> None:
    assert plan("-C", "incremental=/i").incremental == "/i"
    assert plan("-Cincremental=/i").incremental == "/i"


@pytest.mark.parametrize("given_as, expected", [("/o/", "/o"), ("/o//", "/o"), ("/", "/"), ("o", "o"), ("./o/", "./o")])
def test_the_output_directory_as_rustc_names_it(given_as: str, expected: str) -> None:
    assert plan("--out-dir", given_as).out_dir == expected


@pytest.mark.parametrize(
    "more, expected",
    [
        ("", {"x-1.d", "libx-1.rmeta", "libx-1.rlib"}),
        ("--crate-type=bin", {"x-1.d", "libx-1.rmeta", "libx-1.rlib", "x-1"}),
        ("--test", {"x-1.d", "libx-1.rmeta", "libx-1.rlib", "x-1"}),
        ("--crate-type=cdylib", {"x-1.d", "libx-1.rmeta", "libx-1.rlib", "libx-1.so", "libx-1.dylib"}),
        ("--crate-type=staticlib", {"x-1.d", "libx-1.rmeta", "libx-1.rlib", "libx-1.a"}),
    ],
)
def test_the_names_that_outputs_may_have(more: str, expected: "set[str]") -> None:
    assert set(plan("-C", "extra-filename=-1", *more.split()).output_names()) == expected


# Argument files


def test_an_argument_file_stands_for_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "arguments"
    for text in ("\n".join(LINE.split()), "\r\n".join(LINE.split()) + "\r\n", "\n\n".join(LINE.split()) + "\n\n"):
        path.write_bytes(text.encode())
        found = parse(f"@{path}", "--cfg", "a b")
        assert isinstance(found, Plan)
        assert found.arguments == [*LINE.split(), "--cfg", "a b"]


def test_a_line_is_one_argument_and_no_file_itself(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("--cfg\nno\n")
    outer.write_text(f'--cfg\nfeature="a b"\n--cfg\n@{inner}\n')
    found = parse(*LINE.split(), f"@{outer}")
    assert isinstance(found, Plan)
    assert found.options[-2:] == [("--cfg", 'feature="a b"'), ("--cfg", f"@{inner}")]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\n"])
def test_an_argument_file_that_cannot_be_read(tmp_path: Path, content: "bytes | None") -> None:
    path = tmp_path / "arguments"
    if content is not None:
        path.write_bytes(content)
    assert refused(f"@{path}") == "argument_file"


def test_a_shell_argument_file() -> None:
    assert refused("@shell:x") == "shell_argument_file"


# Anything


words = st.one_of(
    st.sampled_from(
        "-C -L -l -o -O -g -A -Z - --emit --emit=link --crate-name --crate-type --out-dir --extern --test --cfg "
        "--codegen x a.rs dep-info,metadata bin lib = -- --= -Cx -L= --extern= : @".split()
    ),
    st.text(max_size=5).filter(lambda word: not word.startswith("@")),
)


@given(st.lists(words, max_size=12))
def test_no_line_is_too_odd(line: List[str]) -> None:
    found = rustc.parse(line)
    if isinstance(found, Refusal):
        assert found.reason in outcome.REFUSALS
    elif isinstance(found, Plan):
        assert found.arguments == line
        assert found.crate_name
        assert found.out_dir
        assert found.source in line


@given(st.lists(words, max_size=8))
def test_every_word_of_a_plan_is_in_it(line: List[str]) -> None:
    """Nothing is dropped on the way: a plan's parts give all of the line back."""
    found = rustc.parse([*LINE.split(), *line])
    if not isinstance(found, Plan):
        return
    text = repr([found.options, found.codegen, found.library_paths, found.native_libraries, found.source])
    text += repr([("--extern", each.name, each.options, each.path) for each in found.externs])
    for word in line:
        if word.startswith("--codegen"):
            # the long spelling of -C
            continue
        for part in word.replace("_", "-").lstrip("-").replace("=", ":").split(":"):
            if len(part) > 1 and part.isalnum() and part[:1] not in "CLlAOgo":
                assert part in text.replace("_", "-"), (word, text)


def test_rustc_knows_no_option_with_a_value_that_is_not_known_here(rust: Mapping[str, str]) -> None:
    """Its value would be taken for the source."""
    if not rust:
        pytest.skip("Rust is missing")
    command = [f"{rust['sysroot']}/bin/rustc", "--help", "-v"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # "    -L [<KIND>=]<PATH>  ...", "    -A, --allow <LINT>  ...", "        --emit <TYPE>[=<FILE>]"
    found = re.findall(r"^ {4,8}(-\w)?(?:, )?(--[\w-]+)? [<\[]", told, re.M)
    names = {name for pair in found for name in pair if name}
    assert len(names) > 20
    assert names - rustc.WITH_VALUE - set(rustc.SHORT_WITH_VALUE) == set()
