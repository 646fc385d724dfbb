"""One C project in several places: what binds an object to its place, and what maps it."""

import shlex
from typing import Dict, List

import pytest

from tests.cc.conftest import MAIN
from tests.cc.project import COMPILE, NAMES, Project, settle
from tests.world import Kache, World


def test_without_mapping_an_object_is_bound_to_its_place(project: Project) -> None:
    other = Project.make(project.world, project.kache, "second")
    other.write({"src/main.c": "int x;\n", "inc/value.h": "\n"})
    project.write({"src/main.c": "int x;\n"})
    for place in (project, other):
        place.env = {"KACHE_CC_PATH_NORMALIZE": "0"}
    words = ["gcc", "-g", *COMPILE]
    settle()
    expected = project.fresh(words, NAMES, maps=False)
    assert [project.cached(words, NAMES)[0].result for _ in range(2)] == ["miss", "local_hit"]
    found, _ = project.cached(words, NAMES)
    assert found.outputs == expected.outputs, "the bare compiler's"
    assert other.cached(words, NAMES)[0].result == "miss"


def test_a_directory_that_begins_like_a_mapped_one(world: World, kache_file: Kache) -> None:
    """-ffile-prefix-map compares bytes: /w/ws maps /w/ws-more as well."""
    near = Project.make(world, kache_file, "w/ws")
    outside = world.root / "w/ws-more"
    outside.mkdir(parents=True)
    (outside / "far.h").write_text("static inline const char *far(void) { return __FILE__; }\n")
    near.write({"src/main.c": f'#include "{outside}/far.h"\nconst char *value(void) {{ return far(); }}\n'})
    settle()
    for _ in range(2):
        found, _ = near.cached(["gcc", *COMPILE], NAMES)
        assert "begins like a directory that is mapped" in found.reason


def test_base_directories_are_mapped_as_well(project: Project) -> None:
    objects: List[Dict[str, object]] = []
    for number, name in enumerate(("sdk-one", "opt/sdk-two")):
        sdk = project.world.root / name
        sdk.mkdir(parents=True)
        (sdk / "sdk.h").write_text("static inline const char *sdk(void) { return __FILE__; }\n")
        project.write({"src/main.c": "#include <sdk.h>\nconst char *value(void) { return sdk(); }\n"})
        project.env = {"KACHE_BASE_DIR": str(sdk)}
        settle()
        found, _ = project.cached(["gcc", f"-I{sdk}", *COMPILE], NAMES)
        assert found.result == ("local_hit" if number else "miss"), found.reason
        objects.append(dict(found.outputs))
    assert objects[0] == objects[1]


def test_two_copies_in_one_repository(project: Project) -> None:
    """They are two places of it; a base directory makes them one."""
    for name in ("copies/one", "copies/two"):
        project.write({f"{name}/src/main.c": MAIN, f"{name}/inc/value.h": "#define VALUE 3\n"})
    settle()
    for based in (False, True):
        results = []
        for name in ("copies/one", "copies/two"):
            project.build = project.base / name
            project.env = {"KACHE_BASE_DIR": str(project.build)} if based else {}
            results.append(project.cached(["gcc", "-g", *COMPILE], NAMES)[0].result)
        assert results[1] == ("local_hit" if based else "miss"), results


@pytest.mark.parametrize("variables", [{}, {"KACHE_DISABLED": "1"}])
def test_what_is_not_cached_has_the_name_of_its_directory_from_the_shell(
    project: Project, variables: Dict[str, str]
) -> None:
    """The shell began elsewhere, and went to the directory by a link."""
    link = project.world.root / "link"
    link.symlink_to(project.base)
    words = ["gcc", "-g", "-gsplit-dwarf", *COMPILE]
    found = []
    for command in (words, [str(project.kache.path), *words]):
        script = f"cd {link}; {shlex.join(command)}; true"
        env = {**variables, "PWD": str(project.world.root)}
        run = project.world.run(["bash", "-c", script], cwd=project.world.root, env=env).ok()
        assert not run.events or run.events[-1]["result"] == "passthrough"
        found.append(project.outputs(NAMES))
    assert found[0] == found[1] and str(link).encode() in (found[0]["main.o"] or b"")


def test_a_working_directory_by_a_link_is_the_same_place(project: Project) -> None:
    """Debug information takes the directory from PWD, which may name a link."""
    link = project.world.root / "link"
    link.symlink_to(project.base)
    settle()
    first, _ = project.cached(["gcc", "-g", *COMPILE], NAMES)
    project.env = {"PWD": str(link)}
    second, _ = project.cached(["gcc", "-g", *COMPILE], NAMES)
    assert (first.result, second.result) == ("miss", "local_hit")
