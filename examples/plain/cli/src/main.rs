//! `plain [N]`: a greeting and the square of N.

fn main() {
    let n: usize = std::env::args()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(12);
    println!(
        "{} {}",
        plain_core::GREETING,
        plain_core::SQUARES[n % plain_core::SQUARES.len()]
    );
}
