"""The table of options against what the compilers here print of themselves: every option is a named row.

And each family that is in the key is there with its value: two values, two keys.
"""

import re
from typing import Callable, List

import pytest

from kachelib import cc, cc_options, outcome
from kachelib.cc import Plan
from kachelib.outcome import NotACompile, Refusal
from tests.cc.options import clang_options, example, gcc_options

# What the help texts print that is no option of a driver, but of a program behind it.
NO_OPTION = re.compile(r"^-(-?$|-param$|Wp,)")


def is_named(words: List[str]) -> bool:
    if words[0] in cc.PAIRS:
        return True
    found = cc.parse([*words, "-c", "a.c", "-o", "a.o"])
    if isinstance(found, (NotACompile, Plan)):
        return True
    assert found.reason in outcome.REFUSALS
    if found.reason == "several_sources":
        # an option without a value where the help text shows one
        return is_named(words[:1])
    return found.reason != "unsupported_flag"


@pytest.mark.parametrize("compiler", ["gcc", "g++", "arm-linux-gnueabihf-gcc"])
def test_every_option_of_gcc_is_a_named_row(compiler: str, require_tool: Callable[[str], str]) -> None:
    require_tool(compiler)
    options = {option for option in gcc_options(compiler) if not NO_OPTION.match(option)}
    assert len(options) > 1200
    unknown = sorted(option for option in options if not is_named(example(option)))
    assert not unknown


def test_every_option_of_clang_is_a_named_row(require_tool: Callable[[str], str]) -> None:
    require_tool("clang")
    options = {option for option in clang_options() if not NO_OPTION.match(option)}
    assert len(options) > 800
    unknown = sorted(option for option in options if not is_named(example(option)))
    assert not unknown


def test_what_no_table_names_is_refused_by_its_name() -> None:
    found = cc.parse("-c a.c -fno-such-thing -mneither -O7".split())
    assert isinstance(found, Refusal)
    assert (found.reason, found.detail) == ("unsupported_flag", "-fno-such-thing -mneither -O7")


@pytest.mark.parametrize("name", sorted(name for name in cc_options.KEYED.split() if name.endswith("=")))
def test_two_values_are_two_keys(name: str) -> None:
    one, two = (cc.parse(["-c", "a.c", name + value]) for value in ("1", "2"))
    assert isinstance(one, Plan) and isinstance(two, Plan)
    assert one.words != two.words


@pytest.mark.parametrize("name", sorted(cc_options.KEYED.split()))
def test_with_and_without_are_two_keys(name: str) -> None:
    word = name + "x" if name.endswith("=") else name
    value = ["1"] if f" {name} " in cc_options.SEPARATE else []
    plain, found = cc.parse(["-c", "a.c"]), cc.parse(["-c", "a.c", word, *value])
    assert isinstance(plain, Plan) and isinstance(found, Plan), name
    assert found.words != plain.words or found.colour


def test_no_option_stands_in_both_tables() -> None:
    keyed = set(cc_options.KEYED.split())
    for reason, names in cc_options.REFUSED:
        assert reason in outcome.REFUSALS
        assert not keyed & set(names.split()), reason
    for reason, _ in cc_options.REFUSED_PREFIXES:
        assert reason in outcome.REFUSALS


@pytest.mark.parametrize(("reason", "name"), [(r, n) for r, names in cc_options.REFUSED for n in names.split()])
def test_what_is_refused_is_refused_for_its_reason(reason: str, name: str) -> None:
    found = cc.parse(["-c", "a.c", name + ("x" if name.endswith("=") else "")])
    if isinstance(found, NotACompile):
        assert name in cc.QUESTIONS or name.startswith(cc.QUESTIONS_LIKE)
        return
    assert isinstance(found, Refusal)
    assert found.reason == reason


@pytest.mark.parametrize("word", ["-march=native", "-mcpu=native", "-mtune=native", "-mcpu=native+nolse"])
def test_native_is_this_machine_alone(word: str) -> None:
    found = cc.parse(["-c", "a.c", word])
    assert isinstance(found, Plan) and found.native
    other = cc.parse(["-c", "a.c", word.replace("native", "generic")])
    assert isinstance(other, Plan) and not other.native


def test_nobody_opts_in_what_is_structural() -> None:
    for word in ("-fprofile-arcs", "--coverage", "-fmodules", "-include-pch", "-fplugin=x", "-gsplit-dwarf"):
        found = cc.parse(["-c", "a.c", word], (word,))
        assert isinstance(found, Refusal) and found.reason != "unsupported_flag", word
    for line in ("a.c -o a", "-c a.c b.c", "-c -", "-c a.c -arch x86_64 -arch arm64"):
        assert isinstance(cc.parse(line.split(), tuple(line.split())), Refusal)


def test_an_assemblers_option_can_be_opted_in() -> None:
    word = "-Wa,-mtune=generic64"
    refused = cc.parse(["-c", "a.c", word])
    assert isinstance(refused, Refusal) and refused.reason == "assembler"
    found = cc.parse(["-c", "a.c", word], (word,))
    assert isinstance(found, Plan) and found.user_allowed == [word]


def test_an_opted_in_flag_is_in_the_key_word_for_word() -> None:
    allowed = ("-fnew-thing=1", "-Xclang", "-new")
    plain = cc.parse(["-c", "a.c"], allowed)
    found = cc.parse(["-c", "a.c", "-fnew-thing=1", "-Xclang", "-new"], allowed)
    assert isinstance(plain, Plan) and isinstance(found, Plan)
    assert found.user_allowed == list(allowed) and not plain.user_allowed
    other = cc.parse(["-c", "a.c", "-fnew-thing=2"], allowed)
    assert isinstance(other, Refusal) and other.detail == "-fnew-thing=2", "no prefixes, no wildcards"
    assert isinstance(cc.parse(["-c", "a.c", "-fnew-thing=1"]), Refusal)
