"""The completions of real shells: every command, every option that --help names, choices, files and crates."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Callable, Mapping, Sequence, Set

import pytest

from kachelib import cli
from kachelib.store import Store
from tests.stock import put
from tests.terminal.completing import on_path, options_of
from tests.world import Kache, World

# asks: what comes after these words, the last of which is begun
Ask = Callable[..., Set[str]]


@pytest.fixture
def script(world: World, kache_source: Kache) -> Callable[[str], Path]:
    """``script("bash")``: the script in a file."""

    def make(shell: str) -> Path:
        path = world.root / f"completions.{shell}"
        path.write_text(kache_source.run("completions", shell).ok().stdout)
        return path

    return make


@pytest.fixture
def bash(world: World, kache_source: Kache, script: Callable[[str], Path], require_tool: Callable[[str], str]) -> Ask:
    tool, path, env = require_tool("bash"), script("bash"), on_path(world, kache_source)

    def ask(*words: str) -> Set[str]:
        line = " ".join(shlex.quote(word) for word in ("kache", *words))
        program = f"""
            set -u
            source {shlex.quote(str(path))}
            COMP_WORDS=({line}); COMP_CWORD={len(words)}
            complete -p kache >/dev/null
            _kache
            ((${{#COMPREPLY[@]}})) && printf '%s\\n' "${{COMPREPLY[@]}}"
            exit 0
            """
        return lines_of([tool, "--norc", "-c", program], world, env)

    return ask


@pytest.fixture
def fish(world: World, kache_source: Kache, script: Callable[[str], Path], require_tool: Callable[[str], str]) -> Ask:
    tool, path, env = require_tool("fish"), script("fish"), on_path(world, kache_source)

    def ask(*words: str) -> Set[str]:
        line = " ".join(["kache", *words])
        found = lines_of([tool, "-N", "-c", f"source {path}; complete -C {shlex.quote(line)}"], world, env)
        return {each.partition("\t")[0] for each in found}

    return ask


def lines_of(command: Sequence[str], world: World, env: Mapping[str, str]) -> Set[str]:
    done = subprocess.run(command, cwd=world.root, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and not done.stderr, done
    return set(done.stdout.splitlines())


@pytest.fixture(params=["bash", "fish"])
def shell(request: pytest.FixtureRequest) -> Ask:
    """What a shell that can be asked offers."""
    found: Ask = request.getfixturevalue(request.param)
    return found


def test_every_command_is_offered(shell: Ask) -> None:
    assert set(cli.COMMANDS) | {"help"} <= shell("")
    assert shell("lis") == {"list"}
    assert set(cli.COMMANDS) <= shell("help", "")


def test_every_option_of_help_is_offered(shell: Ask, kache_source: Kache) -> None:
    for command in cli.COMMANDS:
        known = options_of(kache_source, command)
        assert {"-h", "--help"} <= known
        offered = shell(command, "-") | shell(command, "--")
        assert known <= offered, f"{command}: {known - offered}"


def test_choices_are_offered_where_they_belong(shell: Ask) -> None:
    assert shell("list", "--sort", "") == {"name", "size", "hits", "age"}
    assert shell("list", "--sort", "si") == {"size"}
    assert shell("completions", "") >= {"bash", "zsh", "fish", "elvish", "powershell"}
    assert shell("daemon", "dr") == {"drain"}
    assert "generate" in shell("key", "")


def test_bash_takes_an_equals_sign_apart(bash: Ask) -> None:
    assert bash("list", "--sort", "=", "si") == {"size"}
    assert bash("list", "--sort", "=") == {"name", "size", "hits", "age"}
    assert bash("key", "-o", "=", "file", "gen") == {"generate"}


def test_words_that_are_no_options_are_counted(bash: Ask) -> None:
    assert bash("key", "generate", "") == set(), "a new key's name is anybody's guess"
    assert bash("key", "--output", "somewhere", "") == {"generate", "public"}


def test_crates_of_the_store_are_offered(world: World, shell: Ask) -> None:
    for name in ("serde", "serde_json", "cc-zlib"):
        put(Store(str(world.cache_dir)), name)
    assert shell("list", "ser") == {"serde", "serde_json"}
    assert shell("why-miss", "cc") == {"cc-zlib"}
    assert shell("purge", "--crate-name", "") == {"serde", "serde_json", "cc-zlib"}


def test_files_and_directories_are_offered(world: World, shell: Ask) -> None:
    (world.root / "some dir").mkdir()
    (world.root / "some-file").write_text("")
    files = {name.rstrip("/").replace("\\ ", " ") for name in shell("key", "generate", "n", "-o", "some")}
    assert files == {"some dir", "some-file"}
    directories = {name.rstrip("/").replace("\\ ", " ") for name in shell("init", "--shims", "some")}
    assert directories == {"some dir"}


def test_a_store_that_is_not_there_offers_no_crate_and_says_nothing(shell: Ask) -> None:
    assert shell("purge", "--crate-name", "") == set()


def test_a_call_of_a_compiler_is_left_to_files(world: World, bash: Ask) -> None:
    (world.root / "main.c").write_text("")
    assert bash("gcc", "-c", "mai") == {"main.c"}


def test_no_shell_is_wrong_use(kache: Kache) -> None:
    run = kache.run("completions")
    assert run.returncode == 2 and "give one of bash, elvish, fish, powershell, zsh" in run.stderr
    assert kache.run("completions", "tcsh").returncode == 2


@pytest.mark.parametrize("name", ["bash", "zsh", "fish", "elvish", "powershell"])
def test_every_script_names_every_command_and_option(kache: Kache, kache_source: Kache, name: str) -> None:
    """For the shells that are not here to be asked."""
    text = kache.run("completions", name).ok().stdout
    words = set(re.findall(r"[-\w]+", text))
    for command in cli.COMMANDS:
        known = options_of(kache_source, command)
        if name == "fish":
            known = {re.sub("^--?", "", option) for option in known}
        assert known | {command} <= words, f"{command}: {known - words}"


def test_crates_come_quickly_and_as_they_are_called(world: World, kache_source: Kache) -> None:
    put(Store(str(world.cache_dir)), "beta")
    put(Store(str(world.cache_dir)), "alpha", change="1")
    put(Store(str(world.cache_dir)), "alpha", change="2")
    assert kache_source.run("completions", "--crates").ok().stdout.splitlines() == ["alpha", "beta"]


def test_the_hidden_option_is_hidden(kache_source: Kache) -> None:
    assert "--crates" not in kache_source.run("completions", "--help").ok().stdout




def test_brackets_and_quotes_of_the_powershell_script_are_closed(kache_source: Kache) -> None:
    """There is no PowerShell here to read it; most slips of a generator show in this."""
    text = kache_source.run("completions", "powershell").ok().stdout
    code = re.sub(r"#.*", "", re.sub(r"'(?:[^'\n]|'')*'", "''", text))
    assert '"' not in code.replace('"$wordToComplete*"', "") and code.count("'") % 2 == 0
    waiting = []
    for letter in code:
        if letter in "([{":
            waiting.append(letter)
        elif letter in ")]}":
            assert waiting and waiting.pop() + letter in ("()", "[]", "{}")
    assert not waiting
