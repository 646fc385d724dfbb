"""A generated workspace: many path packages that hang on each other, as monorepos have them.

Owns the text of its files. Every tenth package has a build script that declares its input, and some of these compile C
without debug information. Three odd ones compile C with it or declare nothing: their units stay at their place.
"""

from pathlib import Path
from typing import Dict, List, Set

MANIFEST = '[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{more}[dependencies]\n{dependencies}'

# packages by number; the odd ones are counted from the end, where little hangs on them
C_PLAIN = (10, 30, 50)
C_DEBUG_FROM_END = (30,)
UNDECLARED_FROM_END = (20, 10)
MACRO_EVERY = 25
SCRIPT_EVERY = 10

SCRIPT = """fn main() {
    println!("cargo:rerun-if-changed=input.txt");
    let text = std::fs::read_to_string("input.txt").unwrap();
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(out + "/made.rs", format!("pub const MADE: usize = {};", text.trim())).unwrap();
C_PART
}
"""
C_PART = (
    '    println!("cargo:rerun-if-changed=c.c");\n    cc::Build::new().file("c.c").debug({debug}).compile("{name}_c");'
)
NOTHING = 'fn main() { println!("cargo:rustc-env=NOTHING=1"); }\n'
MACRO = """#[proc_macro]
pub fn length(_: proc_macro::TokenStream) -> proc_macro::TokenStream { "3usize".parse().unwrap() }
"""


def name_of(number: int) -> str:
    return f"pack{number:04d}"


def is_macro(number: int) -> bool:
    return number % MACRO_EVERY == 7


def has_script(number: int) -> bool:
    return number % SCRIPT_EVERY == 0


def odd_ones(count: int) -> Set[int]:
    """Whose units do not come back elsewhere, or not at all."""
    return {count - back for back in (*C_DEBUG_FROM_END, *UNDECLARED_FROM_END)}


def below(number: int) -> List[int]:
    """What a package depends on: three that stand before it, the same every time."""
    if is_macro(number) or number % 4 == 0:
        return []
    return sorted({number - step for step in (1, 7, 23) if number - step >= 0})


def above(numbers: Set[int], count: int) -> Set[int]:
    """These packages and all that depend on them, of ``count``."""
    found = set(numbers)
    for number in range(count):
        if any(each in found for each in below(number)):
            found.add(number)
    return found


def write(base: Path, count: int, odd: bool = True) -> None:
    """Write the workspace with ``count`` packages and one program on top of all. odd: with the odd ones."""
    files: Dict[str, str] = {}
    for number in range(count):
        from_end = count - number if odd else 0
        files.update(_package(number, from_end in C_DEBUG_FROM_END, from_end in UNDECLARED_FROM_END))
    top = "".join(f'{name_of(number)} = {{ path = "../{name_of(number)}" }}\n' for number in range(count))
    files["top/Cargo.toml"] = MANIFEST.format(name="top", more="", dependencies=top)
    calls = " + ".join(f"{name_of(number)}::size()" for number in range(count) if not is_macro(number))
    files["top/src/main.rs"] = f'fn main() {{ println!("{{}}", {calls}); }}\n'
    members = ", ".join(f'"{name_of(number)}"' for number in range(count))
    files["Cargo.toml"] = f'[workspace]\nmembers = ["top", {members}]\nresolver = "2"\n'
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _package(number: int, c_debug: bool, undeclared: bool) -> Dict[str, str]:
    name = name_of(number)
    if is_macro(number):
        manifest = MANIFEST.format(name=name, more="[lib]\nproc-macro = true\n", dependencies="")
        return {f"{name}/Cargo.toml": manifest, f"{name}/src/lib.rs": MACRO}
    dependencies = "".join(f'{name_of(each)} = {{ path = "../{name_of(each)}" }}\n' for each in below(number))
    uses = [f"{name_of(each)}::{'length!' if is_macro(each) else 'size'}()" for each in below(number)]
    body = " + ".join([str(number), *uses])
    files = {
        f"{name}/src/lib.rs": f'pub fn size() -> usize {{ {body} }}\n#[cfg(feature = "extra")] pub fn extra() {{}}\n'
    }
    more = "[features]\nextra = []\n"
    if has_script(number):
        compiles_c = c_debug or number in C_PLAIN
        if undeclared:
            files[f"{name}/build.rs"] = NOTHING
        else:
            part = C_PART.format(debug=str(c_debug).lower(), name=name) if compiles_c else ""
            files[f"{name}/build.rs"] = SCRIPT.replace("C_PART", part)
            files[f"{name}/input.txt"] = f"{number}\n"
            files[f"{name}/src/lib.rs"] += 'include!(concat!(env!("OUT_DIR"), "/made.rs"));\n'
        if compiles_c:
            files[f"{name}/c.c"] = f"int {name}_value(void) {{ return {number}; }}\n"
            more += '[build-dependencies]\ncc = "1"\n'
    files[f"{name}/Cargo.toml"] = MANIFEST.format(name=name, more=more, dependencies=dependencies)
    return files
