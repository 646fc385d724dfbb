"""What other projects add to the file, taken out of their wheels.

Owns which files of a wheel are wanted, and their form: native modules, for each platform and interpreter, without what
no loader reads; boto3 with the descriptions of the services that kache talks to; what signs, and what reads and changes
TOML.
"""

import hashlib
import json
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from requirements.wheels import BUILD, Pin, Problem, pins_for, wheels

MINORS = range(9, 15)  # of the Python versions that the lock is made for
# package -> (the name its extension module is imported by, its path in the wheel as far as the suffix)
NATIVE = {"blake3": ("blake3", "blake3/blake3"), "zstandard": ("zstandard.backend_c", "zstandard/backend_c")}
VENDORED = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
# Of pycryptodome what Ed25519 needs: modules, and native files that it loads by path.
CRYPTO = re.compile(
    r"Crypto/(?:__init__|Signature/(?:__init__|eddsa)|Hash/(?:__init__|SHA512|SHAKE256|keccak)"
    r"|Math/(?:__init__|Numbers|_Integer\w+)|PublicKey/(?:__init__|ECC|_curve|_ec_lib|_edwards|_point)"
    r"|Random/(?:__init__|random)|Util/(?:__init__|_bytes|_cpu_features|_file_system|_raw_api|asn1|number))\.py"
    r"|Crypto/(?:Hash/_SHA512|Hash/_keccak|Math/_nat\w*|PublicKey/_ed25519|Util/_cpuid_c)\.abi3\.so"
)
# Of these what only other systems, or other users of boto3's transfers, import.
UNUSED = re.compile(r"s3transfer/processpool\.py|urllib3/contrib/(?:emscripten/|_?securetransport|appengine|ntlmpool)")
# Services whose descriptions botocore keeps: S3, and those through which one signs in.
SERVICES = ("s3", "sts", "sso", "sso-oidc", "signin")
ENDPOINTS = ("s3", "sts", "portal.sso", "oidc", "signin")  # the same as endpoints.json calls them
PLATFORMS = {
    "manylinux-x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"),
    "manylinux-aarch64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64"),
    "musllinux-x86_64": ("musllinux_1_1_x86_64", "musllinux_1_2_x86_64"),
    "musllinux-aarch64": ("musllinux_1_1_aarch64", "musllinux_1_2_aarch64"),
    "macos-x86_64": ("macosx_11_0_x86_64",),
    "macos-arm64": ("macosx_11_0_arm64",),
}
LICENCE = re.compile(r"\.dist-info/(licenses/|LICEN[CS]E|NOTICE)")
HERE = "here"  # stands for the platform that the builder runs on


class NativeFile(NamedTuple):
    """A file of a native module, as it is unpacked, and its compressed bytes."""

    path: str
    packed: bytes
    size: int


class Native(NamedTuple):
    """An extension module for one kind of interpreter; its own file is the last."""

    module: str
    tag: str
    directory: str
    files: Tuple[NativeFile, ...]


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Whole or not at all, whatever the umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    temporary.replace(path)


# Native modules


def without_sections(data: bytes) -> bytes:
    """A 64-bit little-endian ELF library without what the loader does not read: symbols for debuggers, section table.

    Everything it does read lies in segments, so the file may end with the last of these (elf(5)).
    """
    if data[:6] != b"\x7fELF\x02\x01":
        return data
    (headers,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    end = headers + size * count
    for index in range(count):
        offset, _, _, length = struct.unpack_from("<QQQQ", data, headers + size * index + 8)
        end = max(end, offset + length)
    kept = bytearray(data[:end])
    struct.pack_into("<Q", kept, 0x28, 0)
    struct.pack_into("<HHH", kept, 0x3A, 0, 0, 0)
    return bytes(kept)


def tags(file: str, platform: str, machine: str) -> List[str]:
    """The keys of boot.py's native_tags() under which ``file`` of a wheel for ``platform`` is found."""
    suffix = file[file.index(".cpython-") :]
    if suffix.endswith("darwin.so"):
        return [suffix + arch for arch in (("arm64", "x86_64") if machine == "universal2" else (machine,))]
    if platform.startswith("musllinux"):
        return [suffix.replace("linux-gnu", "linux-musl"), suffix.replace("linux-musl", "linux-gnu") + "musl"]
    return [suffix]


def packed(data: bytes) -> bytes:
    """zlib, kept in build/: the same library is packed once."""
    kept = BUILD / "packed" / hashlib.sha256(data).hexdigest()
    if not kept.exists():
        write(kept, zlib.compress(data, 9))
    return kept.read_bytes()


def natives_of(wheel: Path) -> Iterator[Native]:
    """The extension module that kache uses of a wheel, with the libraries beside it."""
    package, _, _, _, platform = wheel.stem.split("-")
    module, start = NATIVE[package]
    machine = next(arch for arch in ("x86_64", "aarch64", "arm64", "universal2") if platform.endswith(arch))
    with zipfile.ZipFile(wheel) as archive:
        own = [name for name in archive.namelist() if name.startswith(start + ".cpython-")]
        beside = sorted(name for name in archive.namelist() if re.match(r"\w+\.libs/.", name))
        if len(own) != 1:
            raise Problem(f"{wheel.name}: no single {module}")
        contents = [(name, without_sections(archive.read(name))) for name in (*beside, own[0])]
    digest = hashlib.sha256(b"".join(data for _, data in contents)).hexdigest()[:16]
    files = tuple(NativeFile(name, packed(data), len(data)) for name, data in contents)
    for tag in tags(own[0], platform, machine):
        yield Native(module, tag, digest, files)


def native_wheels(minors: Sequence[int], platforms: Sequence[str]) -> List[Path]:
    """The wheels of blake3 and zstandard for every combination."""
    found: List[Path] = []
    for minor in minors:
        for platform in platforms:
            options = ["--python-version", f"3.{minor}", "--implementation", "cp"]
            if platform != HERE:
                options += [word for tag in PLATFORMS[platform] for word in ("--platform", tag)]
            found += wheels(pins_for(tuple(NATIVE), minor), options, f"{platform}-3.{minor}")
    return found


# Python code that is carried along


def wanted_of_wheel(name: str) -> bool:
    """Whether a file of a vendored wheel goes into the archive."""
    if LICENCE.search(name):
        return True
    if ".dist-info/" in name or name.endswith((".pyi", "py.typed", ".tar.gz", "examples-1.json", "/")):
        return False
    if UNUSED.match(name):
        return False
    described = re.match(r"(?:botocore|boto3)/(?:data/([^/]+)/|examples/)", name)
    return described is None or described[1] in SERVICES


def trimmed(name: str, data: bytes) -> bytes:
    """A file of a vendored wheel as it goes into the archive."""
    if name != "botocore/data/endpoints.json":
        return data
    endpoints = json.loads(data)
    for partition in endpoints["partitions"]:
        partition["services"] = {key: value for key, value in partition["services"].items() if key in ENDPOINTS}
    return json.dumps(endpoints, separators=(",", ":"), sort_keys=True).encode()


def vendored(minors: Sequence[int]) -> Dict[str, bytes]:
    """boto3 and what it needs: {path in the archive: content}, a folder for each set of versions.

    A folder is named for the oldest Python it is meant for, and for the content of its set. What all of several
    sets have lies in vendor/every, once.
    """
    groups: Dict[Tuple[Pin, ...], List[int]] = {}
    for minor in MINORS:
        groups.setdefault(tuple(pins_for(VENDORED, minor)), []).append(minor)
    sets: Dict[str, Dict[str, bytes]] = {}
    for pins, meant in groups.items():
        if not set(meant) & set(minors):
            continue
        options = ["--python-version", f"3.{meant[0]}", "--implementation", "py", "--abi", "none", "--platform", "any"]
        group: Dict[str, bytes] = {}
        for wheel in wheels(pins, options, f"pure-3.{meant[0]}"):
            with zipfile.ZipFile(wheel) as archive:
                names = filter(wanted_of_wheel, archive.namelist())
                group.update((name, trimmed(name, archive.read(name))) for name in names)
        digest = hashlib.sha256(repr(sorted(group.items())).encode()).hexdigest()[:16]
        sets[f"3.{meant[0]}-{digest}"] = group
    every = dict(set.intersection(*(set(group.items()) for group in sets.values()))) if len(sets) > 1 else {}
    files = {f"vendor/every/{name}": data for name, data in every.items()}
    for folder, group in sets.items():
        files.update((f"vendor/{folder}/{name}", data) for name, data in group.items() if name not in every)
    return files


def crypto(platforms: Sequence[str]) -> Dict[str, bytes]:
    """What signs and verifies: {path in the archive: content}, a folder for each platform, named for its content."""
    files: Dict[str, bytes] = {}
    for platform in platforms:
        options = ["--python-version", "3.9", "--implementation", "cp", "--abi", "abi3"]
        if platform != HERE:
            options += [word for tag in PLATFORMS[platform] for word in ("--platform", tag)]
        (wheel,) = wheels(pins_for(["pycryptodome"], 9), options, f"crypto-{platform}")
        group: Dict[str, bytes] = {}
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if CRYPTO.fullmatch(name) or (LICENCE.search(name) and not name.endswith("/")):
                    data = archive.read(name)
                    group[name] = without_sections(data) if name.endswith(".so") else data
        digest = hashlib.sha256(repr(sorted(group.items())).encode()).hexdigest()[:16]
        files.update((f"crypto/{platform_of(wheel)}-{digest}/{name}", data) for name, data in group.items())
    return files


def platform_of(wheel: Path) -> str:
    """The name that bundle.py looks for: the C library or system, and the processor."""
    match = re.search(r"(manylinux|musllinux|macosx|linux).*_(x86_64|aarch64|arm64|universal2)$", wheel.stem)
    if match is None:
        raise Problem(f"{wheel.name}: for an unknown platform")
    # a distribution's own, for the libc that it has
    return f"{'manylinux' if match[1] == 'linux' else match[1]}-{match[2]}"


def tomli() -> Dict[str, bytes]:
    """The sources of tomli, for Python 3.9 and 3.10."""
    options = ["--python-version", "3.9", "--implementation", "py", "--abi", "none", "--platform", "any"]
    (wheel,) = wheels(pins_for(["tomli"], 9), options, "tomli")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"tomli/\w+\.py", name) or "/licenses/" in name]
        return {name: archive.read(name) for name in names}


def tomlkit() -> Dict[str, bytes]:
    """What changes configuration files. bundle.py has it imported from the archive: a rare command gains nothing from
    code for each interpreter."""
    options = ["--python-version", "3.9", "--implementation", "py", "--abi", "none", "--platform", "any"]
    (wheel,) = wheels(pins_for(["tomlkit"], 9), options, "pure-tomlkit")
    with zipfile.ZipFile(wheel) as archive:
        return {f"pure/{name}": archive.read(name) for name in archive.namelist() if wanted_of_wheel(name)}


def licences(native_wheels: Iterable[Path]) -> Dict[str, bytes]:
    """The licence texts of the native modules."""
    files: Dict[str, bytes] = {}
    for wheel in native_wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if LICENCE.search(name)]
            files.update((f"licences/{name}", archive.read(name)) for name in names)
    return files
