"""The builder's parts and the launcher's: what code loses, in which order it runs, what is trusted on disk."""

import ast
import hashlib
import importlib
import marshal
import os
import posix
import struct
import sys
import types
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

import build_zipapp
import kache
from launcher import boot, compiler
from requirements import parts, wheels
from tests.arrows import HOT, HOT_C
from tests.world import REPOSITORY

# Python 2 has to read it: it has no annotations
slow: Any = importlib.import_module("launcher.slow")


def sources(**texts: str) -> Dict[str, compiler.Source]:
    """Modules by name; two underscores stand for a dot, one at the end for a package."""
    found = {}
    for name, text in texts.items():
        module = name.rstrip("_").replace("__", ".")
        found[module] = compiler.Source(text.encode(), f"{module.replace('.', '/')}.py", name.endswith("_"))
    return found


# Code


def test_hot_code_is_the_program_without_what_only_readers_need() -> None:
    text = b'''"""Module."""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nowhere import Nothing
LATER: "Nothing"
NOW: "int" = 3


class Record:
    """Class."""

    __slots__ = ("x",)
    x: "int"

    def method(self, *a: "int", b: "str" = "b", **c: "int") -> "str":
        """Method."""
        local: "int"
        local = 1
        assert local == 2
        return b


def empty() -> None:
    """Nothing but this."""
'''
    names: Dict[str, object] = {}
    code = compiler.hot_code(text, "kachelib/x.py")
    exec(code, names)
    record = names["Record"]
    assert isinstance(record, type)
    assert names.get("__doc__") is None and record.__doc__ is None and vars(record)["method"].__doc__ is None
    assert vars(record)["method"].__annotations__ == {} and vars(record)["method"](record()) == "b"
    assert names["NOW"] == 3 and "LATER" not in names and not names.get("__annotations__")
    assert isinstance(names["empty"], types.FunctionType) and names["empty"]() is None
    assert b"nowhere" not in marshal.dumps(code) and code.co_filename == "kachelib/x.py"


FIELDS = b'''"""Doc."""
from typing import NamedTuple
assert True
class Pair(NamedTuple):
    """Two."""
    left: int
    right: str = "r"
def f(a: int): ...
'''


def test_cold_code_keeps_the_fields_of_records() -> None:
    names: Dict[str, object] = {}
    exec(compiler.cold_code(FIELDS, "f.py"), names)
    pair = names["Pair"]
    assert isinstance(pair, type) and pair(1) == (1, "r")
    assert isinstance(names["f"], types.FunctionType) and names["f"].__annotations__ == {}
    assert names.get("__doc__") is None


def test_a_library_stays_as_python_compiles_it() -> None:
    names: Dict[str, object] = {}
    exec(compiler.foreign_code(FIELDS, "f.py"), names)
    assert names["__doc__"] == "Doc."
    assert isinstance(names["f"], types.FunctionType) and names["f"].__annotations__ == {"a": int}


def test_what_a_miss_loads_is_there_and_is_not_hot() -> None:
    own = {build_zipapp.module_name(path) for path in build_zipapp.own_sources()}
    assert own >= compiler.MISS
    assert not {name.rpartition(".")[2] for name in compiler.MISS} & (HOT | HOT_C)


def test_what_is_carried_as_text_is_there_and_no_compile_waits_for_it() -> None:
    own = {build_zipapp.module_name(path) for path in build_zipapp.own_sources()}
    texts = {"kachelib." + name for name in build_zipapp.TEXTS}
    assert own >= texts and len(texts) == len(build_zipapp.TEXTS)
    assert not texts & (compiler.MISS | {"kachelib." + name for name in HOT | HOT_C})


def test_hot_is_what_the_wrapper_imports_when_it_is_imported() -> None:
    given_sources = sources(
        kache="def main():\n    from kachelib import cli\n",
        kachelib_="VERSION = 1\n",
        kachelib__wrapper="from kachelib import store\nimport posix\ndef main():\n    from kachelib import compile\n",
        kachelib__cc_wrapper="from kachelib import key, cc\n",
        kachelib__cc="",
        kachelib__store="from kachelib.key import digest\nif TYPE_CHECKING:\n    from kachelib.index import I\n",
        kachelib__key="try:\n    import kachelib.entry\nexcept ImportError:\n    pass\n",
        kachelib__entry="",
        kachelib__compile="",
        kachelib__index="",
        kachelib__cli="",
    )
    first, behind = compiler.hot_groups(given_sources)
    assert first == ["kache", "kachelib", "kachelib.entry", "kachelib.key"]
    assert behind == {
        "wrapper": ["kachelib.store", "kachelib.wrapper"],
        "cc_wrapper": ["kachelib.cc", "kachelib.cc_wrapper"],
    }


def test_the_file_loads_as_hot_what_the_architecture_calls_hot() -> None:
    own = {
        build_zipapp.module_name(path): compiler.Source(text, path, path.endswith("/__init__.py"))
        for path, text in build_zipapp.own_sources().items()
    }
    first, behind = compiler.hot_groups(own)
    for door, hot in (("wrapper", HOT), ("cc_wrapper", HOT_C)):
        loaded = {name.partition(".")[2] for name in (*first, *behind[door])} - {""}
        assert loaded == hot


def test_a_blob_does_not_depend_on_reference_counts() -> None:
    text = b"x = ('some', 'names', {'a', 'b', 'c'})\ndef f(a=('some', 'names')): return a in {'q', 'r'}\n"
    code = compiler.cold_code(text, "f.py")
    held = [code.co_consts, *code.co_consts, code.co_names]
    assert compiler.stable(code) == compiler.stable(compiler.cold_code(text, "f.py")) and held


def test_a_region_holds_its_cold_modules_where_its_table_says() -> None:
    program = sources(
        kache="",
        kachelib_="",
        kachelib__wrapper="",
        kachelib__cc_wrapper="",
        kachelib__a="A = 1\n",
        kachelib__b="B = 2\n",
    )
    region, length = compiler.region(b"", program, {}, {}, "build", inline=False)
    _, modules, doors, cold, _, build = marshal.loads(region[:length])
    assert [name for name, _ in modules] == ["kache", "kachelib"] and build == "build"
    for door in ("wrapper", "cc_wrapper"):
        assert [name for name, _ in marshal.loads(doors[door])] == ["kachelib." + door]
        assert cold["kachelib." + door] == (door, 0, False)
    for name in ("a", "b"):
        offset, size, package = cold["kachelib." + name]
        names: Dict[str, object] = {}
        exec(marshal.loads(zlib.decompress(region[length + offset : length + offset + size])), names)
        assert names[name.upper()] == {"a": 1, "b": 2}[name] and not package
    inline, inline_length = compiler.region(b"", program, {}, {}, "build", inline=True)
    assert len(inline) == inline_length and isinstance(marshal.loads(inline)[3]["kachelib.a"][0], bytes)


# The lock


@pytest.mark.parametrize(
    ("marker", "minors"),
    [
        ("", range(9, 15)),
        ("python_full_version < '3.10'", [9]),
        ("python_full_version >= '3.10'", range(10, 15)),
        ("python_version >= '3.10' and python_full_version < '3.12'", [10, 11]),
    ],
)
def test_markers_are_judged_for_the_python_that_is_meant(marker: str, minors: List[int]) -> None:
    assert [minor for minor in parts.MINORS if wheels.holds(marker, minor)] == list(minors)


def test_a_marker_that_is_not_understood_is_not_guessed() -> None:
    with pytest.raises(wheels.Problem, match="sys_platform"):
        wheels.holds("sys_platform == 'linux'", 11)


def test_the_lock_names_each_package_once_for_every_python() -> None:
    wanted = {"blake3", "zstandard", *parts.VENDORED}
    for minor in parts.MINORS:
        pins = wheels.pins_for(sorted(wanted), minor)
        assert sorted(pin.name for pin in pins) == sorted(wanted)
        assert all(pin.hashes for pin in pins)
    assert [pin.name for pin in wheels.pins_for(["tomli"], 10)] == ["tomli"] and not wheels.pins_for(["tomli"], 11)


def test_a_line_of_the_lock_that_is_not_understood_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(wheels, "LOCK", lock)
    lock.write_text("# only hashes count\nblake3==1.0.0\n")
    with pytest.raises(wheels.Problem, match="blake3"):
        wheels.read_lock()


def test_a_wheel_that_is_not_the_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "BUILD", tmp_path)
    pins = [wheels.Pin("six", "1.0", "", ("0" * 64,))]
    with pytest.raises(wheels.Problem):
        monkeypatch.setattr(wheels, "download", lambda pins, options, name, directory: directory.mkdir(parents=True))
        wheels.wheels(pins, [], "x")
    (directory,) = (tmp_path / "wheels").iterdir()
    (directory / "six-1.0-py3-none-any.whl").write_bytes(b"not this")
    with pytest.raises(wheels.Problem, match="not what the lock names"):
        wheels.wheels(pins, [], "x")


# Native modules


def test_a_distributions_wheels_are_taken_by_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_given", None)
    wheels.take_from(tmp_path)
    pins = [wheels.Pin("python-dateutil", "1", "", ("0" * 64,))]
    with pytest.raises(wheels.Problem, match="holds 0 wheels of python-dateutil"):
        wheels.wheels(pins, [], "x")
    (tmp_path / "python_dateutil-2.9-py3-none-any.whl").touch()
    assert [path.name for path in wheels.wheels(pins, [], "x")] == ["python_dateutil-2.9-py3-none-any.whl"]
    (tmp_path / "python_dateutil-3.0-py3-none-any.whl").touch()
    with pytest.raises(wheels.Problem, match="holds 2 wheels"):
        wheels.wheels(pins, [], "x")


def test_the_interpreter_in_the_header_is_one_that_a_shell_takes_as_it_is() -> None:
    named = build_zipapp.header("", "/nix/store/x/bin/python3")
    assert b"_kache_python=${KACHE_PYTHON-/nix/store/x/bin/python3}\n" in named
    assert b"_kache_python=${KACHE_PYTHON-}\n" in build_zipapp.header("")
    with pytest.raises(wheels.Problem, match="--default-python"):
        build_zipapp.header("", "/a b; rm -rf x")


def test_a_library_without_sections_still_loads(tmp_path: Path) -> None:
    import blake3

    (library,) = (path for path in Path(str(blake3.__file__)).parent.glob("blake3.*") if path.suffix == ".so")
    data = library.read_bytes()
    stripped = parts.without_sections(data)
    if data[:4] != b"\x7fELF":
        assert stripped == data
        return
    assert len(stripped) < len(data)
    assert struct.unpack_from("<Q", stripped, 0x28) == (0,) and struct.unpack_from("<HHH", stripped, 0x3A) == (0, 0, 0)
    (tmp_path / library.name).write_bytes(stripped)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import blake3; assert blake3.__file__.startswith(sys.argv[1]);"
        "assert blake3.blake3(b'').hexdigest().startswith('af1349b9f5f9a1a6')"
    )
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-I", "-c", program, str(tmp_path)) == 0


def test_what_is_no_elf_stays_as_it_is() -> None:
    for data in (b"", b"\xcf\xfa\xed\xfe rest", b"\x7fELF\x01\x01 of 32 bits"):
        assert parts.without_sections(data) == data


@pytest.mark.parametrize(
    ("file", "platform", "machine", "wanted"),
    [
        ("b.cpython-311-x86_64-linux-gnu.so", "manylinux2014_x86_64", "x86_64", [".cpython-311-x86_64-linux-gnu.so"]),
        (
            "b.cpython-311-x86_64-linux-musl.so",
            "musllinux_1_1_x86_64",
            "x86_64",
            [".cpython-311-x86_64-linux-musl.so", ".cpython-311-x86_64-linux-gnu.somusl"],
        ),
        (
            "b.cpython-39-aarch64-linux-gnu.so",
            "musllinux_1_1_aarch64",
            "aarch64",
            [".cpython-39-aarch64-linux-musl.so", ".cpython-39-aarch64-linux-gnu.somusl"],
        ),
        ("b.cpython-313-darwin.so", "macosx_11_0_arm64", "arm64", [".cpython-313-darwin.soarm64"]),
    ],
)
def test_the_tags_of_a_wheel_are_those_the_launcher_asks_for(
    file: str, platform: str, machine: str, wanted: List[str]
) -> None:
    assert parts.tags(file, platform, machine) == wanted


def test_the_running_interpreter_asks_for_its_own_tag() -> None:
    import _imp

    assert boot.native_tags()[0].startswith(_imp.extension_suffixes()[0])


# The file


def test_the_same_bytes_lie_in_the_file_once() -> None:
    layout = build_zipapp.Layout()
    assert layout.add(b"one") == layout.add(b"one") == build_zipapp.HEADER_SIZE
    assert layout.add(b"two") == build_zipapp.HEADER_SIZE + 3 and b"".join(layout.parts) == b"onetwo"


def test_the_header_has_one_length_and_no_quote_that_ends_the_stub() -> None:
    assert len(build_zipapp.header("pass\n")) == build_zipapp.HEADER_SIZE
    for stub in ("print('x')", "#" * build_zipapp.HEADER_SIZE):
        with pytest.raises(wheels.Problem):
            build_zipapp.header(stub)


def test_botocore_keeps_the_services_that_lead_to_s3_and_no_other() -> None:
    kept = [
        "boto3/session.py",
        "botocore/data/s3/2006-03-01/service-2.json.gz",
        "botocore/data/partitions.json",
        "botocore/cacert.pem",
        "boto3-1.0.dist-info/LICENSE",
        "urllib3-1.0.dist-info/licenses/LICENSE.txt",
    ]
    left_out = [
        "botocore/data/ec2/2016-11-15/service-2.json.gz",
        "botocore/data/s3/2006-03-01/examples-1.json",
        "boto3/examples/s3.rst",
        "boto3-1.0.dist-info/RECORD",
        "dateutil/zoneinfo/dateutil-zoneinfo.tar.gz",
        "boto3/py.typed",
    ]
    assert [name for name in kept + left_out if parts.wanted_of_wheel(name)] == kept


def test_a_vendored_set_is_whole_with_what_all_sets_share(dist_kache: Path) -> None:
    sets: Dict[str, Dict[str, bytes]] = {}
    with zipfile.ZipFile(dist_kache) as archive:
        for path in archive.namelist():
            if path.startswith("vendor/"):
                _, folder, name = path.split("/", 2)
                sets.setdefault(folder, {})[name] = archive.read(path)
    every = sets.pop("every", {})
    assert sets and (len(every) > 100 or len(sets) == 1)
    for folder, files in sets.items():
        assert not set(files) & set(every)
        content = repr(sorted({**files, **every}.items())).encode()
        assert folder.endswith("-" + hashlib.sha256(content).hexdigest()[:16])


def test_no_vendored_module_imports_one_that_is_left_out(dist_kache: Path) -> None:
    asked = set()
    with zipfile.ZipFile(dist_kache) as archive:
        for path in archive.namelist():
            if path.startswith("vendor/") and path.endswith(".py"):
                name = path.split("/", 2)[2]
                asked |= {(name, wanted) for wanted in imported(name, archive.read(path))}
    assert len(asked) > 1000
    left_out = sorted((name, wanted) for name, wanted in asked if parts.UNUSED.match(wanted + ".py"))
    # for browsers only
    assert [each for each in left_out if each[1].partition("/emscripten")[0] != "urllib3/contrib"] == []


def imported(path: str, text: bytes) -> Iterator[str]:
    """What may be a module that the one at ``path`` imports or names in a string, as paths without an ending."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (each.name.replace(".", "/") for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.split("/")[: -node.level] if node.level else []
            base = "/".join([*above, *(node.module or "").split(".")]).rstrip("/")
            yield from (base, *[base + "/" + each.name for each in node.names])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            # boto3 says so what it loads late
            yield node.value.replace(".", "/")


# What the launcher trusts on disk


def test_a_file_is_trusted_by_kind_owner_mode_and_size(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    file.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert boot.is_ours(str(file), 5)
    assert not boot.is_ours(str(file), 4) and not boot.is_ours(str(file), -1)
    assert not boot.is_ours(str(link), 5) and not boot.is_ours(str(tmp_path / "none"), 5)
    for mode in (0o664, 0o646):
        file.chmod(mode)
        assert not boot.is_ours(str(file), 5)
    tmp_path.chmod(0o755)
    assert boot.is_ours(str(tmp_path), -1)
    tmp_path.chmod(0o1777)
    assert not boot.is_ours(str(tmp_path), -1)
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    file.chmod(0o600)
    os.chown(file, 12345, 12345)
    assert not boot.is_ours(str(file), 5)


def test_a_directory_is_made_with_its_parents_and_for_oneself(tmp_path: Path) -> None:
    boot.make_directory(str(tmp_path / "a/b/c"))
    boot.make_directory(str(tmp_path / "a/b/c"))
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere/at/all")
    for path in ("dangling/x", "dangling/x/y"):
        with pytest.raises(OSError):
            boot.make_directory(str(tmp_path / path))


def test_a_file_is_written_whole_or_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "folder" / "inner").mkdir(parents=True)
    boot.write_private(str(place / "file"), b"one")
    boot.write_private(str(place / "file"), b"two")
    assert (place / "file").read_bytes() == b"two"
    with pytest.raises(OSError):
        boot.write_private(str(place / "folder"), b"three")
    assert sorted(path.name for path in place.iterdir()) == ["file", "folder"]


def test_the_runtime_directories_are_absolute_and_end_with_one_for_each_user(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = "Library/Caches" if sys.platform == "darwin" else ".cache"
    last = f"/tmp/kache-{os.geteuid()}"
    for environ, wanted in (
        ({}, [last]),
        ({b"HOME": b"", b"XDG_CACHE_HOME": b"relative"}, [last]),
        ({b"HOME": b"/h\xff/"}, [f"/h\udcff/{cache}/kache-runtime", last]),
        (
            {b"HOME": b"/h", b"XDG_CACHE_HOME": b"/c", b"XDG_RUNTIME_DIR": b"/r"},
            ["/c/kache-runtime", f"/h/{cache}/kache-runtime", "/r/kache-runtime", last],
        ),
    ):
        monkeypatch.setattr(posix, "environ", environ)
        assert list(boot.runtime_directories()) == wanted


@given(st.dictionaries(st.binary(min_size=1), st.binary()), st.dictionaries(st.binary(min_size=1), st.binary()))
def test_an_environment_survives_its_way_through_the_shell(
    caller: Dict[bytes, bytes], shell: Dict[bytes, bytes]
) -> None:
    """As header.sh packs it; \\1 in a value is the one byte that is taken for another."""

    def possible(environ: Dict[bytes, bytes]) -> Dict[bytes, bytes]:
        return {
            name: value.replace(b"\1", b"")
            for name, value in environ.items()
            if not {b"\0", b"\1", b"\n", b"="} & {bytes([byte]) for byte in name} and b"\0" not in value
        }

    wanted = possible(caller)
    lines = b"".join(name + b"=" + value.replace(b"\n", b"\1") + b"\n" for name, value in wanted.items())
    before, put, unset = dict(posix.environ), posix.putenv, posix.unsetenv
    posix.environ.clear()
    posix.environ.update(possible(shell))
    posix.putenv = lambda name, value: None
    posix.unsetenv = lambda name: None
    try:
        boot.restore_environment("e" + lines.decode("utf-8", "surrogateescape"))
        assert posix.environ == wanted
    finally:
        posix.putenv, posix.unsetenv = put, unset
        posix.environ.clear()
        posix.environ.update(before)


COMPILES = (
    *(f"{name} x" for name in ("rustc", "/x/bin/rustc", "clippy-driver", "rustc-1.95", "rustc.real", "./rustc")),
    "clippy-driver rustc --crate-name x",
    "clippy-driver rustc - --crate-name ___",
    "wrapper rustc -vV",
    "wrapper /x/rustc --crate-name x --edition=2021",
    "/x/wrapper /x/my-compiler --crate-name x",
    # what the cc crate asks of RUSTC_WRAPPER
    *(f"{name} -O0 -c x.c" for name in ("cc", "gcc", "c++", "clang++-15", "x86_64-linux-gnu-gcc-12", "/usr/bin/cc")),
)
COMMANDS = (
    *("", "list", "--version", "cargo rustc", "list rustc", "why-miss rustc-hash", "list rustc_version --sort name"),
    *("list rustc --json", "purge --crate-name rustc", "purge --crate-name rustc-hash", "bench /x/rustc"),
)


def test_the_front_door_knows_a_compiler_by_its_name() -> None:
    for line in COMPILES:
        assert kache.compiler_call(line.split()), line
    for line in COMMANDS:
        assert not kache.compiler_call(line.split()), line


@given(st.lists(st.sampled_from(sorted({word for line in COMPILES + COMMANDS for word in line.split()})), max_size=5))
def test_the_last_resort_knows_a_compiler_by_the_same_rule(words: List[str]) -> None:
    assert slow.is_compiler_call(words) == bool(kache.compiler_call(words))


def test_the_front_door_is_small() -> None:
    assert len((REPOSITORY / "kache.py").read_text().splitlines()) <= 40
