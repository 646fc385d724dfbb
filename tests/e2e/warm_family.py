"""The workspace of family.py with more of what Cargo does not see, and what it prints, for tests of warm targets.

Besides the packages of the family: ``mid`` (a library above others; its macros read variables and a file above the
package), ``cee`` (whose script compiles C), ``und`` (whose script declares nothing), ``top`` (includes a file above
its package), ``regi`` (of a registry), ``vend`` (vendored, or patched by a path). ``gen`` declares a variable, and
reads what it does not declare: the commit and RUSTC_BOOTSTRAP.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from tests.e2e.family import FAMILY, MEMBER
from tests.e2e.registry import local_registry
from tests.e2e.test_random import State
from tests.world import World

COMPILERS = (1, 2, 3)
LINKERS = (1, 2)

# A program and no script: kache has to ask a script anew each time, which is most of the time that a test takes.
TOOL = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **given) {
    char *words[count + 2];
    for (int at = 0; at < count; at++) {
        if (strcmp(given[at], "--version") == 0) { puts("cc (made for a test) " NUMBER ".0"); return 0; }
        words[at] = given[at];
    }
    words[0] = REAL;
    words[count] = MORE;
    words[count + 1] = NULL;
    execv(REAL, words);
    return 127;
}
"""

MORE: Dict[str, str] = {
    "cee/Cargo.toml": MEMBER.format("cee"),
    "cee/build.rs": """
        use std::process::Command;
        fn main() {
            println!("cargo:rerun-if-changed=v.c");
            let out = std::env::var("OUT_DIR").unwrap();
            let object = format!("{out}/v.o");
            let cc = std::env::var("CC").unwrap_or("cc".to_string());
            let flags = std::env::var("CFLAGS").unwrap_or_default();
            let mut compiler = Command::new(cc);
            compiler.args(flags.split_whitespace()).args(["-c", "-O1", "v.c", "-o", &object]);
            assert!(compiler.status().unwrap().success());
            assert!(Command::new("ar").args(["crs", &format!("{out}/libv.a"), &object]).status().unwrap().success());
            println!("cargo:rustc-link-search=native={out}");
            println!("cargo:rustc-link-lib=static=v");
        }
        """,
    "cee/src/lib.rs": """
        extern "C" { fn v() -> i32; }
        pub fn value() -> i32 { unsafe { v() } }
        """,
    "und/Cargo.toml": MEMBER.format("und"),
    "und/build.rs": """
        fn main() {
            let text = std::fs::read_to_string("said.txt").unwrap();
            println!("cargo:rustc-env=SAID={}", text.trim());
            if text.trim() == "loud" { println!("cargo:rustc-cfg=loud"); }
        }
        """,
    "und/src/lib.rs": 'pub fn said() -> (&\'static str, bool) { (env!("SAID"), cfg!(loud)) }\n',
    "top/Cargo.toml": MEMBER.format("top"),
    "top/src/lib.rs": 'pub const SHARED: &str = include_str!("../../shared.txt");\n',
    "mid/Cargo.toml": MEMBER.format("mid")
    + '[dependencies]\nlow = { path = "../low" }\nmac = { path = "../mac" }\n'
    + 'regi = { version = "1", registry = "other" }\n',
    "mid/kache.toml": 'extra_inputs = ["../extra.txt"]\n',
    "mid/src/lib.rs": """
        pub fn seen() -> String {
            let read = [mac::variable!("THE_KEYED"), mac::variable!("THE_SALTED"), mac::above!("extra.txt")];
            format!("{:?} {}{} {}", read, low::x::N, low::y::N, regi::T)
        }
        """,
    "gen/build.rs": """
        use std::env::var;
        fn main() {
            println!("cargo:rerun-if-changed=number");
            println!("cargo:rerun-if-env-changed=THE_DECLARED");
            let number: u32 = std::fs::read_to_string("number").unwrap().trim().parse().unwrap();
            let head = std::fs::read_to_string("../.git/HEAD").unwrap();
            let text = format!("pub const NUMBER: u32 = {number}; pub const READ: [&str; 3] = {:?};",
                [&head[..12], &var("THE_DECLARED").unwrap_or_default(), &var("RUSTC_BOOTSTRAP").unwrap_or_default()]);
            std::fs::write(format!("{}/gen.rs", var("OUT_DIR").unwrap()), text).unwrap();
        }
        """,
    ".cargo/config.toml": """
        [source.crates-io]
        replace-with = "vendored"
        [source.vendored]
        directory = "vendor"
        """,
}
C_SOURCE = "#ifndef FLAG\n#define FLAG 0\n#endif\n"
MACROS = """
    #[proc_macro]
    pub fn variable(input: TokenStream) -> TokenStream {
        format!("{:?}", std::env::var(input.to_string().trim_matches('"')).unwrap_or_default()).parse().unwrap()
    }
    #[proc_macro]
    pub fn above(input: TokenStream) -> TokenStream {
        let base = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let path = format!("{base}/../{}", input.to_string().trim_matches('"'));
        format!("{:?}", std::fs::read_to_string(path).unwrap().trim()).parse().unwrap()
    }
"""
MAIN = """
    mod part;
    fn main() {
        println!("{} {} {:?} {} {}{} {} {}", low::say(), gen::NUMBER, low::setting(), part::listed(),
            low::x::N, low::y::N, low::VERSION, cfg!(special));
        println!("{} {:?} {} {} {:?} {}", cee::value(), und::said(), top::SHARED.trim(), vend::T, gen::READ,
            mid::seen());
    }
"""
# Without debug info but for one package: it is most of what is linked, and its paths are as good there as elsewhere.
PROFILES = """
[profile.dev]
debug = false
[profile.dev.package.low]
debug = 1
[profile.tuned]
inherits = "release"
opt-level = 1
debug = 1
"""
VENDORED = '[package]\nname = "vend"\nversion = "1.0.{}"\nedition = "2021"\n'
REGISTERED = {
    "build.rs": """
fn main() {
    let text = format!("pub const T: &str = {:?};", std::env::var("CARGO_PKG_VERSION").unwrap());
    std::fs::write(std::env::var("OUT_DIR").unwrap() + "/t.rs", text).unwrap();
}
""",
    "src/lib.rs": 'include!(concat!(env!("OUT_DIR"), "/t.rs"));\n',
}
SOURCES = """
[registries.other]
index = "https://other.invalid/index"
[source.other]
registry = "https://other.invalid/index"
replace-with = "local"
[source.local]
local-registry = "{}"
"""


@dataclass(frozen=True)
class WarmState(State):
    """More of what the workspace and its surroundings are like. mode: the command, "test" or "check" but for build."""

    mode: str = "build"
    profile: str = "dev"
    triple: bool = False
    compiler: int = 1
    linker: int = 1
    c_add: int = 0
    c_flags: Optional[str] = None
    undeclared: str = "soft"
    shared: str = "s"
    registered: int = 0
    vendored: int = 0
    vendored_text: str = "v"
    patched: bool = False
    salt: str = ""
    keyed: Optional[str] = None
    declared: Optional[str] = None
    extra: str = "1"
    commit: int = 0
    bootstrap: bool = False
    cargo_home: str = "home/.cargo"

    def files(self) -> Dict[str, str]:
        found = {**super().files(), **MORE}
        found["Cargo.toml"] = FAMILY["Cargo.toml"].replace('"app",', '"app", "cee", "mid", "top", "und",')
        found["Cargo.toml"] = found["Cargo.toml"].partition("[profile")[0] + PROFILES
        if self.patched:
            found["Cargo.toml"] += '[patch.crates-io]\nvend = { path = "patched" }\n'
            found["patched/Cargo.toml"] = VENDORED.format(self.vendored)
            found["patched/src/lib.rs"] = f'pub const T: &str = "p{self.vendored_text}{self.vendored}";\n'
        packages = "".join(f'{name} = {{ path = "../{name}" }}\n' for name in ("cee", "gen", "mid", "top", "und"))
        found["app/Cargo.toml"] = found["app/Cargo.toml"].replace(
            'gen = { path = "../gen" }\n', f'{packages}vend = "=1.0.{self.vendored}"\n'
        )
        found["app/src/main.rs"] = MAIN
        found["mid/Cargo.toml"] = MORE["mid/Cargo.toml"].replace('"1"', f'"=1.0.{self.registered}"')
        found["mac/src/lib.rs"] += MACROS
        found["cee/v.c"] = C_SOURCE + f"int v(void) {{ return VALUE + {self.c_add} + FLAG; }}\n"
        found["und/said.txt"] = self.undeclared + "\n"
        found["shared.txt"] = self.shared + "\n"
        found["extra.txt"] = self.extra + "\n"
        for number in (0, 1):
            base = f"vendor/vend-1.0.{number}/"
            found[base + "Cargo.toml"] = VENDORED.format(number)
            found[base + "src/lib.rs"] = f'pub const T: &str = "{self.vendored_text}{number}";\n'
            found[base + ".cargo-checksum.json"] = '{"files":{},"package":null}'
        return found

    def prints_with(self, commits: List[str]) -> str:
        """What the program prints, where these are the commits."""
        loud = str(self.undeclared == "loud").lower()
        value = self.compiler + self.c_add + (100 if self.c_flags else 0)
        vendored = f"{'p' if self.patched else ''}{self.vendored_text}{self.vendored}"
        generated = words(commits[self.commit][:12], self.declared or "", "1" if self.bootstrap else "")
        letters = "yx" if self.swapped else "xy"
        seen = f"{words(self.keyed or '', self.salt, self.extra)} {letters} 1.0.{self.registered}"
        return self.prints() + f'{value} ("{self.undeclared}", {loud}) {self.shared} {vendored} {generated} {seen}\n'

    def command(self, host: str) -> List[str]:
        """Cargo's command line."""
        found = {"build": ["build"], "check": ["check"], "test": "test --no-run -p app -p low --lib --bins".split()}
        return [*found[self.mode], *self.options(host), *(["--features", "loud"] if self.loud else [])]

    def options(self, host: str) -> List[str]:
        """Those of Cargo's that kache's own commands know."""
        profile = {"dev": [], "release": ["--release"], "tuned": ["--profile", "tuned"]}[self.profile]
        return [*profile, *(["--target", host] if self.triple else [])]

    def environment(self) -> Dict[str, Optional[str]]:
        return {
            **super().environment(),
            "KACHE_WARM_TARGETS": "1",
            "KACHE_KEY_SALT": self.salt or None,
            # what a salt stands for: something that no other rule would see
            "THE_SALTED": self.salt or None,
            "KACHE_KEY_ENV_VARS": "THE_KEYED",
            "THE_KEYED": self.keyed,
            "THE_DECLARED": self.declared,
            "CFLAGS": self.c_flags,
            "RUSTC_BOOTSTRAP": "1" if self.bootstrap else None,
        }


def words(*texts: str) -> str:
    """As Rust prints a list of them."""
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"


def make_tools(root: Path) -> None:
    """C compilers ``cc-N/cc``, which define VALUE as N, and linkers ``ld-N``, which write N into what they link."""
    source = root / "tool.c"
    source.write_text(TOOL)
    real = shutil.which("cc") or "/usr/bin/cc"
    for kind, numbers, more in (("cc", COMPILERS, "-DVALUE={}"), ("ld", LINKERS, "-Wl,--build-id=0x0{}")):
        for number in numbers:
            directory = root / f"{kind}-{number}"
            directory.mkdir()
            texts = {"REAL": real, "NUMBER": str(number), "MORE": more.format(number)}
            defined = [f'-D{name}="{text}"' for name, text in texts.items()]
            subprocess.run([real, *defined, "-o", directory / "cc", source], check=True)


def make_registry(world: World, homes: List[str]) -> None:
    """A registry with two versions of ``regi``, known in each of these CARGO_HOMEs."""
    base = world.root / "registry"
    for number in (0, 1):
        manifest = f'[package]\nname = "regi"\nversion = "1.0.{number}"\nedition = "2021"\n'
        local_registry(base, "regi", {"Cargo.toml": manifest, **REGISTERED}, f"1.0.{number}")
    for home in homes:
        (world.root / home).mkdir(exist_ok=True)
        (world.root / home / "config.toml").write_text(SOURCES.format(base))


def make_commits(world: World, ws: Path) -> List[str]:
    """Make the workspace a repository with two commits; returns these."""
    commits = []
    world.run(["git", "init", "-q"], cwd=ws).ok()
    for text in ("one", "two"):
        world.run(["git", "commit", "-q", "--allow-empty", "-m", text], cwd=ws).ok()
        commits.append(world.run(["git", "rev-parse", "HEAD"], cwd=ws).ok().stdout.strip())
    return commits


def check_out(ws: Path, commit: str) -> None:
    """What ``git checkout --detach`` does to HEAD."""
    (ws / ".git/HEAD").write_text(commit + "\n")
