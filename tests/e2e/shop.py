"""A workspace of seventeen small crates that hang on each other, so that Cargo builds several at once."""

from typing import Dict

USES: Dict[str, str] = {
    "wire": "",
    "clock": "",
    "text": "",
    "money": "text",
    "log": "clock",
    "config": "text log",
    "store": "log config wire",
    "index": "store",
    "auth": "store clock",
    "cart": "money store",
    "tax": "money",
    "mail": "text log",
    "search": "index text",
    "orders": "cart tax mail",
    "api": "auth orders search",
    "pages": "text money search",
    "shop": "api pages",
}

PART = """
    #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
    pub struct Row@ { pub id: u64, pub name: String, pub tags: Vec<String> }
    pub fn group@(rows: &[Row@]) -> BTreeMap<String, Vec<Row@>> {
        let mut found: BTreeMap<String, Vec<Row@>> = BTreeMap::new();
        for row in rows { found.entry(row.name.clone()).or_default().push(row.clone()); }
        for group in found.values_mut() { group.sort(); }
        found
    }
"""


def _source(number: int, name: str, uses: str) -> str:
    """Some crates take three times as long to compile as others."""
    parts = "".join(PART.replace("@", str(part)) for part in range(2 + number * 37 % 5))
    size = " + ".join([*(f"{used}::size()" for used in uses.split()), "1"])
    end = 'fn main() { println!("{}", size()); }\n' if name == "shop" else ""
    return f"use std::collections::BTreeMap;\n{parts}\npub fn size() -> usize {{ group0(&[]).len() + {size} }}\n{end}"


def _manifest(name: str, uses: str) -> str:
    lines = "".join(f'{used} = {{ path = "../{used}" }}\n' for used in uses.split())
    return f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{lines}'


SHOP: Dict[str, str] = {
    "Cargo.toml": f"[workspace]\nmembers = {list(USES)}\nresolver = '2'\n",
    **{f"{name}/Cargo.toml": _manifest(name, uses) for name, uses in USES.items()},
    **{
        f"{name}/src/{'main' if name == 'shop' else 'lib'}.rs": _source(number, name, uses)
        for number, (name, uses) in enumerate(USES.items())
    },
}
