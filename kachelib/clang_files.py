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
# The system's own.
SYSTEM = "/usr"
LIBRARIES = ("lib", "lib64", "lib32")


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
    found += [Input(NAMES, action.roots.normalise(place), names) for place, names in chosen_from(action)]
    return found


def chosen_from(action: Action) -> list[tuple[str, str]]:
    """(directory, what tells the names in it) for each of which Clang chooses."""
    if action.compiler.family != CLANG:
        return []
    places = dict.fromkeys(absolute(each, action.cwd) for each in _directories(action))
    return [(place, names_in(place)) for place in places]


def _directories(action: Action) -> list[str]:
    """The directories of which Clang takes what is there, or the newest: versions of GCC and of libraries of C++, and
    the headers of one architecture."""
    plan = action.plan
    given = [directory for option, directory in plan.directories if option != RESOURCES]
    given += [word[len(TOOLCHAIN) :] for _, word in plan.words if word.startswith(TOOLCHAIN)]
    tops = [place for each in given for place in (each, each + "/usr")]
    places = [top + "/include" for top in tops]
    foreign = any(word.startswith(("--target=", "-target")) for _, word in plan.words)
    if foreign:
        places.append(SYSTEM + "/include")
    if foreign or "++" in plan.language or "++" in action.compiler.text.partition("\n")[0]:
        program = action.compiler.program
        beside = {os.path.dirname(each) for each in (program, os.path.realpath(program))}
        tops += sorted({SYSTEM, *(os.path.dirname(each) or "/" for each in beside)} - {"/"})
        for top in tops:
            places.append(top + "/include/c++")
            for library in (*LIBRARIES, "lib/gcc-cross") if foreign else LIBRARIES:
                targets = top + "/" + library + ("" if "gcc" in library else "/gcc")
                there = absolute(targets, action.cwd)
                places += [targets, *[targets + "/" + name for name in sorted(_listed(there))]]
    return places


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
