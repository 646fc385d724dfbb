//! A little of each crate, so that each is linked.

use std::collections::BTreeMap;
use std::io::Write;

use itertools::Itertools;
use num_bigint::BigUint;
use rayon::prelude::*;
use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::Digest;

#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Report {
    pub files: usize,
    pub digest: String,
    pub factorial: String,
    pub packed: usize,
    pub words: BTreeMap<String, usize>,
}

pub fn factorial(n: u32) -> BigUint {
    (1..=n).map(BigUint::from).product()
}

pub fn pack(text: &str) -> usize {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().len()
}

pub fn report(root: &str, pattern: &str) -> Report {
    let pattern = Regex::new(pattern).unwrap();
    let files = walkdir::WalkDir::new(root).into_iter().flatten().count();
    let seen = ignore::WalkBuilder::new(root).build().flatten().count();
    let names = ["alpha", "beta", "gamma", "alpha"];
    let words = names
        .iter()
        .filter(|name| pattern.is_match(name))
        .map(|name| name.to_string())
        .counts();
    let total: usize = (0..1000usize).into_par_iter().sum();
    Report {
        files: files + seen,
        digest: format!("{:?}", sha2::Sha256::digest(total.to_string())),
        factorial: factorial(30).to_string(),
        packed: pack(&names.join(" ")),
        words: words.into_iter().collect(),
    }
}
