//! A generated table and a greeting from a macro.

include!(concat!(env!("OUT_DIR"), "/squares.rs"));

pub const GREETING: &str = plain_macros::shout!("hello");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_its_parts() {
        assert_eq!(SQUARES[12], 144);
        assert_eq!(GREETING, "HELLO");
    }
}
