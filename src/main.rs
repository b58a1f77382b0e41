//! The `yadokari` executor.

fn main() {}
