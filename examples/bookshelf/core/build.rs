//! Turns data/genres.txt into a table that the library includes.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=data/genres.txt");
    let genres = fs::read_to_string("data/genres.txt").expect("data/genres.txt");
    let mut table = String::from("pub const GENRES: &[(&str, &str)] = &[\n");
    for line in genres.lines().filter(|line| !line.is_empty()) {
        let (code, name) = line.split_once(' ').expect("a code and a name");
        writeln!(table, "    ({code:?}, {name:?}),").unwrap();
    }
    table.push_str("];\n");
    let out = env::var_os("OUT_DIR").expect("OUT_DIR");
    fs::write(Path::new(&out).join("genres.rs"), table).expect("genres.rs");
}
