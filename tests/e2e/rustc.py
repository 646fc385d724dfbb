"""rustc called as Cargo calls it, through kache or without it, for tests that need no Cargo.

Owns the command line and the environment of one unit, and the fake tools that stand between kache and the real ones.
A unit costs a fifth of a second where a Cargo build costs one.
"""

import os
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from tests.world import Kache, Run, World

# as Cargo 1.95 asks for them
JSON = ("--error-format=json", "--json=diagnostic-rendered-ansi,artifacts,future-incompat")
ALL = "dep-info,metadata,link"
OUT = "target/debug/deps"
HASH = "0123456789abcdef"

Words = Union[str, Path]

WORD_OPTIONS = ("source", "kind", "emit", "out", "messages", "suffix", "compiler")


class Rustc:
    """``rustc(ws, "name", *more)`` compiles ``src/lib.rs`` of ``ws`` as the library ``name``, through kache.

    cwd: where rustc runs, as with Cargo the workspace root; ``package`` is the package's directory below it.
    Both default to ``ws``. ``wrapper=False`` runs the compiler itself, for comparison.
    """

    def __init__(self, world: World, kache: Kache) -> None:
        self.world = world
        self.kache = kache

    def __call__(
        self,
        ws: Path,
        name: str,
        *more: Words,
        package: str = "",
        wrapper: bool = True,
        env: Optional[Mapping[str, Optional[str]]] = None,
        **options: Any,
    ) -> Run:
        """Compile one unit. ``more`` are further arguments; other options as for ``words`` and ``World.run``."""
        given = {key: options.pop(key) for key in WORD_OPTIONS if key in options}
        words = self.words(ws, name, *more, package=package, **given)
        own = {**self.environment(ws / package, name), **(env or {})}
        return self.world.run([*([self.kache.path] if wrapper else []), *words], cwd=ws, env=own, **options)

    def words(
        self,
        ws: Path,
        name: str,
        *more: Words,
        source: str = "src/lib.rs",
        kind: str = "lib",
        emit: str = ALL,
        out: Words = OUT,
        package: str = "",
        messages: Sequence[str] = JSON,
        suffix: str = "-" + HASH,
        compiler: Sequence[Words] = ("rustc",),
    ) -> List[Words]:
        """The command line of the compile, without kache; its output directory is there afterwards."""
        directory = ws / out
        directory.mkdir(parents=True, exist_ok=True)
        words: List[Words] = [*compiler, "--crate-name", name, "--edition=2021", os.path.join(package, source)]
        words += [*messages, "--crate-type", kind, f"--emit={emit}", "-C", "debuginfo=0"]
        words += ["-C", f"metadata={HASH}", *(["-C", f"extra-filename={suffix}"] if suffix else [])]
        return [*words, "--out-dir", directory, "-L", f"dependency={directory}", *more]

    def environment(self, package: Path, name: str) -> Dict[str, Optional[str]]:
        """What Cargo tells a compile of this package."""
        return {
            "CARGO": "cargo",
            "CARGO_CRATE_NAME": name,
            "CARGO_MANIFEST_DIR": str(package),
            "CARGO_MANIFEST_PATH": str(package / "Cargo.toml"),
            "CARGO_PKG_NAME": name,
            "CARGO_PKG_VERSION": "0.1.0",
            "CARGO_PRIMARY_PACKAGE": "1",
        }

    def program(self, ws: Path, *more: Words, **options: Any) -> str:
        """Compile ``src/main.rs`` and return what the program prints."""
        options = {"source": "src/main.rs", "kind": "bin", "emit": "dep-info,link", **options}
        self(ws, "app", *more, **options).ok()
        return self.printed(ws, options.get("out", OUT), options.get("suffix", "-" + HASH))

    def printed(self, ws: Path, out: Words = OUT, suffix: str = "-" + HASH) -> str:
        """What the program that ``program`` compiled prints."""
        return self.world.run([ws / out / f"app{suffix}"]).ok().stdout


def result(run: Run) -> str:
    """The result of the one invocation that this run was."""
    assert len(run.events) == 1, f"one invocation, {len(run.events)} events: {run.events}\n{run.stderr}"
    return str(run.events[0]["result"])


def hit(run: Run) -> bool:
    """Whether the one invocation that this run was is a hit; it must have succeeded."""
    return result(run.ok()) == "local_hit"


def results(run: Run) -> List[str]:
    """The results of all invocations of this run but the passthroughs, sorted and without doubles."""
    return sorted({str(event["result"]) for event in run.events} - {"passthrough"})


def contents(directory: Path) -> Dict[str, bytes]:
    """Relative name -> content of every file below a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def library(world: World, where: Path, name: str, source: str, options: Sequence[str] = ("-c",)) -> Path:
    """Compile a C source into an archive ``lib<name>.a`` below ``where``; returns the archive."""
    where.mkdir(parents=True, exist_ok=True)
    (where / f"{name}.c").write_text(source)
    archive = where / f"lib{name}.a"
    world.run(["cc", *options, "-o", where / f"{name}.o", where / f"{name}.c"]).ok()
    archive.unlink(missing_ok=True)
    world.run(["ar", "crD", archive, where / f"{name}.o"]).ok()
    return archive


def script(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Spy:
    """A compiler in a toolchain of its own that does what a test says before or after the real one.

    ``path`` is the compiler. It is a C program and no script, for shells drop environment variables whose names they
    do not like. Each *compile* appends what it was given to a log; then it runs, with ``sh -c`` and the command line
    as its arguments, what ``does`` says: ``$REAL`` is the real compiler. Probes go to the real compiler unseen.
    """

    SOURCE = r"""
    #include <dirent.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    extern char **environ;

    static void copy(FILE *out, const char *name) {
        FILE *in = fopen(name, "r");
        for (int c; in && (c = getc(in)) != EOF;) putc(c, out);
        if (in) fclose(in);
    }

    int main(int argc, char **argv) {
        int probe = 1;
        for (int i = 1; i < argc; i++) if (!strncmp(argv[i], "--emit", 6)) probe = 0;
        for (int i = 1; i < argc; i++) if (!strcmp(argv[i], "-") || !strcmp(argv[i], "___")) probe = 1;
        if (probe) { argv[0] = (char *)REAL; execv(REAL, argv); return 127; }
        char name[4096];
        snprintf(name, sizeof name, "%s/%ld", LOG, (long)getpid());
        FILE *out = fopen(name, "w");
        if (!out) return 126;
        fprintf(out, "ppid %ld", (long)getppid());
        putc(0, out);
        for (int i = 0; i < argc; i++) { fprintf(out, "arg %s", argv[i]); putc(0, out); }
        for (char **e = environ; *e; e++) { fprintf(out, "env %s", *e); putc(0, out); }
        fprintf(out, "status "); copy(out, "/proc/self/status"); putc(0, out);
        DIR *fds = opendir("/proc/self/fd");
        for (struct dirent *d; (d = readdir(fds));) {
            if (d->d_name[0] == '.' || atoi(d->d_name) == dirfd(fds) || atoi(d->d_name) == fileno(out)) continue;
            fprintf(out, "fd %s", d->d_name); putc(0, out);
        }
        fclose(out);
        if (access(DOES, R_OK)) { argv[0] = (char *)REAL; execv(REAL, argv); return 127; }
        setenv("REAL", REAL, 1);
        char **shell = calloc(argc + 2, sizeof *shell);
        shell[0] = "sh"; shell[1] = (char *)DOES;
        for (int i = 1; i < argc; i++) shell[i + 1] = argv[i];
        execv("/bin/sh", shell);
        return 127;
    }
    """

    def __init__(self, world: World, sysroot: Path) -> None:
        self.world = world
        self.sysroot = sysroot
        base = world.root / "spy"
        self.path = base / "bin" / "rustc"
        self.log = base / "log"
        self._does = base / "does"
        self.log.mkdir(parents=True)
        self.path.parent.mkdir()
        source = base / "spy.c"
        source.write_text(self.SOURCE)
        real = shlex.quote(f'-DREAL="{sysroot}/bin/rustc"')
        words = f"cc -O0 -o {self.path} {source} {real} '-DLOG=\"{self.log}\"' '-DDOES=\"{self._does}\"'"
        subprocess.run(words, shell=True, check=True)

    def does(self, text: str) -> None:
        """From now on a compile runs this shell text instead; ``$REAL "$@"`` is the real compile."""
        self._does.write_text(text)

    def rests(self) -> None:
        """From now on a compile is just that."""
        self._does.unlink(missing_ok=True)

    def seen(self) -> "List[Seen]":
        """What the compiles so far were given, oldest first."""
        logs = sorted(self.log.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [Seen(int(path.name), path.read_bytes()) for path in logs]

    def forget(self) -> None:
        """Forget the compiles so far."""
        shutil.rmtree(self.log)
        self.log.mkdir()


class Seen:
    """What one compile was given."""

    def __init__(self, pid: int, log: bytes) -> None:
        self.pid = pid
        self.ppid = 0
        self.args: List[str] = []
        self.env: Dict[str, str] = {}
        self.fds: List[int] = []
        self.status: Dict[str, str] = {}
        for item in log.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            kind, _, value = item.partition(" ")
            if kind == "ppid":
                self.ppid = int(value)
            elif kind == "arg":
                self.args.append(value)
            elif kind == "env":
                name, _, text = value.partition("=")
                self.env[name] = text
            elif kind == "fd":
                self.fds.append(int(value))
            else:
                self.status = dict(line.split(":\t", 1) for line in value.splitlines() if ":\t" in line)


# Macros that do what no dep-info tells: list a directory and read a variable, or say where the package lies.
LOOKING = r"""
extern crate proc_macro;
use proc_macro::TokenStream;

fn argument(input: TokenStream) -> String {
    input.to_string().trim_matches('"').to_string()
}

#[proc_macro]
pub fn list(input: TokenStream) -> TokenStream {
    let base = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(argument(input));
    let mut found: Vec<String> = std::fs::read_dir(base)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| format!("{}={}", path.file_name().unwrap().to_str().unwrap(),
            std::fs::read_to_string(&path).unwrap_or_default().trim()))
        .collect();
    found.sort();
    format!("{:?}", found.join(" ")).parse().unwrap()
}

#[proc_macro]
pub fn variable(input: TokenStream) -> TokenStream {
    format!("{:?}", std::env::var(argument(input)).ok()).replace("Some(", "Some::<&str>(")
        .replace("None", "None::<&str>").parse().unwrap()
}

#[proc_macro]
pub fn length(_: TokenStream) -> TokenStream {
    "env!(\"CARGO_MANIFEST_DIR\").len()".parse().unwrap()
}
"""
