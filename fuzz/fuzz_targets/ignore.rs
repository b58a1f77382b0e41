//! A `.dockerignore` and paths: a walk from directory to directory says the same as asking for each path, and no
//! directory is skipped that has something in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::dockerfile::ignore::{Match, Patterns};

fuzz_target!(|bytes: &[u8]| {
    let (file, paths) = bytes.split_at(bytes.iter().rposition(|byte| *byte == 0).unwrap_or(bytes.len()));
    let Ok(patterns) = Patterns::parse(file) else { return };
    for path in paths.split(|byte| *byte == b'\n').take(8) {
        let path: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"." | b"..")).collect();
        let mut walked = Match::default();
        for depth in 1..=path.len() {
            let (parent, here) = (path[..depth - 1].join(&b'/'), path[..depth].join(&b'/'));
            let next = patterns.below(&walked, &here);
            assert_eq!(next, patterns.matches(&here));
            if walked.excluded && !next.excluded {
                assert!(patterns.may_reinclude_below(&walked, &parent));
            }
            walked = next;
        }
    }
});
