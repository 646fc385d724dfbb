"""From the stub to kache: environment, native modules, the program's own modules; then kache.main().

Runs as the module ``kache_launcher``. Owns where native modules lie on disk and how code is found in the
file. Knows nothing of what the program does, only whether a command line is a compiler call (kache.py says so).

    parts    (this code, modules, doors, cold, natives, build): what the stub read for this interpreter
    modules  ((name, code), ...) of the modules that every call loads, each after those it imports
    doors    {what kache.compiler_call() says: the same, marshalled, of what that call loads besides}
    cold     {name: (offset from File.base, packed length, is package)}; where it is not packed, the offset is ~offset;
             or {name: (bytes, 0, is package)}; or, of a module behind a door, {name: (door, 0, is package)}; or, of one
             that lies in the file as text, {name: ((offset from the file's start, its path), packed length, False)}
    natives  {(name, tag): (directory, main file, ((file, offset, packed length, length), ...))}, main file last
    tag      the interpreter's suffix of extension modules and what native_tags() says
    build    the name of this build: hex digits
"""

import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any, Dict, Iterator, List, NoReturn, Optional, Tuple

    Native = Tuple[str, str, Tuple[Tuple[str, int, int, int], ...]]
    Natives = Dict[Tuple[str, str], Native]
    Modules = Tuple[Tuple[str, CodeType], ...]
    Parts = Tuple[CodeType, Modules, Dict[str, bytes], Dict[str, Any], Natives, str]


class File:
    """dist/kache, as it was when it was started."""

    __slots__ = ("base", "build", "fd", "identity", "path")

    def __init__(self, path: str, fd: int, base: int, build: str) -> None:
        """``base``: where this interpreter's cold code begins, 0 where it was compiled just now."""
        self.path = path if path.startswith("/") else posix.getcwd() + "/" + path
        self.fd = fd
        self.identity = posix.fstat(fd)[1:3]
        self.base = base
        self.build = build

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file, also where somebody closed the descriptor. Raises OSError where it was replaced."""
        try:
            if posix.fstat(self.fd)[1:3] == self.identity:
                return posix.pread(self.fd, length, offset)
        except OSError:
            pass
        self.fd = posix.open(self.path, posix.O_RDONLY)
        if posix.fstat(self.fd)[1:3] != self.identity:
            raise OSError(self.path + " was replaced while it ran")
        return posix.pread(self.fd, length, offset)


FILE: "Optional[File]" = None  # what start() was given


def restore_environment(word: str) -> None:
    """Undo what the way here did to the environment; header.sh has the grammar of ``word``."""
    environ = posix.environ
    if word[:1] == "e":
        given = {}
        for line in word[1:].encode("utf-8", "surrogateescape").split(b"\n"):
            name, equals, value = line.partition(b"=")
            if name and equals:
                given[name] = value.replace(b"\1", b"\n")
        for name in environ.keys() - given.keys():
            posix.unsetenv(name)
        for name, value in given.items():
            if environ.get(name) != value:
                posix.putenv(name, value)
        environ.clear()
        environ.update(given)
    elif word:
        value = word[1:].encode("utf-8", "surrogateescape")
        if environ.get(b"LC_CTYPE") != value:
            environ[b"LC_CTYPE"] = value
            posix.putenv(b"LC_CTYPE", value)
    elif b"LC_CTYPE" in environ:
        del environ[b"LC_CTYPE"]
        posix.unsetenv(b"LC_CTYPE")


# Native modules


def runtime_directories() -> "Iterator[str]":
    """Where native modules and compiled code may be kept, best first. None may exist."""
    environ = posix.environ
    cache = "Library/Caches" if sys.platform == "darwin" else ".cache"
    for name, below in ((b"XDG_CACHE_HOME", ""), (b"HOME", cache + "/"), (b"XDG_RUNTIME_DIR", "")):
        value = environ.get(name, b"")
        if value.startswith(b"/"):
            yield value.decode("utf-8", "surrogateescape").rstrip("/") + "/" + below + "kache-runtime"
    yield f"/tmp/kache-{posix.geteuid()}"


def is_ours(path: str, size: int) -> bool:
    """Whether only this user, or root, can have written ``path``; a file of ``size`` bytes, a directory where -1."""
    try:
        state = posix.lstat(path)
    except (OSError, ValueError):
        return False
    mode = state[0]
    if state[4] not in (0, posix.geteuid()) or mode & 0o022:
        return False
    return mode & 0o170000 == 0o040000 if size < 0 else mode & 0o170000 == 0o100000 and state[6] == size


def make_directory(path: str) -> None:
    """Like mkdir -p, but private. Raises OSError."""
    try:
        try:
            posix.mkdir(path, 0o700)
        except FileNotFoundError:
            make_directory(path.rpartition("/")[0])
            posix.mkdir(path, 0o700)
    except FileExistsError:
        pass


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[posix.write(fd, view) :]


def write_private(path: str, data: bytes) -> None:
    """Put ``path`` there whole or not at all; many processes may do so at once. Raises OSError."""
    temporary = f"{path}.{posix.getpid()}.{posix.urandom(6).hex()}"
    fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, 0o600)
    try:
        try:
            write_all(fd, data)
            posix.fsync(fd)
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except BaseException:
        try:
            posix.unlink(temporary)
        except OSError:
            pass
        raise


def native_tags() -> "List[str]":
    """The keys under which this interpreter's extension modules may be found, best first.

    Suffixes do not name the architecture on macOS, nor the libc on Linux before Python 3.11.
    """
    from _imp import extension_suffixes

    tag = extension_suffixes()[0]
    if sys.platform == "darwin":
        return [tag + posix.uname()[4]]
    return [tag, tag + "musl"] if tag.endswith("linux-gnu.so") else [tag]


def runs_on_musl() -> bool:
    try:
        fd = posix.open("/proc/self/maps", posix.O_RDONLY)
    except OSError:
        return False
    try:
        while True:
            part = posix.read(fd, 65536)
            if not part or b"ld-musl-" in part:
                return bool(part)
    finally:
        posix.close(fd)


def load_native(name: str, path: str) -> "ModuleType":
    """The extension module in ``path``; the last part of ``name`` names its initialiser. Raises ImportError."""
    from _imp import create_dynamic, exec_dynamic

    module = create_dynamic(ModuleSpec(name, None, origin=path))
    exec_dynamic(module)
    module.__file__ = path
    sys.modules[name] = module
    return module


def unpack(file: File, native: "Native", directory: str) -> bytes:
    """Write a native module's files below ``directory``, nothing where "", and return its own bytes. Raises OSError."""
    import zlib

    data = b""
    for relative, offset, packed, length in native[2]:
        data = zlib.decompress(file.read(offset, packed))
        if len(data) != length:
            raise OSError(file.path + " is damaged")
        path = directory + "/" + relative
        if directory and not is_ours(path, length):
            make_directory(path.rpartition("/")[0])
            write_private(path, data)
    return data


def native(file: File, name: str, natives: "Natives") -> "ModuleType":
    """Import an extension module that the file carries. Raises ImportError where nothing helps."""
    found = [natives[name, tag] for tag in native_tags() if (name, tag) in natives]
    if not found:
        raise ImportError(f"{file.path} has no {name} for {native_tags()[0]}")
    problems = []
    for directory in runtime_directories():
        try:
            for candidate in found:
                path = directory + "/" + candidate[0] + "/" + candidate[1]
                if is_ours(path, candidate[2][-1][3]) and is_ours(directory, -1):
                    return load_native(name, path)
            return place_native(file, name, found, directory)
        except (ImportError, OSError) as error:
            problems.append(str(error))
    try:
        return load_from_memory(file, name, found)
    except (ImportError, OSError, AttributeError) as error:
        problems.append(str(error))
    raise ImportError("; ".join(problems))


def place_native(file: File, name: str, found: "List[Native]", directory: str) -> "ModuleType":
    """Unpack an extension module into ``directory`` and load it. Raises OSError, ImportError."""
    chosen = found[-1 if runs_on_musl() else 0]
    make_directory(directory)
    if not is_ours(directory, -1):
        raise OSError(directory + " can be written by others")
    unpack(file, chosen, directory + "/" + chosen[0])
    return load_native(name, directory + "/" + chosen[0] + "/" + chosen[1])


def load_from_memory(file: File, name: str, found: "List[Native]") -> "ModuleType":
    """Load an extension module where no directory will do. Raises OSError, ImportError; AttributeError off Linux."""
    chosen = found[-1 if runs_on_musl() else 0]
    if len(chosen[2]) > 1:
        raise ImportError(name + " needs a library beside it")
    data = unpack(file, chosen, "")
    # The descriptor stays open: the loader knows what it loaded by name, and the next one must have another.
    fd = posix.memfd_create(name, 1)  # type: ignore[attr-defined,unused-ignore]
    write_all(fd, data)
    return load_native(name, f"/proc/self/fd/{fd}")


# The program's modules


class Cold:
    """Finds the modules that are not loaded at the start; finder and loader in one.

    ``zstandard`` is its extension module alone: the package around it imports for longer than a hit takes.
    """

    __slots__ = ("doors", "file", "natives", "table")

    def __init__(self, file: File, table: "Dict[str, Any]", doors: "Dict[str, bytes]", natives: "Natives") -> None:
        self.file = file
        self.doors = doors
        self.table = table
        self.natives = natives

    def find_spec(self, name: str, path: object = None, target: object = None) -> "Optional[ModuleSpec]":
        if name in self.table or name == "zstandard":
            package = name == "zstandard" or self.table[name][2]
            return ModuleSpec(name, self, origin=self.file.path, is_package=package)  # type: ignore[arg-type,unused-ignore]
        return None

    def create_module(self, spec: "ModuleSpec") -> None:
        return None

    def exec_module(self, module: "ModuleType") -> None:
        import marshal

        if module.__name__ == "zstandard":
            module.__dict__["backend_c"] = backend = native(self.file, "zstandard.backend_c", self.natives)
            module.__dict__.update((name, backend.__dict__[name]) for name in backend.__dict__ if name[:2] != "__")
            return
        where, length, _ = self.table[module.__name__]
        if isinstance(where, str):
            exec(dict(marshal.loads(self.doors[where]))[module.__name__], module.__dict__)
            return
        if isinstance(where, tuple):
            import zlib

            text = zlib.decompress(self.file.read(where[0], length))
            exec(compile(text, where[1], "exec", 0, True, 2), module.__dict__)
            return
        if isinstance(where, bytes):
            data = where
        elif where < 0:
            data = self.file.read(self.file.base + ~where, length)
        else:
            import zlib

            data = zlib.decompress(self.file.read(self.file.base + where, length))
        exec(marshal.loads(data), module.__dict__)


def load_modules(modules: "Modules") -> None:
    """Run the hot modules, in the builder's order."""
    new = type(sys)
    known = sys.modules
    for name, code in modules:
        module = known[name] = new(name)
        names = module.__dict__
        package, _, last = name.rpartition(".")
        if package:
            names["__package__"] = package
            exec(code, names)
            setattr(known[package], last, module)
        else:
            if name == "kachelib":
                names["__package__"] = name
                names["__path__"] = []
            exec(code, names)


def start(words: "List[str]", fd: int, base: int, parts: "Parts") -> "NoReturn":
    """Become kache. Raises where it cannot start; the caller then runs the compiler, or says why not.

    ``words``: the path of the file, what header.sh says of the environment, the caller's arguments. ``fd`` and
    ``base`` are File's.
    """
    global FILE  # noqa: PLW0603
    _, modules, doors, cold, natives, build = parts
    file = FILE = File(words[0], fd, base, build)
    restore_environment(words[1])
    sys.argv = [file.path, *words[2:]]
    sys.meta_path.append(Cold(file, cold, doors, natives))  # type: ignore[arg-type,unused-ignore]
    native(file, "blake3", natives)
    load_modules(modules)
    door = sys.modules["kache"].compiler_call(sys.argv[1:])
    if door:
        import marshal

        load_modules(marshal.loads(doors[door]))
    finish(run(door))


def run(door: str) -> int:
    """kache's exit status. For a compiler call an exception goes up, and the compiler is run."""
    kache = sys.modules["kache"]
    if door:
        return kache.main()  # type: ignore[no-any-return]
    import gc

    gc.enable()
    try:
        return kache.main()  # type: ignore[no-any-return]
    except SystemExit as request:
        if isinstance(request.code, str):
            print(request.code, file=sys.stderr)
            return 1
        return request.code or 0
    except KeyboardInterrupt:
        from _signal import SIG_DFL, SIGINT, signal  # type: ignore[import-not-found]

        signal(SIGINT, SIG_DFL)
        posix.kill(posix.getpid(), SIGINT)
        return 130
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type,unused-ignore]
        return 1


def finish(status: int) -> "NoReturn":
    """Leave without the interpreter's own goodbye, which costs a fifth of its start."""
    for stream in (sys.stdout, sys.stderr):
        # None where the caller closed it
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                status = status or 1
    posix._exit(status)
