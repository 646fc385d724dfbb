//! `bookshelf [PATTERN]`: the books whose title or author matches.

use std::process::ExitCode;

use bookshelf_core::{genre_name, search, Book};
use regex::Regex;

fn main() -> ExitCode {
    let pattern = std::env::args().nth(1).unwrap_or_default();
    let pattern = match Regex::new(&pattern) {
        Ok(pattern) => pattern,
        Err(error) => {
            eprintln!("bookshelf: {error}");
            return ExitCode::from(2);
        }
    };
    let books: Vec<Book> = serde_json::from_str(include_str!("books.json")).expect("books.json");
    println!("{}", Book::COLUMNS.join(" | "));
    for book in search(&books, &pattern) {
        println!(
            "{} | {} | {} | {}",
            book.title,
            book.author,
            book.year,
            genre_name(&book.genre)
        );
    }
    ExitCode::SUCCESS
}
