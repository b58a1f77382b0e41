//! What was not run, and why: a skip is written down, so that `tests/run.sh` shows it and CI can refuse it.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::scratch;

/// Notes that `what` was skipped because of `reason` (the missing right or program).
pub(crate) fn skip(what: &str, reason: &str) {
    eprintln!("skipped: {what}: {reason}");
    let Some(path) = scratch::variable("YADOKARI_TEST_SKIPS") else { return };
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("the list of skips is writable");
    writeln!(file, "{what}\t{reason}").expect("the list of skips is writable");
}
