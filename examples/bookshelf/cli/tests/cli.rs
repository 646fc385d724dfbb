use std::process::Command;

#[test]
fn prints_what_matches() {
    let done = Command::new(env!("CARGO_BIN_EXE_bookshelf"))
        .arg("Le")
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success());
    assert_eq!(
        text,
        "title | author | year | genre\n\
         Solaris | Stanislaw Lem | 1961 | Science fiction\n\
         The Left Hand of Darkness | Ursula K. Le Guin | 1969 | Science fiction\n"
    );
}

#[test]
fn refuses_a_broken_pattern() {
    let done = Command::new(env!("CARGO_BIN_EXE_bookshelf"))
        .arg("(")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
}
