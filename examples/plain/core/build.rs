//! Writes the squares that the library includes.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let squares: Vec<u64> = (0..1000).map(|n| n * n).collect();
    let out = env::var_os("OUT_DIR").expect("OUT_DIR");
    let table = format!("pub const SQUARES: &[u64] = &{squares:?};\n");
    fs::write(Path::new(&out).join("squares.rs"), table).expect("squares.rs");
}
