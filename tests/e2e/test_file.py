"""dist/kache starts anywhere: any Python, environment and place, many at once; where it cannot, the compiler does.

What cannot be seen from outside is shown by a small program of the test's own, which the real builder puts into a
file in place of kache's.
"""

import dataclasses
import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Callable, List, Mapping, Sequence

import pytest

from build_zipapp import HEADER_SIZE, TEXTS
from tests.conftest import missing
from tests.world import REPOSITORY, Run, World

VERSIONS = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
HERE = os.path.realpath(sys.executable)
NEW = {path.parent.parent.name: str(path) for path in sorted(VERSIONS.glob("3.*/bin/python3"))}
OLD = {
    version: NEW.pop(version, "") or str(VERSIONS / version / "bin/python")
    for version in sorted(path.name for path in VERSIONS.glob("[23].*"))
    if tuple(map(int, version.split(".")[:2])) < (3, 9)
}
NEW = NEW or {"running": HERE}
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]

CLI = """
import sys
import posix

import kachelib


def main(argv):
    print(globals()["do_" + argv[0]](*argv[1:]), flush=True)
    return 0


def do_modules():
    return sorted(sys.modules)


def do_argv(*words):
    return ascii(words)


def do_describe():
    from kachelib import bundle
    return repr(bundle.describe())


def do_start_again():
    import subprocess
    from kachelib import bundle
    return subprocess.run([*bundle.start_command(), "argv", "again"], capture_output=True, text=True).stdout


def do_zstandard():
    import zstandard
    packed = zstandard.ZstdCompressor(level=3).compress(b"kache" * 1000)
    assert zstandard.ZstdDecompressor().decompress(packed) == b"kache" * 1000
    if sys.version_info < (3, 11):
        import tomli
        assert tomli.loads("a = [1]") == {"a": [1]}
    return len(packed)


def do_boto3():
    from kachelib import bundle
    bundle.ensure_importable("boto3")
    import boto3
    for service in ("sts", "sso", "sso-oidc"):
        boto3.client(service, region_name="us-east-1")
    return boto3.client("s3", region_name="eu-central-1").meta.endpoint_url


def do_tomlkit():
    from kachelib import bundle
    bundle.ensure_importable("tomlkit")
    import tomlkit
    document = tomlkit.parse("a = 1 # one\\n")
    document["a"] = 2
    return tomlkit.dumps(document).strip(), tomlkit.__file__.startswith(sys.argv[0] + "/pure/")


def do_text(name):
    module = __import__("kachelib." + name, fromlist=["SAID"])
    return module.SAID[:-1], module.SAID[-1] == sys.argv[0]


def do_closed():
    posix.closerange(3, 64)
    for name in ("json.py", "kache.py"):
        posix.open(name, posix.O_CREAT | posix.O_RDWR)
    from kachelib import lazy
    return lazy.WORD


def do_replaced(other):
    posix.rename(other, sys.argv[0])
    from kachelib import lazy
    first = lazy.WORD
    posix.close(sys.modules["kache_launcher"].FILE.fd)
    del sys.modules["kachelib.lazy"], kachelib.lazy
    try:
        from kachelib import lazy
    except OSError:
        return first, "refused"
    return first, lazy.WORD


def do_fail():
    raise RuntimeError("no good")


def do_exit():
    sys.exit("a last word")


def do_interrupt():
    raise KeyboardInterrupt
"""
WRAPPER = '''
import posix
import sys

from blake3 import blake3


def main(argv):
    """A docstring."""
    word = argv[1]
    if word == "environment":
        for name, value in sorted(posix.environ.items()):
            posix.write(1, name + b"=" + value + b"\\0")
    elif word == "modules":
        posix.write(1, " ".join(sorted(sys.modules)).encode())
    elif word == "stripped":
        posix.write(1, repr((main.__doc__, main.__annotations__, main.__code__.co_filename)).encode())
    elif word == "raise":
        raise ValueError("kache has a bug")
    else:
        return int(word)
    return 0
'''
# a module that the file carries as text
TEXT = '''"""A docstring."""
from typing import NamedTuple


class Pair(NamedTuple):
    """Another."""

    a: int
    b: int = 2


assert False
SAID = (__doc__, tuple(Pair(1)), __spec__.origin)
'''
BUILDER = ("build_zipapp.py", "kache.py", "launcher", "requirements")


@dataclasses.dataclass
class Scratch:
    """A copy of the builder with another program."""

    root: Path

    def build(self, *options: str, environ: Mapping[str, str] = os.environ, python: str = HERE) -> Path:
        """Build; returns the file."""
        command = [python, str(self.root / "build_zipapp.py"), *options]
        done = subprocess.run(command, env=dict(environ), cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "nothing had to be downloaded"
        return self.root / "dist" / "kache"


def copy_builder(root: Path) -> Scratch:
    """The builder with this checkout's wheels, and nothing that was compiled."""
    (root / "build").mkdir(parents=True)
    for name in BUILDER:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copyfile
        copy(REPOSITORY / name, root / name)
    (root / "build" / "wheels").symlink_to(REPOSITORY / "build" / "wheels")
    return Scratch(root)


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory, dist_kache: Path) -> Path:
    """A file with the test's program in place of kache's, for all Pythons that dist/kache is for."""
    scratch = copy_builder(tmp_path_factory.mktemp("probe"))
    program = scratch.root / "kachelib"
    program.mkdir()
    for name in ("__init__", "bundle", "outcome"):
        shutil.copyfile(REPOSITORY / "kachelib" / f"{name}.py", program / f"{name}.py")
    (program / "cli.py").write_text(CLI)
    (program / "wrapper.py").write_text(WRAPPER)
    (program / "lazy.py").write_text("WORD = 'loaded late'\n")
    (program / f"{TEXTS[0]}.py").write_text(TEXT)
    environ = {**os.environ, "HOME": "/nonexistent"}
    return scratch.build(*[word for path in NEW.values() for word in ("--python", path)], environ=environ)


@pytest.fixture
def compiler(world: World) -> Path:
    """A rustc that says how it was called."""
    path = world.root / "toolchain" / "rustc"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\necho "compiled: $*"\ngrep ^SigIgn /proc/self/status >&2\nexit 7\n')
    path.chmod(0o755)
    return path


def called_by(shell: str, probe: Path) -> List[str]:
    """The words that make ``shell`` read the file, whatever /bin/sh is."""
    return [shell, "sh", str(probe)] if shell == "busybox" else [shell, str(probe)]


def environment(run: Run) -> Mapping[str, str]:
    """What the wrapper of the test's program was given."""
    return dict(line.split("=", 1) for line in run.ok().stdout.split("\0")[:-1])


def ran_compiler(run: Run, arguments: str) -> bool:
    """Whether the test's compiler ran, and the run came to what it came to, with the signals it expects."""
    ignored = int(run.stderr.rpartition("SigIgn:")[2].split()[0], 16)
    unwanted = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)
    return run.stdout == f"compiled: {arguments}\n" and run.returncode == 7 and not ignored & unwanted


def modified(path: Path, source: Path, old: bytes, new: bytes) -> Path:
    """A copy of a file with the first ``old`` replaced by ``new`` of the same length."""
    data = source.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new, 1))
    path.chmod(0o755)
    return path


# Every Python


@pytest.mark.parametrize("version", NEW)
def test_every_python_from_3_9_on_runs_it_as_script_and_as_zip(world: World, dist_kache: Path, version: str) -> None:
    commands: List[List[Path]] = [[dist_kache], [Path(NEW[version]), dist_kache]]
    for command in commands:
        run = world.run([*command, "--version"], env={"KACHE_PYTHON": NEW[version]}).ok()
        assert run.stdout.startswith("kache ") and run.stderr == ""


@pytest.mark.parametrize("version", NEW)
def test_a_compiler_call_loads_next_to_nothing(world: World, probe: Path, version: str) -> None:
    for _ in "unpacked", "found again":
        run = world.run([probe, "rustc", "modules"], env={"KACHE_PYTHON": NEW[version]}).ok()
    bare = world.run([NEW[version], "-I", "-S", "-c", "import sys; print(*sys.modules)"]).ok()
    added = set(run.stdout.split()) - set(bare.stdout.split())
    assert added <= {"kache", "kache_launcher", "kachelib", "kachelib.wrapper", "blake3", "blake3.blake3", "gc"}


def test_hot_code_carries_no_documentation_and_no_path(world: World, probe: Path) -> None:
    assert world.run([probe, "rustc", "stripped"]).ok().stdout == "(None, {}, 'kachelib/wrapper.py')"


@pytest.mark.parametrize("version", NEW)
def test_what_cold_code_needs_can_be_imported(world: World, probe: Path, version: str) -> None:
    env = {"KACHE_PYTHON": NEW[version]}
    assert int(world.run([probe, "zstandard"], env=env).ok().stdout) < 100
    assert world.run([probe, "text", TEXTS[0]], env=env).ok().stdout == "((None, (1, 2)), True)\n"
    assert world.run([probe, "tomlkit"], env=env).ok().stdout == "('a = 2 # one', True)\n"
    for _ in "unpacked", "found again":
        run = world.run([probe, "boto3"], env=env).ok()
        assert (run.stdout, run.stderr) == ("https://s3.eu-central-1.amazonaws.com\n", "")


@pytest.mark.parametrize("version", OLD)
def test_a_python_that_is_too_old_says_so_and_compiles(world: World, probe: Path, compiler: Path, version: str) -> None:
    env = {"KACHE_PYTHON": OLD[version]}
    commands: List[List[Path]] = [[probe], [Path(OLD[version]), probe]]
    for command in commands:
        run = world.run([*command, "list"], env=env)
        assert (run.returncode, run.stdout) == (1, "")
        assert run.stderr.count("\n") == 1 and "Python 3.9 or newer" in run.stderr
    assert ran_compiler(world.run([probe, compiler, "a b", "--flag"], env=env), "a b --flag")


@pytest.mark.parametrize("shell", SHELLS)
def test_without_python_there_is_one_line_and_the_compiler_runs(
    world: World, probe: Path, compiler: Path, shell: str
) -> None:
    command = called_by(shell, probe)
    env = {"KACHE_PYTHON": "/nonexistent/python3"}
    run = world.run([*command, "list"], env=env)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert "KACHE_PYTHON" in run.stderr
    assert ran_compiler(world.run([*command, compiler, "--flag"], env=env), "--flag")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_python_that_does_not_start_leaves_the_compiler(
    world: World, probe: Path, compiler: Path, shell: str
) -> None:
    command = called_by(shell, probe)
    broken = world.root / "python3"
    broken.write_text("#!/nonexistent/interpreter\n")
    broken.chmod(0o755)
    assert ran_compiler(world.run([*command, compiler, "x"], env={"KACHE_PYTHON": str(broken)}), "x")


def test_the_line_goes_to_cargo_once_and_never_among_the_diagnostics(world: World, probe: Path, compiler: Path) -> None:
    cargo = "import subprocess, sys; subprocess.run(sys.argv[1:], stderr=open('diagnostics', 'w'))"
    asked = [str(probe), str(compiler), "-", "--crate-name", "___", "--print=file-names"]
    pythons = ["/nonexistent/python3", *OLD.values()]
    for python in pythons:
        for words, said in ((asked, 1), (asked[:2], 0)):
            run = world.run([HERE, "-c", cargo, *words], env={"KACHE_PYTHON": python}).ok()
            assert run.stderr.count("KACHE_PYTHON") == run.stderr.count("\n") == said
            assert "kache" not in (world.root / "diagnostics").read_text()


def test_the_compilers_version_needs_no_python(world: World, probe: Path, compiler: Path) -> None:
    env = {"KACHE_PYTHON": "/bin/false"}
    driver = compiler.with_name("clippy-driver")
    driver.symlink_to(compiler)
    workspace_wrapper = driver.with_name("wrapper")
    workspace_wrapper.symlink_to(compiler)
    env["PATH"] = f"{compiler.parent}:{world.env['PATH']}"
    for flag in ("-vV", "-V", "--version"):
        assert world.run([probe, "wrapper", compiler, flag], env=env).stdout == f"compiled: {compiler} {flag}\n"
        assert world.run([probe, compiler, flag], env=env).stdout == f"compiled: {flag}\n"
        assert world.run([probe, driver, compiler, flag], env=env).stdout == f"compiled: {compiler} {flag}\n"


def test_the_remembered_python_is_used_while_it_is_there(world: World, probe: Path) -> None:
    from kachelib.bundle import remembered_python_file

    (world.root / "bin").mkdir()
    chosen = world.root / "bin" / "my python3"
    chosen.write_text(f'#!/bin/sh\necho chosen\nexec {HERE} "$@"\n')
    chosen.chmod(0o755)
    # without it, the first on PATH
    (world.root / "bin" / "python3").symlink_to(HERE)
    env = {"KACHE_PYTHON": None, "PATH": f"{world.root / 'bin'}:/usr/bin:/bin"}
    remembered = Path(remembered_python_file(world.env))
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(f"{chosen}\n")
    assert world.run([probe, "rustc", "0"], env=env).ok().stdout == "chosen\n"
    chosen.unlink()
    assert world.run([probe, "rustc", "0"], env=env).ok().stdout == ""


# What the program is given


@pytest.mark.parametrize("value", [None, "", "C", "de_DE.UTF-8"])
def test_the_callers_lc_ctype_goes_through(world: World, probe: Path, value: str) -> None:
    seen = environment(world.run([probe, "rustc", "environment"], env={"LC_ALL": None, "LC_CTYPE": value}))
    assert seen.get("LC_CTYPE") == value


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_shell_does_to_the_environment(world: World, probe: Path, shell: str) -> None:
    """dash drops names that are no identifiers; all set PWD, bash _ and, where it was missing, SHLVL. Nothing else."""
    command = called_by(shell, probe)
    given = {"no-identifier": "1", "PWD": "/elsewhere", "a.b": "2", "EMPTY": "", "LINES3": "a\nb", "BYTES": "\udcff"}
    seen = environment(world.run([*command, "rustc", "environment"], env=given))
    wanted = {**world.env, **given}
    changed = {name for name in set(seen) | set(wanted) if seen.get(name) != wanted.get(name)}
    assert changed <= {"no-identifier", "a.b", "PWD", "OLDPWD", "_", "SHLVL"}


@pytest.mark.parametrize("shell", SHELLS)
def test_an_integration_test_gets_its_environment_whole(world: World, probe: Path, shell: str) -> None:
    """Cargo tells it where the package's programs are: CARGO_BIN_EXE_<name>, and a name may hold a dash."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc")
    command = called_by(shell, probe)
    given = {
        "CARGO_TARGET_TMPDIR": "/t",
        "CARGO_BIN_EXE_my-app": "/t/my-app",
        "PWD": "/elsewhere",
        "EMPTY": "",
        "LINES3": "a\n\nb\n",
        "BYTES": "\udcff",
        "LC_ALL": None,
        "LC_CTYPE": None,
    }
    seen = environment(world.run([*command, "rustc", "environment"], env=given))
    assert seen == {name: value for name, value in {**world.env, **given}.items() if value is not None}


def test_arguments_arrive_as_they_are(world: World, probe: Path) -> None:
    words = ["", " ", "a b", "'", '"', "$HOME", "*", "\\", "\n", "\udcff\udc80", "ü", "-c", "--"]
    assert world.run([probe, "argv", *words]).ok().stdout == ascii(tuple(words)) + "\n"
    assert world.run([HERE, probe, "argv", *words], env={"LC_ALL": "C.UTF-8"}).ok().stdout == ascii(tuple(words)) + "\n"


def test_arguments_arrive_in_a_locale_that_is_not_utf8(
    world: World, probe: Path, require_tool: Callable[[str], str]
) -> None:
    made = [require_tool("localedef"), "-i", "de_DE", "-f", "ISO-8859-1", str(world.root / "de_DE.ISO-8859-1")]
    if world.run(made).returncode:
        pytest.skip("localedef has no sources of locales")
    env = {"LOCPATH": str(world.root), "LC_ALL": "de_DE.ISO-8859-1"}
    assert world.run([HERE, "-c", "open('/dev/null').encoding == 'UTF-8' and exit(1)"], env=env).ok()
    assert world.run([probe, "argv", "ü\udcff"], env=env).ok().stdout == ascii(("ü\udcff",)) + "\n"


def test_it_can_be_called_by_a_relative_path_and_through_path(world: World, probe: Path) -> None:
    (world.root / "bin").mkdir()
    (world.root / "bin" / "kache").symlink_to(probe)
    assert world.run(["bin/kache", "argv"], cwd=world.root).ok()
    assert world.run(["sh", "-c", "kache argv"], env={"PATH": f"{world.root}/bin:/usr/bin:/bin"}).ok()
    described = world.run(["bin/kache", "describe"], cwd=world.root).ok().stdout
    assert f"'file': '{world.root}/bin/kache'" in described


def test_it_can_start_itself_again(world: World, probe: Path) -> None:
    env = {"PYTHONHOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
    assert world.run([probe, "start_again"], env=env).ok().stdout == "('again',)\n\n"


@pytest.mark.parametrize("status", [0, 1, 101, 255])
def test_the_exit_status_goes_through(world: World, probe: Path, status: int) -> None:
    assert world.run([probe, "rustc", str(status)]).returncode == status


def test_the_ends_of_a_command(world: World, probe: Path) -> None:
    failed = world.run([probe, "fail"])
    assert failed.returncode == 1 and "RuntimeError: no good" in failed.stderr
    ended = world.run([probe, "exit"])
    assert (ended.returncode, ended.stderr) == (1, "a last word\n")
    assert world.run([probe, "interrupt"]).returncode == -signal.SIGINT
    assert world.run(["sh", "-c", f"{probe} argv x >/dev/full"]).returncode == 1


# Bad places


def test_rubbish_in_python_variables_and_in_the_working_directory_is_not_seen(world: World, dist_kache: Path) -> None:
    files = {f"{name}.py": "raise SystemExit('wrong module')\n" for name in ("json", "kache", "os", "blake3", "site")}
    rubbish = world.workspace({**files, "kachelib/__init__.py": files["json.py"]}, name="rubbish")
    env = {"PYTHONPATH": str(rubbish), "PYTHONSTARTUP": str(rubbish / "json.py"), "PYTHONHASHSEED": "nonsense"}
    assert world.run([dist_kache, "--version"], cwd=rubbish, env={**env, "PYTHONHOME": "/nonexistent"}).ok()
    # the interpreter itself reads some of them before it opens the file
    seen = {"PYTHONPATH": str(rubbish / "none"), "PYTHONSTARTUP": env["PYTHONSTARTUP"]}
    assert world.run([HERE, dist_kache, "--version"], cwd=rubbish, env=seen).ok()


def kept(runtime: Path) -> List[str]:
    """The names of the files below a runtime directory."""
    return sorted(path.name for path in runtime.rglob("*") if path.is_file())


def test_sixty_four_can_start_for_the_first_time_at_once(world: World, probe: Path) -> None:
    env = {**world.env, "HOME": str(world.root / "new"), "XDG_CACHE_HOME": str(world.root / "new/a/b")}
    started = [
        subprocess.Popen([str(probe), "rustc", "0"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(64)
    ]
    assert [(process.communicate()[0], process.returncode) for process in started] == [(b"", 0)] * 64
    (module,) = kept(world.root / "new")
    assert module.startswith("blake3.cpython-")


@pytest.mark.parametrize("home", [None, "", "/dev/null", "/proc/self", "relative"])
def test_no_usable_home_is_no_hindrance(world: World, probe: Path, home: str) -> None:
    run_dir = world.root / "run"
    run_dir.mkdir()
    env = {"HOME": home, "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None, "XDG_RUNTIME_DIR": str(run_dir)}
    assert str(run_dir) in world.run([probe, "describe"], env=env).ok().stdout
    assert world.run([probe, "describe"], env={**env, "XDG_RUNTIME_DIR": None}, cwd=run_dir).ok()
    assert list(run_dir.iterdir()) == [run_dir / "kache-runtime"]


def in_namespace(script: str) -> Sequence[str]:
    """A command that runs ``script`` with mounts of its own; skips the test where that is not permitted."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        missing("the permission to mount (unshare -m)")
    return ["unshare", "-m", "sh", "-e", "-c", script]


def test_a_read_only_home_is_no_hindrance(world: World, probe: Path) -> None:
    script = f"mount --bind {world.home} {world.home}; mount -o remount,ro,bind {world.home}; {probe} describe"
    env = {"XDG_RUNTIME_DIR": str(world.root / "run")}
    assert str(world.root / "run") in world.run(in_namespace(script), env=env).ok().stdout


def test_where_nothing_may_be_executed_memory_serves(world: World, probe: Path) -> None:
    temporary = f"/tmp/kache-{os.getuid()}"
    script = f"""
        mkdir -p -m 700 {temporary}
        for place in {temporary} {world.home}; do mount -t tmpfs -o noexec,mode=700 none $place; done
        {probe} describe; {probe} zstandard; {probe} rustc 0
    """
    run = world.run(in_namespace(script), env={"XDG_RUNTIME_DIR": None}).ok()
    assert "'native modules': 'memory'" in run.stdout


def test_a_directory_that_others_can_write_to_is_not_trusted(world: World, probe: Path) -> None:
    runtime = Path(world.env["XDG_CACHE_HOME"]) / "kache-runtime"
    assert world.run([probe, "rustc", "0"]).ok()
    assert kept(runtime)
    for mode, trusted in ((0o777, False), (0o770, False), (0o755, True)):
        runtime.chmod(mode)
        described = world.run([probe, "describe"], env={"XDG_RUNTIME_DIR": str(world.root / "run")}).ok().stdout
        assert (str(runtime) in described) == trusted


def test_a_native_module_that_is_not_what_was_written_is_replaced(world: World, probe: Path) -> None:
    runtime = Path(world.env["XDG_CACHE_HOME"]) / "kache-runtime"
    world.run([probe, "rustc", "0"]).ok()
    (module,) = [path for path in runtime.rglob("*") if path.is_file()]
    whole = module.read_bytes()

    def cut() -> None:
        module.write_bytes(whole[:-1])

    def opened() -> None:
        module.chmod(0o666)

    def linked() -> None:
        module.rename(runtime / "other")
        module.symlink_to(runtime / "other")

    damages: List[Callable[[], None]] = [cut, opened, linked, module.unlink]
    for damage in damages:
        damage()
        world.run([probe, "rustc", "0"]).ok()
        assert module.read_bytes() == whole and not module.is_symlink()
        assert stat.S_IMODE(module.stat().st_mode) == 0o600


def test_a_descriptor_that_was_closed_does_no_harm(world: World, probe: Path) -> None:
    assert world.run([probe, "closed"]).ok().stdout == "loaded late\n"


def test_a_file_that_is_replaced_while_it_runs_is_not_read_on(world: World, probe: Path) -> None:
    running, other = world.root / "running", world.root / "other"
    shutil.copy(probe, running)
    shutil.copy(probe, other)
    assert world.run([running, "replaced", other]).ok().stdout == "('loaded late', 'refused')\n"


# Trouble


def test_an_interpreter_that_was_upgraded_compiles_the_program_once(world: World, probe: Path) -> None:
    for version, python in NEW.items():
        magic = world.run([python, "-c", "import importlib.util as u; print(u.MAGIC_NUMBER.hex())"]).ok().stdout.strip()
        upgraded = modified(world.root / version, probe, b'"' + magic.encode(), b'"' + b"0" * len(magic))
        env = {"KACHE_PYTHON": python}
        assert world.run([upgraded, "rustc", "3"], env=env).returncode == 3
        (kept_code,) = (Path(world.env["XDG_CACHE_HOME"]) / "kache-runtime").glob(f"code-*-{magic}")
        # from now on the sources are not looked at
        written = kept_code.stat().st_mtime_ns
        assert world.run([upgraded, "rustc", "3"], env=env).returncode == 3
        assert "compiled on this machine" in world.run([upgraded, "describe"], env=env).ok().stdout
        assert world.run([upgraded, "text", TEXTS[0]], env=env).ok().stdout == "((None, (1, 2)), True)\n"
        assert int(world.run([upgraded, "zstandard"], env=env).ok().stdout) < 100
        assert kept_code.stat().st_mtime_ns == written
        kept_code.write_bytes(kept_code.read_bytes()[:1000])
        assert world.run([upgraded, "rustc", "3"], env=env).returncode == 3
        assert world.run([python, upgraded, "argv"], env=env).ok()


@pytest.mark.parametrize("length", [HEADER_SIZE, 7000, 400_000, 1_000_000])
def test_a_truncated_file_still_compiles(world: World, probe: Path, compiler: Path, length: int) -> None:
    cut = world.root / "cut"
    cut.write_bytes(probe.read_bytes()[:length])
    cut.chmod(0o755)
    assert world.run([cut, "list"]).stderr.count("\n") == 1
    assert ran_compiler(world.run([cut, compiler, "x"]), "x")


def test_natives_that_cannot_be_unpacked_still_compile(world: World, probe: Path, compiler: Path) -> None:
    data = bytearray(probe.read_bytes())
    with zipfile.ZipFile(probe) as archive:
        end = min(info.header_offset for info in archive.infolist())
    start = HEADER_SIZE
    # all of the compressed modules; the program itself lies behind them
    for offset in range(start, end, 512):
        if data[offset : offset + 2] != b"\xe3\0":
            data[offset] ^= 0xFF
        if offset - start > 3_000_000:
            break
    damaged = world.root / "damaged"
    damaged.write_bytes(data)
    damaged.chmod(0o755)
    assert ran_compiler(world.run([damaged, compiler, "x"]), "x")


def test_a_bug_in_the_wrapper_still_compiles(world: World, probe: Path, compiler: Path) -> None:
    assert ran_compiler(world.run([probe, compiler, "raise"]), "raise")


def test_a_command_that_cannot_start_says_why_in_one_line(world: World, probe: Path) -> None:
    broken = modified(world.root / "broken", probe, b".cpython-", b".cpytohn-")
    for python in NEW.values():
        run = world.run([broken, "argv"], env={"KACHE_PYTHON": python})
        assert run.returncode == 0 or (run.stderr.count("\n") == 1 and "Traceback" not in run.stderr)
    assert world.run([broken, "--version"]).returncode in (0, 1)


# The build


def test_it_is_an_ordinary_zip_with_its_sources_and_licences(dist_kache: Path) -> None:
    with zipfile.ZipFile(dist_kache) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert archive.read("kache.py") == (REPOSITORY / "kache.py").read_bytes()
    for package in ("blake3", "zstandard", "boto3", "botocore", "urllib3", "tomlkit"):
        assert any(package in name and "licen" in name.lower() for name in names), package
    assert not [name for name in names if "/data/" in name and "/s" not in name and not name.endswith(".json")]


def test_two_builds_are_the_same_bytes(tmp_path: Path, dist_kache: Path) -> None:
    chosen = [NEW[version] for version in list(NEW)[:: max(1, len(NEW) - 1)]]
    options = ["--only", *[word for path in chosen for word in ("--python", path)]]
    built: List[Path] = []
    for name, umask, environ, python in (
        ("one", 0o022, {"HOME": str(tmp_path), "PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"}, chosen[0]),
        (
            "second place",
            0o077,
            {"HOME": "/", "PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"},
            chosen[-1],
        ),
    ):
        scratch = copy_builder(tmp_path / name)
        # somebody may be editing
        program = (REPOSITORY if not built else built[0].parent.parent) / "kachelib"
        shutil.copytree(program, scratch.root / "kachelib")
        before = os.umask(umask)
        try:
            built.append(scratch.build(*options, environ={"PATH": os.environ["PATH"], **environ}, python=python))
        finally:
            os.umask(before)
    first, second = built
    assert first.read_bytes() == second.read_bytes()
    assert stat.S_IMODE(first.stat().st_mode) == stat.S_IMODE(second.stat().st_mode) == 0o755


def test_a_python_that_is_no_use_ends_the_build_with_one_line(tmp_path: Path) -> None:
    scratch = copy_builder(tmp_path / "scratch")
    for python in ("/nonexistent/python3", "/bin/true", *OLD.values()):
        command = [HERE, str(scratch.root / "build_zipapp.py"), "--python", python]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1) and python in run.stderr


@pytest.mark.network
def test_it_installs_as_a_package_with_a_script(world: World, tmp_path: Path) -> None:
    world.run([sys.executable, "-m", "venv", tmp_path / "venv"]).ok()
    source = tmp_path / "source"  # an install writes beside the sources
    shutil.copytree(REPOSITORY / "kachelib", source / "kachelib")
    for name in ("kache.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    world.run([tmp_path / "venv/bin/python", "-m", "pip", "install", "-q", "--no-deps", source]).ok()
    packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    kache = tmp_path / "venv/bin/kache"
    assert world.run([kache, "--version"], env={"PYTHONPATH": packages}).ok().stdout.startswith("kache ")


@pytest.mark.soak
@pytest.mark.network
def test_one_file_for_all_platforms(world: World, tmp_path: Path) -> None:
    command = [HERE, str(REPOSITORY / "build_zipapp.py"), "--all-platforms", "--output", str(tmp_path / "kache")]
    world.run(command, timeout=600).ok()
    assert world.run([tmp_path / "kache", "--version"]).ok()
    table = (tmp_path / "kache").read_bytes().rpartition(b"\nNATIVES = ")[2].partition(b"\n")[0].decode()
    for minor in range(9, 15):
        for machine in ("x86_64", "aarch64"):
            for libc in ("gnu.so", "gnu.somusl", "musl.so"):
                assert table.count(f"'.cpython-3{minor}-{machine}-linux-{libc}'") == 2
        for machine in ("x86_64", "arm64"):
            assert table.count(f"'.cpython-3{minor}-darwin.so{machine}'") == 2
    # beside a library for musl lies the one it needs
    assert table.count("blake3.libs/libgcc_s") == 6 * 2 * 2
