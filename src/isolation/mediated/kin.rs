//! Which processes are RUN's: those that descend from this one.

use std::fs;

use crate::isolation::descendants;

/// What `/proc/<process>/stat` tells, from the parent on.
pub(super) fn fields(process: i32) -> Option<Vec<i64>> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    Some(descendants::fields(&stat)?.map(|field| field.parse().unwrap_or_default()).collect())
}

fn parent(process: i32) -> Option<i32> {
    i32::try_from(*fields(process)?.first()?).ok()
}

/// Tells whether a process or thread descends from this process.
pub(super) fn is_own(process: i32) -> bool {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut at = process;
    // No chain is as long; a reading that is not of one moment may be a circle.
    for _ in 0..10_000 {
        match parent(at) {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => at = parent,
            Some(_) | None => return false,
        }
    }
    false
}

/// Lists RUN's processes.
pub(super) fn all() -> Vec<i32> {
    let all = descendants::descendants(std::process::id(), &descendants::processes());
    all.into_iter().filter_map(|process| i32::try_from(process).ok()).collect()
}

/// Returns the process that a thread belongs to.
pub(super) fn process_of(thread: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(thread)
}

/// Tells how many threads a process has.
pub(super) fn threads(process: i32) -> usize {
    fs::read_dir(format!("/proc/{process}/task")).map_or(1, Iterator::count)
}
