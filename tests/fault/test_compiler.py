"""Compilers that fail, die, print without end or in odd ways, write too little, or are not there."""

import signal
import subprocess
from pathlib import Path
from typing import List

import pytest

from tests.fault.compilers import odd
from tests.fault.crate import Crate
from tests.world import World

MEGABYTE = 1 << 20

# what the shell script's real compiler says, kept away so that only the flood is compared
PYTHON = "$KACHE_PYTHON -I -S -c"


def test_an_error_in_the_source(crate: Crate) -> None:
    crate.write('pub fn answer() -> u32 { "many" }\nfn unused() {}\n')
    for _ in range(2):
        found = crate.check(crate.compile())
        assert found.returncode == 1
        assert found.compiled
    crate.write("pub fn answer() -> u32 { 42 }\n")
    crate.check_next()


def test_a_failed_compile_leaves_no_entry(crate: Crate) -> None:
    crate.write('compile_error!("no");')
    assert crate.check(crate.compile()).returncode == 1
    assert crate.store_files("entries", "store") == []


@pytest.mark.parametrize("status", [1, 2, 101, 255])
def test_exit_status_after_all_outputs_were_written(crate: Crate, status: int) -> None:
    odd(crate, after=f"status={status}")
    for _ in range(2):
        found = crate.compile()
        assert found.returncode == status
        assert found.compiled
    assert crate.store_files("entries") == []


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT", "SIGTERM", "SIGINT", "SIGPIPE", "SIGXFSZ", "SIGHUP"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_compiler_that_a_signal_ends(crate: Crate, name: str, when: str) -> None:
    """The caller sees the same signal, as if the compiler had been its own child."""
    number = getattr(signal, name)
    kill = f"kill -{number.value} $$"
    odd(crate, before=kill if when == "before" else "", after=kill if when == "after" else "")
    for _ in range(2):
        found = crate.compile()
        assert found.returncode == -number, found
    assert crate.store_files("entries") == []


def test_a_death_by_signal_dumps_the_core_once(crate: Crate, world: World) -> None:
    """The wrapper ends by the same signal; a core file of its own would hide the compiler's."""
    import resource

    odd(crate, before="kill -SEGV $$")
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("core files are switched off")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        assert crate.compile().returncode == -signal.SIGSEGV
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    cores = [path for path in crate.directory.iterdir() if path.name.startswith("core")]
    assert len(cores) <= 1


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("what", ["lines", "one line", "binary"])
def test_fifty_megabytes(crate: Crate, stream: int, what: str) -> None:
    """All of it arrives, in order; so it does from the cache, or the compiler runs again."""
    if what == "lines":
        script = "import posix\nfor n in range(50): posix.write(%d, (b'%%03d ' %% n + b'y' * 1019 + b'\\n') * 1024)"
        expected = b"".join((b"%03d " % n + b"y" * 1019 + b"\n") * 1024 for n in range(50))
    elif what == "one line":
        script = "import sys\nfile = open(%d, 'wb')\nfor n in range(50): file.write(b'z' * (1 << 20))"
        expected = b"z" * (50 * MEGABYTE)
    else:
        script = "import sys\nfile = open(%d, 'wb')\nfor n in range(50): file.write(bytes(range(256)) * 4096)"
        expected = bytes(range(256)) * 4096 * 50
    path = crate.world.root / "flood.py"
    path.write_text(script.replace("posix.write(%d, ", "open(%d, 'wb', closefd=False).write(") % stream)
    odd(crate, before=f"$KACHE_PYTHON -I -S '{path}'")
    for _ in range(2):
        found = crate.compile()
        assert found.returncode == 0
        flood, other = (found.stdout, found.stderr) if stream == 1 else (found.stderr, found.stdout)
        assert flood[: len(expected)] == expected
        assert len(flood) - len(expected) + len(other) == len(own_words(crate))
        assert found.files in [each.files for each in crate.good()]


def own_words(crate: Crate) -> bytes:
    """What the compiler itself says about the crate."""
    fake, crate.compiler = crate.compiler, real_compiler(crate)
    try:
        return crate.good()[0].stderr
    finally:
        crate.compiler = fake


def real_compiler(crate: Crate) -> Path:
    """The compiler behind an odd one."""
    text = crate.compiler.read_text()
    return Path(text.partition("real='")[2].partition("'")[0])


@pytest.mark.parametrize(
    "octets",
    [
        r"\377\376\n",
        r"no newline at the end",
        r"\000nul\000\n",
        r"\n\n\n",
        r"{\n",
        r"{\042artifact\042:\042\n",
        r"<out-dir>\n",
        r"<workspace>/x\n",
        r"\r\n\r",
        r"LC_ALL=\042C\042 \042cc\042 \042x\042\n",
        r"\042a\042 \042b\042\n",
        r"\033[1m\n",
    ],
)
@pytest.mark.parametrize("stream", [1, 2])
def test_odd_words_are_said_again_as_they_were(crate: Crate, octets: str, stream: int) -> None:
    odd(crate, before=f"printf '{octets}' >&{stream}")
    first = crate.check(crate.compile())
    again = crate.check(crate.compile())
    assert first.files == again.files


def test_words_after_the_outputs(crate: Crate) -> None:
    odd(crate, after="sleep 0.05; echo late >&2; echo later")
    crate.check(crate.compile())
    crate.check(crate.compile())


@pytest.mark.parametrize("name", ["libx-1.rlib", "libx-1.rmeta", "x-1.d"])
@pytest.mark.parametrize("what", ["missing", "directory", "link", "empty", "fifo"])
def test_outputs_that_are_not_as_they_should_be(crate: Crate, world: World, name: str, what: str) -> None:
    """The status says success: the compile counts as that, is not stored, and every next one runs the compiler."""
    after = f'rm "$out/{name}"'
    if what == "directory":
        after += f'; mkdir "$out/{name}"'
    elif what == "link":
        after += f"; echo elsewhere >'{world.root}/elsewhere'; ln -s '{world.root}/elsewhere' \"$out/{name}\""
    elif what == "fifo":
        after += f'; mkfifo "$out/{name}"'
    elif what == "empty":
        after += f'; : >"$out/{name}"'
    odd(crate, after=after)
    for _ in range(2):
        for path in list(crate.out.iterdir()):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        process = crate.start()
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        assert (stdout, stderr) == (b"", own_words_elsewhere(crate))
        path = crate.out / name
        if what == "empty":
            assert path.read_bytes() == b""
        elif what == "missing":
            assert not path.exists()
    if what != "empty":
        assert crate.store_files("entries") == []
    for path in list(crate.out.iterdir()):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("content", ["", "\n", "# env-dep:X=y\n", "x: \n", "x: README.md\n"])
def test_a_dep_info_that_names_no_source(crate: Crate, content: str) -> None:
    """Nothing then says what was read, so nothing could tell an edit."""
    text = crate.world.root / "dep-info"
    text.write_text(content)
    (crate.directory / "README.md").write_text("")
    odd(crate, after=f"cat '{text}' >\"$out/x-1.d\"")
    assert crate.compile().returncode == 0
    crate.write("pub fn answer() -> u32 { 43 }\n")
    found = crate.compile()
    assert found.compiled
    assert found.files["libx-1.rlib"] in [each.files["libx-1.rlib"] for each in crate.good()]


def own_words_elsewhere(crate: Crate) -> bytes:
    """The same, without touching what lies in the output directory."""
    (crate.world.root / "spare").mkdir(exist_ok=True)
    done = subprocess.run(
        [str(real_compiler(crate)), *crate.command()[1:-2], "--out-dir", str(crate.world.root / "spare")],
        cwd=crate.directory,
        env=crate.environment(),
        capture_output=True,
        check=True,
    )
    return done.stderr.replace(str(crate.world.root / "spare").encode(), str(crate.out).encode())


def test_a_compiler_that_does_nothing(crate: Crate) -> None:
    path = odd(crate, before="exit 0")
    for _ in range(2):
        found = crate.compile()
        assert (found.returncode, found.stdout, found.stderr, found.files) == (0, b"", b"", {})
    assert crate.store_files("entries") == []
    path.unlink()


@pytest.mark.parametrize("what", ["missing", "not executable", "directory", "not a program", "missing interpreter"])
def test_no_compiler(crate: Crate, world: World, what: str) -> None:
    """As a shell: 127 where there is none, 126 where it cannot be run; one line that says so, and no traceback."""
    path = world.root / "no" / "rustc"
    path.parent.mkdir()
    if what == "directory":
        path.mkdir()
    elif what == "not a program":
        path.write_bytes(b"\x7fELFnothing")
        path.chmod(0o755)
    elif what == "missing interpreter":
        path.write_text("#!/nowhere/at/all\n")
        path.chmod(0o755)
    elif what == "not executable":
        path.write_text("#!/bin/sh\n")
    crate.compiler = path
    found = crate.compile()
    assert found.returncode in (126, 127), found
    assert b"Traceback" not in found.stderr
    assert found.stderr.count(b"\n") == 1
    assert str(path).encode() in found.stderr
    assert crate.store_files("entries") == []


def test_a_compiler_that_answers_no_question(crate: Crate, world: World) -> None:
    """It cannot be identified, so nothing is cached; it compiles all the same."""
    path = world.root / "mute" / "rustc"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\ncase $* in *-vV*|*--print*) exit 3;; esac\nexec '{crate.compiler}' \"$@\"\n")
    path.chmod(0o755)
    crate.compiler = path
    for _ in range(2):
        found = crate.check(crate.compile())
        assert found.result in ("", "passthrough")


def test_a_compiler_that_changes_between_two_calls(crate: Crate) -> None:
    """A script is another compiler when it delegates to another, and its own metadata do not tell."""
    switch = crate.world.root / "switch"
    odd(crate)
    text = crate.compiler.read_text()
    crate.compiler.write_text(
        text.replace("-vV|", "").replace(
            "done\n",
            f'done\ncase $* in *-vV*) "$real" -vV | sed "s/^release: .*/release: $(cat \'{switch}\')/"; exit;; esac\n',
            1,
        )
    )
    for version in ("1.1.1", "2.2.2", "1.1.1"):
        switch.write_text(version)
        crate.compile()
    results = [event["result"] for event in crate.events()]
    assert results in (["miss", "dup", "local_hit"], ["miss", "miss", "local_hit"]), results


def test_a_child_that_outlives_the_compiler(crate: Crate) -> None:
    """Something the compiler started keeps standard output open; the wrapper ends with the compiler."""
    odd(crate, before="sleep 20 >/dev/null 2>&1 </dev/null &")
    crate.check_next()


def test_output_arrives_while_the_compiler_still_runs(crate: Crate, world: World) -> None:
    """Cargo starts dependants when the metadata is announced: the line has to come before the compile ends."""
    from tests.fault.compilers import Gate

    gate = Gate(world.root)
    odd(crate, after=gate.shell())
    process = crate.start()
    assert process.stderr is not None
    lines: List[bytes] = []
    while not lines or b'"emit":"metadata"' not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    gate.wait()
    assert process.poll() is None
    gate.open()
    assert process.wait(timeout=60) == 0
    crate.check_hit()
