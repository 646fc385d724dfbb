"""What Clang looks at beside headers, and that no depfile names: lists, settings, and which toolchains lie around.

Owns where that is. Cold.
"""

from __future__ import annotations

import os

from kachelib.cc_action import Action
from kachelib.cc_toolchain import CLANG
from kachelib.entry import ABSENT, FILE, NAMES, Input
from kachelib.inputs import names_in
from kachelib.roots import absolute
from kachelib.store import digest_file

# The option that names the directory of the compiler's own files.
RESOURCES = "-resource-dir"
# What a directory that is given as a system's root says of it to Clang, for Darwin.
SDK_SETTINGS = "SDKSettings.json"
# Lists of what sanitizers leave alone, beside the compiler's own headers; they are in no depfile.
IGNORE_LISTS = tuple(
    "/share/%s_%s.txt" % (name, kind)
    for name in ("asan", "hwasan", "memtag", "msan", "tsan", "dfsan", "cfi", "ubsan")
    for kind in ("ignorelist", "blacklist")
)

# The option that names a place with a GCC, whose library of C++ is taken (clang::driver, GCCInstallationDetector).
TOOLCHAIN = "--gcc-toolchain="
# Where the system's own compilers lie: what is chosen below that is in the compiler's identity.
SYSTEM = ("/bin", "/usr/bin")


def settings(action: Action) -> list[str]:
    """What a system's root may say of the system that an object is for, as far as options name that."""
    return [directory + "/" + SDK_SETTINGS for _, directory in action.plan.directories]


def inputs(action: Action, searched: list[str]) -> list[Input]:
    """The files as inputs, those that are not there as well. searched: the directories of headers. Raises OSError."""
    if action.compiler.family != CLANG:
        return []
    places = settings(action)
    if any("-fsanitize" in word for _, word in action.plan.words):
        above = [os.path.dirname(each) for each in searched if os.path.basename(each) == "include"]
        above += [directory for option, directory in action.plan.directories if option == RESOURCES]
        places += [directory + name for directory in above for name in IGNORE_LISTS]
    found = []
    for place in [absolute(each, action.cwd) for each in places]:
        there = os.path.isfile(place)
        kind, digest = (FILE, digest_file(place)) if there else (ABSENT, "")
        found.append(Input(kind, action.roots.normalise(place), digest))
    for place in dict.fromkeys(absolute(each, action.cwd) for each in _chosen_from(action)):
        found.append(Input(NAMES, action.roots.normalise(place), names_in(place)))
    return found


def _chosen_from(action: Action) -> list[str]:
    """The directories of which Clang takes what is there, or the newest: versions of GCC and of libraries of C++, and
    the headers of one architecture."""
    plan = action.plan
    given = [directory for option, directory in plan.directories if option != RESOURCES]
    given += [word[len(TOOLCHAIN) :] for _, word in plan.words if word.startswith(TOOLCHAIN)]
    tops = [place for each in given for place in (each, each + "/usr")]
    places = [top + "/include" for top in tops]
    if "++" in plan.language:
        program = action.compiler.program
        beside = {os.path.dirname(each) for each in (program, os.path.realpath(program))}
        tops += sorted(os.path.dirname(each) for each in beside.difference(SYSTEM))
        for top in tops:
            places.append(top + "/include/c++")
            for library in ("lib", "lib64", "lib32"):
                targets = top + "/" + library + "/gcc"
                there = absolute(targets, action.cwd)
                places += [targets, *[targets + "/" + name for name in sorted(_listed(there))]]
    return places


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
