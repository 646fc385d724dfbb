"""A small workspace with one of everything that a cache meets, for tests that need Cargo.

``app`` (a program, an integration test and one without harness, an example) uses ``mac`` (a macro that lists a
directory), ``gen`` (a build script that writes what the library includes) and ``low`` (features, an included text,
variables). What the program prints hangs on all of them.
"""

from typing import Dict

MEMBER = '[package]\nname = "{}"\nversion = "0.1.0"\nedition = "2021"\n'

FAMILY: Dict[str, str] = {
    "Cargo.toml": '[workspace]\nmembers = ["app", "gen", "low", "mac"]\nresolver = "2"\n[profile.dev]\ndebug = 1\n',
    "app/Cargo.toml": MEMBER.format("app")
    + """
        [features]
        loud = ["low/loud"]
        [dependencies]
        gen = { path = "../gen" }
        low = { path = "../low" }
        mac = { path = "../mac" }
        [[test]]
        name = "bare"
        harness = false
        """.replace("        ", ""),
    "app/src/main.rs": """
        mod part;
        fn main() {
            println!("{} {} {:?} {}", low::say(), gen::NUMBER, low::setting(), part::listed());
        }
        """,
    "app/src/part.rs": 'pub fn listed() -> &\'static str { mac::list!("data") }\n',
    "app/data/a.txt": "a\n",
    "app/tests/whole.rs": "#[test] fn whole() { assert_eq!(gen::NUMBER, gen::NUMBER); }\n",
    "app/tests/bare.rs": "fn main() {}\n",
    "app/examples/show.rs": 'fn main() { print!("{}", low::say()) }\n',
    "gen/Cargo.toml": MEMBER.format("gen"),
    "gen/build.rs": """
        fn main() {
            println!("cargo:rerun-if-changed=number");
            let number = std::fs::read_to_string("number").unwrap();
            let out = std::env::var("OUT_DIR").unwrap();
            std::fs::write(format!("{out}/gen.rs"), format!("pub const NUMBER: u32 = {};", number.trim())).unwrap();
        }
        """,
    "gen/number": "7\n",
    "gen/src/lib.rs": 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));\n',
    "low/Cargo.toml": MEMBER.format("low") + "[features]\nloud = []\n",
    "low/src/lib.rs": """
        pub fn say() -> String {
            let text = include_str!("../text.txt").trim();
            if cfg!(feature = "loud") { text.to_uppercase() } else { text.to_string() }
        }
        pub fn setting() -> Option<&'static str> { option_env!("THE_SETTING") }
        #[test] fn says() { assert!(!say().is_empty()); }
        """,
    "low/text.txt": "quiet\n",
    "mac/Cargo.toml": MEMBER.format("mac") + "[lib]\nproc-macro = true\n",
    "mac/src/lib.rs": """
        extern crate proc_macro;
        use proc_macro::TokenStream;
        #[proc_macro]
        pub fn list(input: TokenStream) -> TokenStream {
            let base = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
            let mut names: Vec<String> = std::fs::read_dir(base.join(input.to_string().trim_matches('"')))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| format!("{}={}", path.file_stem().unwrap().to_str().unwrap(),
                    std::fs::read_to_string(&path).unwrap().trim()))
                .collect();
            names.sort();
            format!("{:?}", names.join(",")).parse().unwrap()
        }
        """,
}

PRINTS = "quiet 7 None a=a\n"
