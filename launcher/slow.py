"""What the stub runs where the quick start failed: an interpreter that no blob was made for, or trouble.

Owns the last word: for a compiler call the real compiler, untouched; else one line. For a Python that is new
enough but unknown it compiles the program from the sources in the zip, once, and keeps that beside the native
modules. Must be readable by every Python from 2.7 on.

The builder sets the names in capitals:

    NATIVES  as in boot.py, for every interpreter
    BUILD    the name of this build
    BOOT     (offset, length) of boot.py's source
    VERSION  what --version prints
"""

# ruff: noqa: RUF005, UP036

import os
import sys

NATIVES = {}
BUILD = ""
BOOT = (0, 0)
VERSION = ""


def environment(word):
    """The environment as the caller gave it; header.sh has the grammar of ``word``."""
    given = dict(os.environ)
    if word[:1] == "e":
        lines = [line.partition("=") for line in word[1:].split("\n")]
        given = {name: value.replace("\1", "\n") for name, equals, value in lines if name and equals}
    elif word:
        given["LC_CTYPE"] = word[1:]
    else:
        given.pop("LC_CTYPE", None)
    return given


def run_compiler(arguments, word):
    """Become the compiler; Python ignores two signals and a child would inherit that."""
    import signal

    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(arguments[0], arguments, environment(word))
    except OSError as error:
        sys.stderr.write("kache: cannot run %s: %s\n" % (arguments[0], error.strerror))
        sys.stderr.flush()
        os._exit(127 if error.errno == 2 else 126)


def is_compiler_call(arguments):
    """The same rule as in kache.py, which may not be readable here."""
    words = arguments[:3] + ["", "", ""]
    name = words[0].rstrip("-.0123456789")
    c_compilers = ("cc", "c++", "g++", "clang", "clang++", "clang-cl")
    if "/" in name or name.startswith(("rustc", "clippy-driver")) or name.endswith(c_compilers):
        return True
    if words[0] == "-E" and words[1]:
        return True
    probes = ("-", "-vV", "-V", "--version")
    return os.path.basename(words[1]) == "rustc" and ("--crate-name" in arguments or words[2] in probes)


def tell_cargo(arguments, line):
    """One line on Cargo's own error output, when it asks about the target: what a compiler prints, Cargo keeps."""
    if " - --crate-name ___ " in " ".join(arguments):
        try:
            # not open(): that would look for the end of a pipe
            os.write(os.open("/proc/%d/fd/2" % os.getppid(), os.O_WRONLY | os.O_APPEND), line.encode("utf-8"))
        except OSError:
            pass


def give_up(arguments, word, reason):
    """End: the compiler where one was asked for, else one line."""
    line = "kache: " + reason.replace("\n", " ") + "; KACHE_PYTHON can name another Python\n"
    if is_compiler_call(arguments):
        tell_cargo(arguments, line)
        run_compiler(arguments, word)
    if arguments[:1] in (["--version"], ["-V"]):
        sys.stdout.write("kache " + VERSION + "\n")
        sys.stdout.flush()
        os._exit(0)
    sys.stderr.write(line)
    sys.stderr.flush()
    os._exit(1)


def load_launcher(fd):
    """boot.py's module, from source. Raises anything."""
    launcher = sys.modules["kache_launcher"] = type(sys)("kache_launcher")
    exec(compile(os.pread(fd, BOOT[1], BOOT[0]), "launcher/boot.py", "exec"), launcher.__dict__)
    return launcher


def kept_code(launcher, name):
    """What an earlier start compiled, None where there is none that may be trusted."""
    import marshal

    for directory in launcher.runtime_directories():
        kept = directory + "/" + name
        try:
            size = os.lstat(kept).st_size
            if launcher.is_ours(kept, size) and launcher.is_ours(directory, -1):
                with open(kept, "rb") as file:
                    return marshal.loads(file.read())
        except (OSError, EOFError, TypeError, ValueError):
            pass
    return None


def keep_code(launcher, name, blob):
    """Keep compiled code for the next start, where that is possible."""
    for directory in launcher.runtime_directories():
        try:
            launcher.make_directory(directory)
            if launcher.is_ours(directory, -1):
                launcher.write_private(directory + "/" + name, blob)
                return
        except OSError:
            pass


def start_unknown(path, word, arguments):
    """Run on an interpreter that the builder had none of. Raises anything."""
    import importlib.util
    import marshal

    fd = os.open(path, os.O_RDONLY)
    launcher = load_launcher(fd)
    name = "code-%s-%s" % (BUILD, importlib.util.MAGIC_NUMBER.hex())
    parts = kept_code(launcher, name)
    if parts is None:
        from zipimport import zipimporter

        zipped = zipimporter(path)
        compiler = {"__name__": "compiler"}
        exec(zipped.get_data("launcher/compiler.py"), compiler)
        blob = compiler["whole"](zipped, NATIVES, BUILD)
        keep_code(launcher, name, blob)
        parts = marshal.loads(blob)
    launcher.start([path, word] + arguments, fd, 0, parts)


def main(path, word, arguments):
    """Called while the exception that stopped the quick start is being handled."""
    problem = sys.exc_info()[1]
    if sys.version_info < (3, 9):
        version = ".".join(str(number) for number in sys.version_info[:3])
        give_up(arguments, word, "needs Python 3.9 or newer, this is %s (%s)" % (version, sys.executable))
    if "kache_launcher" not in sys.modules:
        try:
            start_unknown(path, word, arguments)
        except Exception as error:
            problem = error
    give_up(arguments, word, "cannot start: %s: %s" % (type(problem).__name__, problem))
