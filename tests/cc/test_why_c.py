"""why-miss on C compiles: a header is the root of every object that it is in."""

import json
import time
from typing import Any, Dict, List

from kachelib.builds import SHORT_PAUSE
from tests.cc.project import Project
from tests.world import Cargo, Kache, World

FILES = {
    "src/one.c": '#include "both.h"\n#include "one.h"\nint one(void) { return BOTH + ONE; }\n',
    "src/two.c": '#include "both.h"\nint two(void) { return BOTH; }\n',
    "src/other/one.c": "int other(void) { return 0; }\n",
    "inc/both.h": "#define BOTH 1\n",
    "inc/one.h": "#define ONE 1\n",
}


def make(project: Project, *more: str) -> None:
    """Compile all, as make would: from the top, one after the other."""
    for name in sorted(FILES):
        if name.endswith(".c"):
            words = ["gcc", "-c", "-Iinc", *more, name, "-o", name.replace("/", "_") + ".o"]
            project.world.run([project.kache.path, *words], cwd=project.build).ok()


def roots(kache: Kache) -> List[Dict[str, Any]]:
    found = json.loads(kache.run("why-miss", "--json").ok().stdout)["roots"]
    assert isinstance(found, list)
    return found


def test_a_header_is_the_root_of_all_that_include_it(project: Project, world: World) -> None:
    project.write(FILES)
    make(project)
    time.sleep(SHORT_PAUSE)
    project.write({"inc/both.h": "#define BOTH 2\n"})
    make(project)
    [root] = roots(project.kache)
    assert root["only_because_of_it"] == ["cc-one", "cc-two"] and root["units"] == 2
    assert root["text"] == f"in 2 C files: inc/both.h changed (in {project.base})"
    said = project.kache.run("why-miss", "cc-two").ok().stdout
    assert f"cc-two missed because inc/both.h changed (in {project.base})" in said
    assert "1 other unit (" in said and "cc-one" in said


def test_two_headers_are_two_roots(project: Project) -> None:
    project.write(FILES)
    make(project)
    time.sleep(SHORT_PAUSE)
    project.write({"inc/both.h": "#define BOTH 2\n", "inc/one.h": "#define ONE 2\n"})
    make(project)
    document = json.loads(project.kache.run("why-miss", "--json").ok().stdout)
    alone = {change["name"]: root["units"] for root in document["roots"] for change in root["changes"]}
    assert alone == {"<source>/inc/both.h": 1, "<source>/inc/one.h": 0}
    assert [mixed["crate_name"] for mixed in document["several_roots"]] == ["cc-one"]


def test_places_that_are_searched_for_a_new_header_are_no_change_of_their_own(project: Project) -> None:
    project.write(FILES)
    make(project)
    time.sleep(SHORT_PAUSE)
    project.write({"src/two.c": '#include "one.h"\n' + FILES["src/two.c"].replace("BOTH;", "BOTH + ONE;")})
    make(project)
    [root] = roots(project.kache)
    assert root["text"] == f"cc-two: inc/one.h came, src/two.c changed (in {project.base})"


def test_two_sources_of_one_name_are_not_compared(project: Project) -> None:
    project.write(FILES)
    make(project)
    [root] = roots(project.kache)
    assert root["unknown"] == "no earlier compile is known" and root["units"] == 3


def test_a_flag_is_the_root_of_all_objects(project: Project) -> None:
    project.write(FILES)
    make(project)
    time.sleep(SHORT_PAUSE)
    make(project, "-O1")
    [root] = roots(project.kache)
    assert root["units"] == 3 and root["text"] == "in 3 C files: flag -O1 was added"


def test_a_library_that_a_build_script_made_of_c_is_named(
    world: World, cargo: Cargo, kache: Kache
) -> None:
    """An archive is no compile's output: the object's root is the header, the crate's is the archive."""
    files = {
        "Cargo.toml": '[package]\nname = "native-sys"\nversion = "0.1.0"\nedition = "2021"\n',
        "build.rs": """
            use std::process::Command;
            fn main() {
                println!("cargo:rerun-if-changed=c");
                let out = std::env::var("OUT_DIR").unwrap();
                let object = format!("{out}/one.o");
                let kache = std::env::var("RUSTC_WRAPPER").unwrap();
                let gcc = ["gcc", "-c", "c/one.c", "-o", &object];
                assert!(Command::new(kache).args(gcc).status().unwrap().success());
                let archive = format!("{out}/libnative.a");
                let _ = std::fs::remove_file(&archive);
                assert!(Command::new("ar").args(["crsD", &archive, &object]).status().unwrap().success());
                println!("cargo:rustc-link-lib=static=native");
                println!("cargo:rustc-link-search=native={out}");
            }
            """,
        "src/lib.rs": 'extern "C" { pub fn answer() -> i32; }\n',
        "c/one.c": '#include "one.h"\nint answer(void) { return ANSWER; }\n',
        "c/one.h": "#define ANSWER 42\n",
    }
    ws = world.workspace(files)
    cargo("build", cwd=ws).ok()
    (ws / "c/one.h").write_text("#define ANSWER 43\n")
    cargo("build", cwd=ws).ok()
    texts = {root["text"]: root["only_because_of_it"] for root in roots(kache)}
    [of_c] = [text for text, units in texts.items() if units == ["cc-one"]]
    [of_rust] = [text for text, units in texts.items() if units == ["native_sys"]]
    assert "c/one.h changed" in of_c
    assert "static library native changed" in of_rust
