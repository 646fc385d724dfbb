"""Files that Clang reads beside headers, and that no depfile names.

Owns where they are. Cold.
"""

from __future__ import annotations

import os

from kachelib.cc_action import Action
from kachelib.cc_toolchain import CLANG
from kachelib.entry import ABSENT, FILE, Input
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
    return found
