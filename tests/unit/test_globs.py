"""globs: what a pattern names, compared with a slow and simple reading of the same rules."""

import functools
import re
import time
from typing import Dict, List, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kachelib import globs
from kachelib.config import Settings


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("src/lib.rs", "src/lib.rs"),
        ("src/*.rs", "src/lib.rs"),
        ("src/*", "src/.hidden"),
        ("src/?ib.rs", "src/lib.rs"),
        ("src/[kl]ib.rs", "src/lib.rs"),
        ("src/[a-z]ib.rs", "src/lib.rs"),
        ("src/[!a-k]ib.rs", "src/lib.rs"),
        ("src/[^a-k]ib.rs", "src/lib.rs"),
        ("[]]", "]"),
        ("[!]]", "x"),
        ("[a-]", "-"),
        ("src/{lib,main}.rs", "src/main.rs"),
        ("{src,tests/{unit,e2e}}/*.rs", "tests/e2e/x.rs"),
        ("a{,b}", "a"),
        ("**", "a/b/c"),
        ("**/c", "c"),
        ("**/c", "a/b/c"),
        ("a/**", "a/b"),
        ("a/**", "a/b/c"),
        ("a/**/c", "a/c"),
        ("a/**/c", "a/x/y/c"),
        ("a/**/**/c", "a/c"),
        ("a/**/b/**/c", "a/1/b/2/3/c"),
        ("a**b", "axxb"),
        ("a\\*b", "a*b"),
        ("a\\\\b", "a\\b"),
        ("./a//b/.", "a/b"),
        ("a/../b", "b"),
        ("../b", "../b"),
        ("/a/*", "/a/b"),
        ("/", "/a"),
        (".", "a"),
        ("b\udc80*", "b\udc80x"),
        ("b?", "b\udcff"),
        # a directory as it is: everything below
        ("vendor/lib", "vendor/lib/src/x.c"),
        ("vendor/lib/", "vendor/lib/x.c"),
        ("**/lib", "a/lib/b/c"),
        ("vendor/*/", "vendor/lib/x.c"),
    ],
)
def test_matches(pattern: str, path: str) -> None:
    assert globs.matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("src/*.rs", "src/a/lib.rs"),
        ("src/*", "src/a/b"),
        ("src/?", "src/"),
        ("a?b", "a/b"),
        ("a[!x]b", "a/b"),
        ("src/[!l]ib.rs", "src/lib.rs"),
        ("src/{lib,main}.rs", "src/other.rs"),
        ("a/**", "a"),
        ("a/**", "ab/c"),
        ("**/c", "a/bc"),
        ("a/**/c", "a/b/cc"),
        ("lib", "vendor/lib"),
        ("vendor/lib", "vendor/library"),
        ("vendor/*/", "vendor/lib"),
        ("a\\*b", "axb"),
        ("/a", "a"),
        ("a", "/a"),
        ("A", "a"),
        ("", "/a"),
    ],
)
def test_matches_not(pattern: str, path: str) -> None:
    assert not globs.matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "empty"),
        ("a[b", r"\["),
        ("a[", r"\["),
        ("[!", r"\["),
        ("[]", r"\["),
        ("a{b", "{"),
        ("a}b", "}"),
        ("{a,{b}", "{"),
        ("a\\", r"\\"),
        ("a\\/b", r"\\"),
        ("[z-a]", "backwards"),
        ("a\0b", "NUL"),
        ("x" * 5000, "4096"),
        ("{a,b}" * 9, "256"),
    ],
)
def test_what_is_no_pattern(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        globs.check(pattern)


NAMES = st.text("ab.[", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
PARTS = st.one_of(
    st.just("**"),
    st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", "\\["]), min_size=1, max_size=5).map("".join),
)
PATTERNS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=5).map("/".join)


def reference(pattern: str, path: str) -> bool:
    """The rules by plain recursion, one name a step."""

    def name_regex(part: str) -> str:
        out, at = "", 0
        while at < len(part):
            if part[at] == "[":
                end = part.index("]", at + 2)
                out += "[" + part[at + 1 : end].replace("!", "^") + "]"
                at = end
            elif part[at] == "\\":
                at += 1
                out += re.escape(part[at])
            else:
                out += {"*": ".*", "?": "."}.get(part[at], re.escape(part[at]))
            at += 1
        return out

    @functools.lru_cache(None)
    def step(wanted: Tuple[str, ...], names: Tuple[str, ...]) -> bool:
        if not wanted:
            return not names
        if wanted[0] == "**":
            if len(wanted) == 1:
                return bool(names)
            return step(wanted[1:], names) or (bool(names) and step(wanted, names[1:]))
        if not names or not re.fullmatch(name_regex(wanted[0]), names[0], re.DOTALL):
            return False
        below_literal = len(wanted) == 1 and not re.search(r"[*?]|(?<!\\)\[", wanted[0])
        return below_literal or step(wanted[1:], names[1:])

    return step(tuple(pattern.split("/")), tuple(path.split("/")))


@given(PATTERNS, PATHS)
@example("**/a/**", "a/a")
@example("a/**/a/*b*", "a/a/a/ab")
def test_agrees_with_the_plain_reading(pattern: str, path: str) -> None:
    assert globs.matches(pattern, path) == reference(pattern, path)


@given(st.text("ab/{},", max_size=12), PATHS)
@example("{/,a{}}", "b")
@example("{a,/b}", "/b")
def test_braces_are_the_union_of_their_alternatives(pattern: str, path: str) -> None:
    def spread(text: str) -> List[str]:
        close = text.find("}")
        if close < 0:
            return [text]
        opening = text.rindex("{", 0, close)
        return [
            one
            for choice in text[opening + 1 : close].split(",")
            for one in spread(text[:opening] + choice + text[close + 1 :])
        ]

    try:
        globs.check(pattern)
    except ValueError:
        return
    plain = [one for one in spread(pattern) if "{" not in one]
    assert globs.matches(pattern, path) == any(globs.matches(one, path) for one in plain)


@given(st.text(), st.text())
def test_any_text_is_a_pattern_or_a_value_error(pattern: str, path: str) -> None:
    try:
        globs.matches(pattern, path)
        globs.leaves(pattern)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            globs.check(pattern)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_an_escaped_path_names_itself_and_nothing_else(text: str) -> None:
    path = globs.normalise("/" + text)
    if path == "/" or len(globs.escape(path)) > 4096:
        return
    assert globs.matches(globs.escape(path), path)
    assert not globs.matches(globs.escape(path), path + "x")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/" * 200 + "b", "a/" * 1000 + "a"),
        ("**/a/" * 200 + "b", "a/" * 1000 + "a"),
        ("*a" * 500 + "b", "a" * 2000),
        ("{" * 1000 + "a" + "}" * 1000, "a"),
    ],
    ids=["directories", "directories and names", "stars", "braces"],
)
def test_no_pattern_takes_for_ever(pattern: str, path: str) -> None:
    before = time.process_time()
    globs.matches(pattern, path)
    # milliseconds to a second where it is a product; centuries where it is a power
    assert time.process_time() - before < 20


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("~", "/h"),
        ("~/a", "/h/a"),
        ("~x/a", "~x/a"),
        ("a/~", "a/~"),
        ("$V/a", "v/a"),
        ("${V}x", "vx"),
        ("$V$V", "vv"),
        ("$Vx", "$Vx"),
        ("$NONE/a", "$NONE/a"),
        ("${NONE}/a", "${NONE}/a"),
        ("$EMPTY/a", "$EMPTY/a"),
        ("a$", "a$"),
        ("$/a", "$/a"),
        ("${}", "${}"),
        ("${V", "${V"),
        ("${V-x}", "${V-x}"),
        ("\\$V", "\\$V"),
        ("$CARGO_HOME/registry", "/h/.cargo/registry"),
        ("${CARGO_HOME}", "/h/.cargo"),
        ("$ODD/*", "\\[x\\]\\*/*"),
        ("plain", "plain"),
    ],
)
def test_expand(pattern: str, expanded: str) -> None:
    environ = {"HOME": "/h", "V": "v", "EMPTY": "", "ODD": "[x]*"}
    assert globs.expand(pattern, environ) == expanded


def test_expand_without_home() -> None:
    assert globs.expand("~/a", {}) == "~/a"
    assert globs.expand("$CARGO_HOME/a", {}) == "$CARGO_HOME/a"
    assert globs.expand("$CARGO_HOME/a", {"HOME": "/h", "CARGO_HOME": "/c"}) == "/c/a"
    assert globs.unset_variable("a/$B/${C}", {"B": "b"}) == "${C}"
    assert globs.unset_variable("~/$B", {"B": "b"}) == "~"


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/a/b", "/a/b"),
        ("/a//b/", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/..", "/"),
        ("//", "/"),
        ("/", "/"),
        ("", "."),
        ("a/..", "."),
        ("../a", "../a"),
        ("a/../../b", "../b"),
        ("/.a/..b", "/.a/..b"),
    ],
)
def test_normalise(path: str, plain: str) -> None:
    assert globs.normalise(path) == plain


def exclude(*patterns: str) -> Settings:
    settings = Settings()
    settings.exclude = patterns
    return settings


ENVIRON: Dict[str, str] = {"HOME": "/home/me", "P": "/pro[j]"}
REGISTRY = "/home/me/.cargo/registry/src/index.crates.io-6f17d22bba15001f"


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ("crates/problematic/**", "/ws/crates/problematic/src/lib.rs"),
        ("crates/problematic", "/ws/crates/problematic/src/lib.rs"),
        ("$CARGO_HOME/registry/src/**/some-crate-*/**", REGISTRY + "/some-crate-1.2.3/src/lib.rs"),
        ("~/x/*.rs", "/home/me/x/a.rs"),
        ("${P}/a.rs", "/pro[j]/a.rs"),
        ("src/lib.rs", "/ws/member/src/lib.rs"),
        ("../other/**", "/other/src/lib.rs"),
        ("**/build.rs", "/ws/a/build.rs"),
        ("/ws/*/src/**", "/ws/member/src/lib.rs"),
        ("unclosed[", "/anything.rs"),
    ],
)
def test_excluded(pattern: str, source: str) -> None:
    bases = ("/ws/member", "/ws", "")
    assert globs.excluded(exclude("no/such", pattern, "**/*"), source, bases, ENVIRON) == pattern


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ("crates/problematic/**", "/elsewhere/crates/problematic/src/lib.rs"),
        ("crates/problematic/**", "/ws/crates/problematic-too/src/lib.rs"),
        ("$CARGO_HOME/registry/src/**/some-crate-*/**", REGISTRY + "/other-crate-1.2.3/src/lib.rs"),
        ("$NONE/**", "/ws/src/lib.rs"),
        ("src/*.rs", "/ws/src/a/lib.rs"),
    ],
)
def test_excluded_not(pattern: str, source: str) -> None:
    assert globs.excluded(exclude(pattern), source, ("/ws/member", "/ws"), ENVIRON) == ""


def test_a_base_is_no_pattern() -> None:
    settings = exclude("src/*.rs")
    assert globs.excluded(settings, "/w[s]/src/a.rs", ("/w[s]",), {}) == "src/*.rs"
    assert globs.excluded(settings, "/ws/src/a.rs", ("/w[s]",), {}) == ""
    assert globs.excluded(settings, "/a{b/src/a.rs", ("/a{b",), {}) == "src/*.rs"


def test_nothing_is_excluded_without_patterns() -> None:
    assert globs.excluded(exclude(), "/ws/src/lib.rs", ("/ws",), {}) == ""


@pytest.mark.parametrize(
    ("pattern", "out"),
    [("a", False), ("a/../b", False), ("../a", True), ("..", True), ("/a", True), ("{a,..}/b", True), ("..a", False)],
)
def test_leaves(pattern: str, out: bool) -> None:
    assert globs.leaves(pattern) is out
