"""Where headers are found, and by which names: links, the search path, files that are one or become one."""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import pytest

from tests.cc.project import Project, check, settle


@pytest.fixture(params=["gcc", "clang"])
def cc(request: pytest.FixtureRequest, require_tool: Callable[[str], Optional[str]]) -> str:
    require_tool(request.param)
    return str(request.param)


def test_two_files_become_one_that_is_included_once(project: Project, require_tool: Callable[[str], str]) -> None:
    """GCC takes equal contents with equal times for the same file."""
    require_tool("gcc")
    project.write(
        {
            "main.c": '#include "d1/a.h"\n#include "d2/a.h"\n',
            "d1/a.h": '#pragma once\n#include "b.h"\n',
            "d2/a.h": '#pragma once\n#include "b.h"\n',
            "d1/b.h": "int b1;\n",
            "d2/b.h": "int b2;\n",
        }
    )
    for name in ("d1/a.h", "d2/a.h"):
        os.utime(project.build / name, (1e9, 1e9))
    command = ["gcc", "-c", "main.c", "-o", "main.o"]
    check(project, lambda: os.utime(project.build / "d2/a.h", (1e9 + 5, 1e9 + 5)), *command)
    check(project, lambda: os.utime(project.build / "d2/a.h", (1e9, 1e9)), *command)


def test_two_names_of_one_file_part(project: Project, require_tool: Callable[[str], str]) -> None:
    """Clang goes by the inode."""
    require_tool("clang")
    project.write(
        {
            "main.c": '#include "d1/a.h"\n#include "d2/a.h"\n',
            "d1/a.h": '#pragma once\n#include "b.h"\n',
            "d1/b.h": "int b1;\n",
            "d2/b.h": "int b2;\n",
        }
    )
    other = project.build / "d2/a.h"
    os.link(project.build / "d1/a.h", other)

    def part() -> None:
        shutil.copy(other, project.build / "copy")
        (project.build / "copy").rename(other)

    check(project, part, "clang", "-c", "main.c", "-o", "main.o")


def test_a_directory_of_headers_is_another_one_by_a_link(project: Project, cc: str) -> None:
    project.write({"main.c": "#include <h.h>\n", "s/h.h": "int one;\n", "t/h.h": "int two;\n"})
    link = project.build / "a"
    link.symlink_to("s")

    def lead_elsewhere() -> None:
        link.unlink()
        link.symlink_to("t")

    check(project, lead_elsewhere, cc, "-Ia", "-isystem", "s", "-c", "main.c", "-o", "main.o")


def test_the_directory_by_the_name_of_a_link(project: Project, cc: str) -> None:
    """Where nothing is mapped, debug information has the shell's name of the directory."""
    project.write({"main.c": "int x;\n"})
    link = project.build.parent / "link"
    link.symlink_to(project.build)
    project.env["KACHE_CC_PATH_NORMALIZE"] = "0"
    settle()
    command = [cc, "-g", "-c", "main.c", "-o", "main.o"]
    for name in (str(project.build), str(link)):
        project.env["PWD"] = name
        for _ in range(2):
            found, _ = project.cached(command, ["main.o"])
        data = found.outputs["main.o"]
        assert data is not None and name.encode() + b"\0" in data


SPELLINGS = (["-I./sys"], ["-Isys/"], ["-I{base}/sys/"], ["-isystem", "./sys"], ["-Isub/../sys"])


@pytest.mark.parametrize("search", SPELLINGS)
@pytest.mark.parametrize("name", ['"d.h"', "<d.h>", '"in/../d.h"'])
def test_a_macro_names_a_header_of_a_directory_that_is_spelled_otherwise(
    project: Project, cc: str, search: List[str], name: str
) -> None:
    """Compilers write the paths of headers in another way than the options."""
    project.write({"main.c": f"#define W {name}\n#include W\n", "sys/d.h": "int sys;\n", "sys/in/x": "", "inc/x": ""})
    project.write({"sub/x": "", "inc/in/x": ""})
    words = [word.format(base=project.build) for word in search]
    change = partial(project.write, {"inc/d.h": "int inc;\n"})
    check(project, change, cc, "-Iinc", *words, "-c", "main.c", "-o", "main.o")


def test_a_macro_names_a_header_that_is_a_link(project: Project, cc: str) -> None:
    """GCC may call a header of a system directory by the name that the link leads to."""
    project.write({"main.c": "#define W <d.h>\n#include W\n", "r/real.h": "int sys;\n", "inc/x": ""})
    place = project.build / "sys/long/name"
    place.mkdir(parents=True)
    (place / "d.h").symlink_to("../../../r/real.h")
    change = partial(project.write, {"inc/d.h": "int inc;\n"})
    check(project, change, cc, "-Iinc", "-isystem", str(place), "-c", "main.c", "-o", "main.o")


@pytest.mark.parametrize("before", ["linked", "made", "gone"])
@pytest.mark.parametrize("option", ["-isystem", "-idirafter", "-I"])
def test_a_directory_of_the_search_path_becomes_another_one_of_it(
    project: Project, cc: str, before: str, option: str
) -> None:
    """The compiler looks into it once, and of -I and -isystem at the place of the latter."""
    project.write({"main.c": "#include <h.h>\n", "a/h.h": "int a;\n", "c/h.h": "int c;\n", "other/x": ""})
    place = project.build / "b"
    if before == "linked":
        place.symlink_to("other")
    elif before == "made":
        place.mkdir()

    def lead_elsewhere() -> None:
        if before == "linked":
            place.unlink()
        elif before == "made":
            place.rmdir()
        place.symlink_to("a")

    check(project, lead_elsewhere, cc, "-Ia", "-Ic", option, "b", "-c", "main.c", "-o", "main.o")


def test_a_file_on_the_search_path_becomes_a_directory(project: Project, cc: str) -> None:
    project.write({"main.c": "#include <h.h>\n", "a": "", "c/h.h": "int c;\n"})

    def make_directory() -> None:
        (project.build / "a").unlink()
        project.write({"a/h.h": "int a;\n"})

    check(project, make_directory, cc, "-Ia", "-Ic", "-c", "main.c", "-o", "main.o")


def test_cxx_looks_where_c_does_not(project: Project, cc: str) -> None:
    """Where C looks for headers, asked for a C file, says nothing of a C++ file with the same options."""
    project.write({"one.c": "int one;\n", "main.cc": "#include <h.h>\n", "a/x": "", "late/h.h": "int late;\n"})
    project.env["CPLUS_INCLUDE_PATH"] = str(project.build / "late")
    settle()
    project.cached([cc, "-Ia", "-c", "one.c", "-o", "main.o"], ["main.o"])
    change = partial(project.write, {"a/h.h": "int a;\n"})
    check(project, change, cc, "-Ia", "-c", "main.cc", "-o", "main.o")


@pytest.mark.parametrize("named", ["option", "variable"])
@pytest.mark.parametrize("target", ["other", None])
def test_a_second_name_of_a_directory_of_the_search_path_leads_elsewhere(
    project: Project, cc: str, named: str, target: Optional[str]
) -> None:
    """By the one a header is the system's, which -MMD passes over; Clang says of both that they are the other."""
    project.write({"main.c": "#include <h.h>\n", "a/h.h": "int a;\n", "other/x": ""})
    place = project.build / "b"
    place.symlink_to("a")
    if named == "variable":
        project.env["C_INCLUDE_PATH"] = str(place)
    words = ["-isystem", "b"] if named == "option" else []

    def lead_elsewhere() -> None:
        place.unlink()
        if target:
            place.symlink_to(target)

    check(project, lead_elsewhere, cc, *words, "-Ia", "-MMD", "-c", "main.c", "-o", "main.o")


@pytest.mark.parametrize("error", [(), ("-Werror",)])
@pytest.mark.parametrize("instead", [None, "file"])
def test_a_directory_that_is_missed_vanishes(
    project: Project, require_tool: Callable[[str], str], error: Sequence[str], instead: Optional[str]
) -> None:
    """Nothing was read from it, and GCC warns of it."""
    require_tool("gcc")
    project.write({"main.c": "int one;\n"})
    place = project.build / "a"
    place.mkdir()

    def vanish() -> None:
        place.rmdir()
        if instead:
            place.write_text("")

    check(project, vanish, "gcc", "-Wmissing-include-dirs", *error, "-Ia", "-c", "main.c", "-o", "main.o")


# how the one name of a header that is included once leads to where the other does
LEADING = {
    "a link to the file": ('#include "a/h.h"\n#include "b/h.h"\n', "b/h.h", "../a/h.h"),
    "a link to another name": ('#include "a/h.h"\n#include "a/i.h"\n', "a/i.h", "h.h"),
    "a link to the directory": ('#include "a/h.h"\n#include "b/h.h"\n', "b", "a"),
    "a link above the directory": ('#include "a/sub/h.h"\n#include "b/sub/h.h"\n', "b", "a"),
    "a link on the way back": ('#include "a/h.h"\n#include "b/../a/h.h"\n', "b", "c/e"),
}


@pytest.mark.parametrize("name", LEADING)
@pytest.mark.parametrize("order", [1, -1])
def test_another_name_of_a_header_that_is_included_once_becomes_a_file_of_its_own(
    project: Project, cc: str, name: str, order: int
) -> None:
    """With the same content: what was read is as it was, and GCC, to which times count, and Clang read both."""
    text, link, target = LEADING[name]
    once = f"#pragma once\n{'int CAT(once_, __COUNTER__);'}\n"
    start = "#define CAT(x, y) CAT_(x, y)\n#define CAT_(x, y) x##y\n"
    project.write({"main.c": start + "".join(text.splitlines(keepends=True)[::order]), "a/h.h": once})
    project.write({"a/sub/h.h": once, "b/x": "", "c/e/x": "", "c/a/x": ""})
    shutil.rmtree(project.build / link, ignore_errors=True)
    project.write({"c/a/x": ""})
    if name == "a link on the way back":
        # is the directory beside it
        target = "c"
    (project.build / link).symlink_to(target)

    def part() -> None:
        (project.build / link).unlink()
        if name == "a link on the way back":
            project.write({"c/a/h.h": once})
            (project.build / link).symlink_to("c/e")
        else:
            project.write({"b/h.h" if link == "b" else link: once, "b/sub/h.h": once})
        # not within the same second as the other
        for path in project.build.rglob("*.h"):
            os.utime(path, (path.stat().st_ino, path.stat().st_ino))

    check(project, part, cc, "-c", "main.c", "-o", "main.o")


def test_a_header_that_is_included_once_by_two_spellings_is_kept(project: Project, cc: str) -> None:
    project.write({"src/main.c": '#include "../a/h.h"\n#include <h.h>\n', "a/h.h": "#pragma once\nint once;\n"})
    settle()
    words = [cc, "-Ia", "-c", "src/main.c", "-o", "main.o"]
    assert [project.cached(words, ["main.o"])[0].result for _ in range(2)] == ["miss", "local_hit"]


TWINS: Dict[str, Callable[[Path, Path], object]] = {
    "equal, of one time": shutil.copy2,
    "a link": lambda path, place: place.symlink_to(path.name),
    "a hard link": os.link,
}
NAMED = {
    "quoted": '#define W "c.h"\n#include W\n',
    "angled": "#define W <c.h>\n#include W\n",
    "of pieces": "#define STR(x) #x\n#define W(x) STR(x.h)\n#include W(c)\n",
    "in a header": '#include "in/in.h"\n',
    "the next": '#define W "c.h"\n#include_next W\n',
}


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("first", ["twin", "other"])
def test_a_macro_names_a_header_that_is_included_once_by_another_name(
    project: Project, cc: str, twin: str, name: str, first: str
) -> None:
    """GCC passes over it, and neither depfile nor text names it."""
    project.write({"main.c": '#include "b.h"\n' + NAMED[name]})
    project.write({"in/in.h": '#define W "../c.h"\n#include W\n'})
    once = "#pragma once\n#ifndef ONCE\n#define ONCE\nint one;\n#else\nint two;\n#endif\n"
    project.write({"b.h": once})
    place = project.build / "c.h"

    def become(what: str) -> None:
        if place.exists():
            place.unlink()
        if what == "twin":
            TWINS[twin](project.build / "b.h", place)
        else:
            place.write_text(once)
            os.utime(place, (7, 7))

    become(first)
    then = {"twin": "other", "other": "twin"}[first]
    check(project, partial(become, then), cc, "-I.", "-MD", "-c", "main.c", "-o", "main.o")


def test_a_header_that_a_macro_names_beside_one_that_is_included_once_is_kept(project: Project, cc: str) -> None:
    project.write({"main.c": '#include "b.h"\n#define W "c.h"\n#include W\n', "b.h": "#pragma once\nint b;\n"})
    project.write({"c.h": "#pragma once\nint c;\n#warning said\n"})
    settle()
    words = [cc, "-I.", "-c", "main.c", "-o", "main.o"]
    assert [project.cached(words, ["main.o"])[0].result for _ in range(2)] == ["miss", "local_hit"]


ASKS_FOR_D = '#include "r/real.h"\n#if __has_include(<d.h>)\nint d;\n#endif\n'
# main.c, and what is at sys/long/name/here/d.h: how it is linked to r/real.h at first
LEADS = {
    "of the system": ("#include <d.h>\n", "symbolic"),
    "the next": ("#include_next <d.h>\n", "symbolic"),
    "asked for, and read by another name": (ASKS_FOR_D, "symbolic"),
    "asked for, and a hard link": (ASKS_FOR_D, "hard"),
}


@pytest.mark.parametrize("name", LEADS)
@pytest.mark.parametrize("target", ["other.h", "same.h", None])
def test_a_link_to_a_header_leads_elsewhere(project: Project, cc: str, name: str, target: Optional[str]) -> None:
    """GCC calls a header of the system by the name that links lead to, where that is shorter."""
    text, kind = LEADS[name]
    project.write({"main.c": text, "r/real.h": "int real;\n", "r/same.h": "int real;\n", "r/other.h": "int other;\n"})
    place = project.build / "sys/long/name/here/d.h"
    place.parent.mkdir(parents=True)
    project.write({"late/x": "", **({} if "asked" in name else {"late/d.h": "int late;\n"})})

    def lead(to: str) -> None:
        if kind == "hard":
            os.link(project.build / "r" / to, place)
        else:
            place.symlink_to("../../../../r/" + to)

    def lead_elsewhere() -> None:
        place.unlink()
        if target:
            lead(target)

    lead("real.h")
    search = ["-isystem", str(place.parent), "-idirafter", "late"]
    check(project, lead_elsewhere, cc, *search, "-MD", "-c", "main.c", "-o", "main.o")


def test_a_header_of_the_system_that_is_a_link_is_kept(project: Project, cc: str) -> None:
    project.write({"main.c": "#include <d.h>\n", "r/d.h": "int d;\n", "sys/long/name/x": ""})
    (project.build / "sys/long/name/d.h").symlink_to("../../../r/d.h")
    settle()
    words = [cc, "-isystem", str(project.build / "sys/long/name"), "-c", "main.c", "-o", "main.o"]
    assert [project.cached(words, ["main.o"])[0].result for _ in range(2)] == ["miss", "local_hit"]


LIKE_MICROSOFT = ("-fno-asynchronous-unwind-tables", "-funwind-tables", "-DWHERE=win", "-fms-extensions")


@pytest.mark.parametrize("option", LIKE_MICROSOFT)
def test_an_option_that_reads_like_microsofts_rules_changes_no_search(project: Project, cc: str, option: str) -> None:
    """A header beside one that was read is not what was found first."""
    project.write({"src/main.c": '#include "d.h"\n#include "b.h"\n', "inc/d.h": "int one;\n", "inc/b.h": "int b;\n"})
    project.write({"before/x": ""})
    change = partial(project.write, {"before/d.h": "int two;\n"})
    check(project, change, cc, option, "-Ibefore", "-Iinc", "-c", "src/main.c", "-o", "main.o")


def test_with_such_an_option_a_link_to_a_header_that_is_imported_parts(project: Project, cc: str) -> None:
    text = "#define CAT(x, y) CAT_(x, y)\n#define CAT_(x, y) x##y\nint CAT(read_, __COUNTER__);\n"
    project.write({"src/main.c": '#import "../a/d.h"\n#import "../b/c.h"\n', "a/d.h": text, "b/x": ""})
    link = project.build / "b/c.h"
    link.symlink_to("../a/d.h")

    def part() -> None:
        link.unlink()
        link.write_text(text)
        os.utime(link, (7, 7))

    check(project, part, cc, "-fno-asynchronous-unwind-tables", "-c", "src/main.c", "-o", "main.o")
