"""Odd surroundings of a call: descriptors, limits, umask, environment, signals, long and undecodable arguments.

Measured against the compiler alone in the same surroundings: where that passes, kache passes.
"""

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from tests.fault.compilers import odd
from tests.fault.crate import Compiled, Crate
from tests.world import World


def both(crate: Crate, **popen: Any) -> Tuple[Compiled, List[Compiled]]:
    """The compiler alone, then kache cold, and warm, in the same surroundings."""
    options: Dict[str, Any] = {"cwd": crate.directory, "env": crate.environment(), "stdin": subprocess.DEVNULL}
    options = {**options, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    crate.clean()
    plain = crate.finish(subprocess.Popen(crate.command(), **options))
    found = []
    for _ in range(2):
        crate.clean()
        found.append(crate.finish(subprocess.Popen([str(crate.kache), *crate.command()], **options)))
    return plain, found


def after_all(crate: Crate) -> None:
    """In ordinary surroundings all is well: nothing wrong was kept."""
    crate.check(crate.compile())
    crate.check_hit()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_closed_standard_streams(crate: Crate, closed: Tuple[int, ...]) -> None:
    def close() -> None:
        for fd in closed:
            os.close(fd)

    streams = {1: "stdout", 2: "stderr"}
    options = {streams[fd]: None for fd in closed if fd}
    plain, found = both(crate, preexec_fn=close, **options)
    for each in found:
        assert each.returncode == plain.returncode == 0, each
        assert sorted(each.files) == sorted(plain.files)
        assert each.stderr == plain.stderr
        assert each.stdout == plain.stdout
    assert found[0].files["libx-1.rlib"] == found[1].files["libx-1.rlib"]
    after_all(crate)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("how", ["gone", "full", "read only"])
def test_nobody_can_be_told(crate: Crate, stream: str, how: str) -> None:
    """The reader is gone, or the disk behind the stream is full: outputs are made; it may end by saying so."""
    odd(crate, before="echo word; echo word >&2")
    for _ in range(2):
        if how == "gone":
            reader, writer = os.pipe()
            os.close(reader)
        elif how == "full":
            writer = os.open("/dev/full", os.O_WRONLY)
        else:
            writer = os.open("/dev/null", os.O_RDONLY)
        crate.clean()
        options: Any = {stream: writer}
        process = crate.start(**options)
        os.close(writer)
        process.communicate(timeout=60)
        if stream == "stdout" or process.returncode == 0:
            assert process.returncode == 0
            assert crate.files()["libx-1.rlib"] in [each.files["libx-1.rlib"] for each in crate.good()]
    after_all(crate)


def test_the_reader_goes_away_in_the_middle(crate: Crate, world: World) -> None:
    odd(crate, before="echo first >&2; sleep 0.1; yes 2>/dev/null | head -c 300000 >&2")
    for _ in range(2):
        crate.clean()
        process = crate.start()
        assert process.stderr is not None
        process.stderr.read(1)
        process.stderr.close()
        process.stderr = None
        process.wait(timeout=60)
    after_all(crate)


def test_other_descriptors_reach_the_compiler(crate: Crate, world: World) -> None:
    """The jobserver's pipe is one of them."""
    odd(crate, before="echo passed >&9")
    heard = world.root / "heard"
    found = crate.compile(prefix=["sh", "-c", 'exec 9>"$0" && exec "$@"', str(heard)])
    assert found.returncode == 0
    assert heard.read_text() == "passed\n"


def test_standard_input_reaches_the_compiler(crate: Crate) -> None:
    odd(crate, before="cat >&2")
    process = crate.start(stdin=subprocess.PIPE)
    _, stderr = process.communicate(b"from the caller\n", timeout=60)
    assert stderr.startswith(b"from the caller\n")


@pytest.mark.parametrize("umask", [0o077, 0o000, 0o027])
def test_umask(crate: Crate, unprivileged: List[str], umask: int) -> None:
    """Restored files that are not shared have the mode that the compiler would have given them."""

    def narrow() -> None:
        os.umask(umask)

    crate.clean()
    alone = subprocess.run(
        [*unprivileged, *crate.command()],
        cwd=crate.directory,
        env=crate.environment(),
        preexec_fn=narrow,
        stderr=subprocess.PIPE,
        check=False,
    )
    modes = {path.name: path.stat().st_mode & 0o777 for path in crate.out.iterdir()}
    for _ in range(2):
        crate.clean()
        process = crate.start(prefix=unprivileged, preexec_fn=narrow)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == alone.returncode, stderr
        assert stderr == alone.stderr
        for name in ("libx-1.rmeta", "x-1.d"):
            mode = (crate.out / name).stat().st_mode & 0o777
            assert mode == modes[name], f"{name} has mode {mode:o}, the compiler's has {modes[name]:o}"
    for path in crate.store_files("store", "entries", "memo"):
        assert not path.stat().st_mode & umask & 0o022, f"{path} is more open than the umask"
    for path in crate.store_files("store"):
        assert not path.stat().st_mode & 0o222, f"{path} can be written into"
    crate.check_next()


@pytest.mark.parametrize("warm", [False, True])
def test_few_descriptors(crate: Crate, warm: bool) -> None:
    """With any limit under which the compiler passes, kache does; a shell needs some for its script."""
    if warm:
        crate.check(crate.compile())
    good = [each.files for each in crate.good()]
    passed = 0
    for limit in [*range(13, 24), 32]:

        def narrow(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        crate.clean()
        alone = subprocess.run(
            crate.command(),
            cwd=crate.directory,
            env=crate.environment(),
            preexec_fn=narrow,
            capture_output=True,
            check=False,
        )
        if alone.returncode != 0:
            continue
        passed += 1
        crate.clean()
        process = crate.start(preexec_fn=narrow)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, f"with {limit} descriptors: {stderr[-1000:]!r}"
        assert stderr == alone.stderr
        assert crate.files() in good
    assert passed > 5
    after_all(crate)


@pytest.mark.parametrize("limit", [0, 100, 1000, 3000, 6000, 10_000, 20_000, 100_000])
def test_a_limit_on_the_size_of_files(crate: Crate, world: World, limit: int) -> None:
    """Whatever of kache's own does not fit is not kept; where the compiler passes, kache does."""

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    plain, found = both(crate, preexec_fn=narrow)
    for each in found:
        assert each.returncode == plain.returncode, each
        if plain.returncode == 0:
            assert each.stderr == plain.stderr
            assert each.files in [good.files for good in crate.good()]
    crate.check_next()


def test_kache_grows_beyond_the_limit_while_the_compiler_does_not(crate: Crate, world: World) -> None:
    """The event log is full: SIGXFSZ must not reach anybody."""
    crate.check(crate.compile())
    with (world.cache_dir / "events.jsonl").open("ab") as log:
        log.write(b"{}\n" * 100_000)

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    _, found = both(crate, preexec_fn=narrow)
    for each in found:
        crate.check(each)


@pytest.mark.parametrize("megabytes", [200, 400])
def test_little_memory(crate: Crate, megabytes: int) -> None:
    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    plain, found = both(crate, preexec_fn=narrow)
    for each in found:
        if plain.returncode == 0:
            crate.check(each)
    after_all(crate)


@pytest.mark.parametrize(
    "names",
    [
        "HOME",
        "PATH",
        "TMPDIR",
        "HOME PATH TMPDIR",
        "HOME XDG_CACHE_HOME XDG_CONFIG_HOME",
        "CARGO_MANIFEST_DIR",
        "LC_ALL",
        "KACHE_PYTHON",
    ],
)
def test_unset_variables(crate: Crate, names: str) -> None:
    env: Any = dict.fromkeys(names.split())
    if "KACHE_PYTHON" in env:
        env["PATH"] = os.path.dirname(sys.executable) + ":/usr/bin:/bin"
    for _ in range(2):
        crate.check(crate.compile(env=env))
    assert crate.compile(env=env).result == "local_hit"
    after_all(crate)


@pytest.mark.parametrize(
    "value", ["", "relative", "/nowhere", "/dev/null", "/nowhere\n/at all", "\udcff", "/\udcff", "/"]
)
@pytest.mark.parametrize("name", ["HOME", "TMPDIR", "CARGO_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"])
def test_odd_directories(crate: Crate, name: str, value: str) -> None:
    for _ in range(2):
        crate.check(crate.compile(env={name: value}))
    after_all(crate)


def test_an_empty_environment(crate: Crate) -> None:
    env = {"KACHE_PYTHON": crate.world.env["KACHE_PYTHON"]}
    for _ in range(2):
        crate.clean()
        process = crate.start(env=None)
        process.communicate(timeout=60)
        crate.clean()
        done = subprocess.run(
            [str(crate.kache), *crate.command()], cwd=crate.directory, env=env, capture_output=True, check=False
        )
        assert done.returncode == 0, done
        assert done.stderr == crate.good()[0].stderr


def test_environment_that_is_no_text(crate: Crate) -> None:
    env: Any = {"ODD": "\udcff\udcfe", "NEW": "a\nb", "EMPTY": "", "CARGO_PKG_DESCRIPTION": "line\nline\udcff"}
    crate.write('pub static TEXT: Option<&str> = option_env!("EMPTY");\n')
    odd(crate, before="env -0 | sort -z | tr '\\0\\n' '\\n\\001' | grep -a -e ^ODD -e ^NEW -e ^EMPTY -e ^CARGO_PKG >&2")
    plain, found = both(crate, env=crate.environment(env))
    for each in found:
        assert each.returncode == plain.returncode == 0
        assert each.stderr == plain.stderr
    assert crate.events()[-1]["result"] == "local_hit"


def test_the_working_directory_is_gone(crate: Crate, world: World) -> None:
    """The compiler then fails or passes as it would alone."""
    gone = world.root / "gone"
    gone.mkdir()
    command = [str(crate.source) if word == "src/lib.rs" else word for word in crate.command()]
    for words in (command, [str(crate.kache), *command]):
        crate.clean()
        gone.mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", 'rmdir "$0" && exec "$@"', str(gone), *words],
            cwd=gone,
            env=crate.environment(),
            capture_output=True,
            check=False,
        )
        if words is command:
            alone = done
        else:
            assert done.returncode == alone.returncode


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGXFSZ]
)
def test_ignored_signals(crate: Crate, number: int) -> None:
    """What a caller ignores (nohup, a daemon) stays ignored for the compiler; what it does not, does not."""

    def ignore() -> None:
        for each in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(number, signal.SIG_IGN)

    plain, found = both(crate, preexec_fn=ignore)
    for each in found:
        assert each.returncode == plain.returncode == 0
        assert each.stderr == plain.stderr
    crate.more = ["--cfg", "asked"]
    odd(crate, before="grep SigIgn /proc/self/status >&2")
    plain, found = both(crate, preexec_fn=ignore)
    if number not in (signal.SIGPIPE, signal.SIGXFSZ):
        assert found[0].compiled
        assert ignored_signals(found[0]) == ignored_signals(plain)


def ignored_signals(compiled: Compiled) -> int:
    """What the odd compiler said: a mask of ordinary signals (the C library sets two of its own)."""
    line = compiled.stderr.partition(b"SigIgn:")[2].partition(b"\n")[0]
    return int(line, 16) & 0x7FFFFFFF


def test_blocked_signals_reach_the_compiler_as_they_are(crate: Crate) -> None:
    odd(crate, before="grep SigBlk /proc/self/status >&2")

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGCHLD])

    plain, found = both(crate, preexec_fn=block)
    for each in found:
        assert each.returncode == plain.returncode == 0
        assert each.stderr == plain.stderr


def test_many_arguments(crate: Crate) -> None:
    """A command line of 200,000 characters."""
    crate.more = [word for n in range(6000) for word in ("--cfg", f'feature="a_rather_long_name_{n}"')]
    assert sum(map(len, crate.more)) > 200_000
    crate.write('pub fn answer() -> u32 { if cfg!(feature = "a_rather_long_name_5999") { 1 } else { 2 } }\n')
    crate.check(crate.compile())
    crate.check_hit()
    crate.more[-1] = crate.more[-1].replace("5999", "6000")
    assert crate.check(crate.compile()).compiled


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_an_argument_file(crate: Crate, end: str) -> None:
    """As Cargo passes arguments that are too long; more of them than the system takes on a command line."""
    words = crate.command()[1:]
    words += [word for n in range(60_000) for word in ("--cfg", f'feature="a_rather_long_name_{n}"')]
    path = crate.directory / "arguments"
    path.write_bytes(
        "".join(word + "\n" for word in words).replace("\n", end or "\n").encode().rstrip(b"\n" if not end else b"")
    )
    crate.write('pub fn answer() -> u32 { if cfg!(feature = "a_rather_long_name_59999") { 1 } else { 2 } }\n')
    found = []
    for first in ([], [str(crate.kache)], [str(crate.kache)]):
        crate.clean()
        done = subprocess.run(
            [*first, str(crate.compiler), f"@{path}"],
            cwd=crate.directory,
            env=crate.environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.append((done.stdout, done.stderr, crate.files()["libx-1.rmeta"]))
    assert found[0][:2] == found[1][:2] == found[2][:2]
    assert found[1] == found[2]
    assert crate.events()[-1]["result"] == "local_hit", crate.events()


def test_an_argument_file_without_a_store_to_write_to(crate: Crate, world: World, unprivileged: List[str]) -> None:
    world.cache_dir.mkdir(mode=0o555)
    words = crate.command()[1:]
    words += [word for n in range(60_000) for word in ("--cfg", f'feature="a_rather_long_name_{n}"')]
    path = crate.directory / "arguments"
    path.write_text("".join(word + "\n" for word in words))
    done = subprocess.run(
        [*unprivileged, str(crate.kache), str(crate.compiler), f"@{path}"],
        cwd=crate.directory,
        env=crate.environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("what", ["missing", "directory", "undecodable", "nul"])
def test_a_bad_argument_file(crate: Crate, what: str) -> None:
    path = crate.directory / "arguments"
    if what == "directory":
        path.mkdir()
    elif what == "undecodable":
        path.write_bytes(b"--cfg\n\xff\xfe\n")
    elif what == "nul":
        path.write_bytes(b"--cfg\na\0b\n")
    crate.more = [f"@{path}"]
    plain, found = both(crate)
    for each in found:
        assert (each.returncode, each.stderr) == (plain.returncode, plain.stderr)


def test_arguments_that_are_no_text(crate: Crate, world: World) -> None:
    """An option's value with bytes that are not UTF-8: rustc refuses most; whatever it says, kache says."""
    for more in (
        ["--cfg", "a\udcff"],
        ["--remap-path-prefix", "/\udcff=/x"],
        ["-L", "/\udcff"],
        ["-C", "linker=/\udcff"],
        ["-C", "\udcff=1"],
        ["--extern", "\udcff=/\udcff"],
        ["-l", "\udcff"],
        ["--\udcff"],
        ["\udcff"],
    ):
        crate.more = more
        plain, found = both(crate)
        for each in found:
            assert each.returncode == plain.returncode, more
            assert without_thread(each) == without_thread(plain), more


def without_thread(compiled: Compiled) -> bytes:
    """Standard error without the number of the thread that panicked."""
    return re.sub(rb"thread 'main' \(\d+\)", b"thread 'main'", compiled.stderr)


@pytest.mark.parametrize(
    "name",
    [
        "caf\udce9",
        "\udcff\udcfe",
        "sp ace",
        "new\nline",
        'quo"te',
        "back\\slash",
        "<workspace>",
        "%s",
        "ümläut",
        "a'b$HOME`x`",
        "-dash",
    ],
)
def test_odd_places(crate: Crate, world: World, name: str) -> None:
    """A checkout below a directory of that name; ``.d`` files and notifications name it."""
    place = os.path.join(str(world.root), name, "ws")
    try:
        os.makedirs(os.path.dirname(place))
        os.rename(crate.directory, place)
    except (OSError, UnicodeError) as error:
        pytest.skip(f"not on this file system: {error}")
    crate.directory = Path(place)
    crate.source = crate.directory / "src" / "lib.rs"
    crate.out = crate.directory / "target" / "debug" / "deps"
    text = "pub fn place() -> &'static str { file!() }\nfn unused() {}\n"
    if name.isprintable() and name.isascii():
        text += 'pub fn here() -> &\'static str { env!("CARGO_MANIFEST_DIR") }\n'
    crate.write(text)
    if name.isprintable():
        plain, found = both(crate)
        assert plain.returncode == 0
    else:
        # rustc takes no such argument, and mostly stumbles over such a directory: then it does so under kache
        crate.more = ["--out-dir", "target/debug/deps"]
        plain, found = both(crate)
    for each in found:
        assert each.returncode == plain.returncode, each.stderr
        if plain.returncode == 0:
            assert each.stderr == plain.stderr
            assert each.files["x-1.d"] == plain.files["x-1.d"]
            crate.check(each)
    if plain.returncode == 0 and name != "<workspace>":
        # a path that looks like a placeholder is compiled each time
        crate.check_hit()


def test_package_files_whose_names_are_no_text(crate: Crate) -> None:
    """A declared input, and a file that only the fingerprint of the package sees."""
    library = crate.directory / "dep.rs"
    library.write_text("pub const N: u32 = 1;\n")
    command = [str(crate.compiler), "--crate-name", "dep", "--crate-type", "lib", "-o", "libdep.rlib", "dep.rs"]
    subprocess.run(command, check=True, cwd=crate.directory, env=crate.environment())
    crate.more = ["--extern", "dep=libdep.rlib"]
    crate.write("pub fn answer() -> u32 { dep::N }\n")
    (crate.directory / "kache.toml").write_text("extra_inputs = ['data/*']\n")
    (crate.directory / "data").mkdir()
    for name in ("data/\udcff", "data/new\nline", "caf\udce9", "new\nline", "sp ace"):
        path = Path(os.path.join(str(crate.directory), name))
        path.write_text("1")
        crate.check_next()
        path.write_text("2")
        assert crate.check(crate.compile()).compiled, name
        crate.check_hit()


def test_an_odd_store_directory(crate: Crate, world: World) -> None:
    for name in ("caf\udce9", "sp ace", "new\nline", 'quo"te', "<workspace>", "%d %s", "ünï"):
        env = {"KACHE_CACHE_DIR": os.path.join(str(world.root), name)}
        crate.check(crate.compile(env=env))
        crate.check_hit(env=env)


def test_an_odd_module_path(crate: Crate) -> None:
    """Sources with blanks, colons, hashes and backslashes in their names: each has its own way through a dep-info."""
    names = [
        "sp ace",
        "two  blanks",
        "co:lon",
        "ha#sh",
        "dol$lar",
        "back\\slash",
        "trailing ",
        "eq=ual",
        "env-dep:X",
        "ü",
    ]
    modules = [f'#[path = "{name}.rs"] mod m{n};' for n, name in enumerate(names) if "\\" not in name]
    for name in names:
        (crate.source.parent / f"{name}.rs").write_text("pub fn f() {}\n")
    crate.write("\n".join(modules) + '\n#[path = "back\\\\slash.rs"] mod last;\n')
    crate.check_next()
    for name in names:
        (crate.source.parent / f"{name}.rs").write_text("pub fn f() { let _ = 1; }\n")
        crate.check_next()
