"""Root file systems for one program: a directory with a few things of this machine in it, read-only, without a network.

Owns how they are put together, mounted and entered. Needs root; the mounts are undone when the program ends, for they
lie in a mount namespace of its own.
"""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

# What a shell and any program find in every image.
DEVICES = ("null", "zero", "urandom")

# What is there with every glibc: its own parts, and the unwinder that pthread_exit asks for.
GLIBC = ("libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6", "libutil.so.1")

# What a linker is given that makes an executable; some of it is empty, or not there, with a newer glibc.
STARTUP = (
    *"Scrt1.o crt1.o crti.o crtn.o libc.so libc.so.6 libc_nonshared.a libm.so libmvec.so.1".split(),
    *"libutil.a librt.a libpthread.a libdl.a".split(),
)

Done = subprocess.CompletedProcess[str]


@dataclass
class Root:
    """One of them. place: where it is put together; work: what is its /job, which alone can be written, besides /tmp
    (noexec). binds: path inside -> path of this machine."""

    place: Path
    work: Path
    binds: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "lib", "lib64"):
            (self.place / "usr" / name).mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(self.place / name):
                (self.place / name).symlink_to(f"usr/{name}")
        for name in ("dev", "proc", "tmp", "job", "opt"):
            (self.place / name).mkdir(exist_ok=True)
        for name in DEVICES:
            if not (self.place / "dev" / name).exists():
                (self.place / "dev" / name).touch()
        self.work.mkdir(exist_ok=True)
        self.work.chmod(0o777)

    def add(self, path: str, inside: str = "") -> None:
        """Show a file or directory of this machine, read-only, at the same path or another one."""
        inside = inside or path
        shown = self.place / inside.lstrip("/")
        if Path(path).is_dir():
            shown.mkdir(parents=True, exist_ok=True)
        else:
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.touch()
        self.binds[inside] = path

    def copy(self, program: str, inside: str = "") -> None:
        """Put a file there; a program with the libraries that it is linked with."""
        for path in (program, *libraries(program)):
            target = self.place / (inside if inside and path == program else path).lstrip("/")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)

    def open_work(self) -> None:
        """Let anybody write what is in /job by now."""
        subprocess.run(["chmod", "-R", "a+rwX", str(self.work)], check=True)

    def run(self, command: Sequence[str], env: Mapping[str, str], uid: int, writable: bool = False) -> Done:
        """Run a command inside as ``uid``, with no variables but ``env``. writable: as while an image is made."""
        place = shlex.quote(str(self.place))
        lines = ["set -e", "mount --make-rprivate /", f"mount --bind {place} {place}"]
        for inside, path in self.binds.items():
            shown = shlex.quote(str(self.place) + inside)
            lines += [f"mount --bind {shlex.quote(path)} {shown}", f"mount -o remount,bind,ro {shown}"]
        lines += [f"mount --bind /dev/{name} {place}/dev/{name}" for name in DEVICES]
        lines += [
            f"mount -t proc proc {place}/proc",
            f"mount -t tmpfs -o noexec,mode=1777 tmp {place}/tmp",
            f"mount --bind {shlex.quote(str(self.work))} {place}/job",
            f"mount -o remount,bind,{'rw' if writable else 'ro'} {place}",
            # env before chroot: there may be none inside
            f"exec env -i {shlex.join(f'{name}={value}' for name, value in env.items())} "
            f"/usr/sbin/chroot --userspec={uid}:{uid} --groups= {place} {shlex.join(command)}",
        ]
        return subprocess.run(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(lines)],
            capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL, timeout=600,
        )  # fmt: skip


def libraries(program: str) -> List[str]:
    """The shared libraries that a program or library names, and its loader, as ldd finds them."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+)(?= \(0x)", said)


def interpreters() -> Dict[str, str]:
    """Every CPython from 3.9 on that pyenv or the system has: name -> its program."""
    home = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser())
    found = sorted(home.glob("versions/3.*/bin/python3"))
    programs = [*map(str, found), *(f"/usr/bin/python3.{minor}" for minor in range(9, 15))]
    named: Dict[str, str] = {}
    for program in programs:
        if os.access(program, os.X_OK):
            code = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name)"
            said = subprocess.run([program, "-I", "-S", "-c", code], capture_output=True, text=True, check=False).stdout
            version, _, kind = said.strip().partition(" ")
            if kind == "cpython" and tuple(map(int, version.split("."))) >= (3, 9):
                named[f"{version} of {'the system' if program.startswith('/usr') else 'pyenv'}"] = program
    return named


def ends(found: Mapping[str, str]) -> List[str]:
    """The oldest and the newest of the interpreters."""
    names = sorted(found, key=lambda name: [int(part) for part in name.split(" ")[0].split(".")])
    return [names[0], names[-1]] if names else []


def gcc_says(option: str, name: str) -> str:
    """The path that ``gcc -print-...`` gives, without dots; "" where gcc does not know one."""
    said = subprocess.run(["gcc", f"{option}={name}"], capture_output=True, text=True, check=True).stdout.strip()
    return os.path.normpath(said) if said.startswith("/") else ""


def add_python(root: Root, program: str) -> str:
    """Show an interpreter and all that belongs to it, and a shell; returns its path inside."""
    real = os.path.realpath(program)
    code = "import sys, sysconfig; print(sys.base_prefix); print(sysconfig.get_path('stdlib'))"
    said = subprocess.run([program, "-I", "-S", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    root.copy("/bin/sh")
    root.copy(real)
    for library in GLIBC:
        root.copy(gcc_says("-print-file-name", library))
    root.add(said[1] if said[0] == "/usr" else said[0])
    for module in Path(said[1], "lib-dynload").glob("*.so"):
        for library in libraries(str(module)):
            root.copy(library)
    return real


def add_rust(root: Root, sysroot: str) -> None:
    """Show a toolchain as /rust, and put beside it what of gcc and glibc it links with; no other program."""
    root.add(sysroot, "/rust")
    for program in (*Path(sysroot, "bin").iterdir(), *Path(sysroot, "lib").glob("*.so")):
        for library in libraries(str(program)):
            # its own are shown already
            if not library.startswith(sysroot):
                root.copy(library)
    for tool in ("cc", "ld"):
        root.copy(os.path.realpath(shutil.which(tool) or tool), f"/usr/bin/{tool}")
    for library in libraries(gcc_says("-print-prog-name", "collect2")):
        root.copy(library)
    root.add(os.path.dirname(gcc_says("-print-file-name", "libgcc.a")))
    for name in STARTUP:
        path = gcc_says("-print-file-name", name)
        if path:
            root.copy(path)
