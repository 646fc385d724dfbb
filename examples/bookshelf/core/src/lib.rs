//! Books, and how to find them.

use bookshelf_macros::Columns;
use itertools::Itertools;
use regex::Regex;
use serde::{Deserialize, Serialize};

include!(concat!(env!("OUT_DIR"), "/genres.rs"));

#[derive(Clone, Columns, Debug, Deserialize, PartialEq, Serialize)]
pub struct Book {
    pub title: String,
    pub author: String,
    pub year: u16,
    /// A code of [`GENRES`].
    pub genre: String,
}

/// The name of a genre's code; the code itself where it is not known.
pub fn genre_name(code: &str) -> &str {
    GENRES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or(code, |(_, name)| name)
}

/// The books whose title or author matches, oldest first.
pub fn search<'a>(books: &'a [Book], pattern: &Regex) -> Vec<&'a Book> {
    books
        .iter()
        .filter(|book| pattern.is_match(&book.title) || pattern.is_match(&book.author))
        .sorted_by_key(|book| book.year)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_author_oldest_first() {
        let books: Vec<Book> = serde_json::from_str(
            r#"[{"title": "B", "author": "Le Guin", "year": 1974, "genre": "sf"},
                {"title": "A", "author": "Le Guin", "year": 1969, "genre": "sf"},
                {"title": "C", "author": "Herodotus", "year": 0, "genre": "hi"}]"#,
        )
        .unwrap();
        let found = search(&books, &Regex::new("Guin").unwrap());
        assert_eq!(
            found
                .iter()
                .map(|book| book.title.as_str())
                .collect::<Vec<_>>(),
            ["A", "B"]
        );
    }

    #[test]
    fn knows_genres_and_columns() {
        assert_eq!(genre_name("my"), "Mystery");
        assert_eq!(genre_name("xx"), "xx");
        assert_eq!(Book::COLUMNS, ["title", "author", "year", "genre"]);
    }
}
