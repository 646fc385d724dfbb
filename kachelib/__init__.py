"""kache: a compile cache for Rust that ships as one file."""

VERSION = "0.1.0"
