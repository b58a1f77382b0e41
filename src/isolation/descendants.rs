//! The tree of processes, as /proc shows it, and the end of those in it that RUN has left.
//!
//! Knows parents and sessions. Does not know what the processes are for, but that a RUN has a session of its own, which
//! none of its processes can leave for ours.
//!
//! *Invariant: only processes that descend from this one are ended, and none that is in this one's session.*

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Error, remedy};
use crate::sys::process::{self, CapabilitySet, Pid};

/// How long descendants that do not die are waited for; only one in the kernel's hands takes that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long one round of signals is given before the next.
const PAUSE: Duration = Duration::from_millis(1);

/// What /proc tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) parent: u32,
    session: u32,
}

/// Every process that /proc shows, by its number.
pub(super) type Processes = BTreeMap<u32, Seen>;

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Somebody outside the container, the kernel, or a process that this one descends from.
    Above,
    /// A process that a RUN has started.
    Run,
    /// Another process of the container, with this number.
    Other(i32),
    /// A process of the container that is gone by now.
    Gone(i32),
}

impl Sender {
    /// Finds out whose process `sender` is; to be called soon, before it ends.
    pub fn of(sender: Option<Pid>) -> Self {
        let Some(sender) = sender.map(Pid::as_raw) else { return Self::Above };
        let processes = processes();
        let own = std::process::id();
        let Some(number) = u32::try_from(sender).ok().filter(|number| processes.contains_key(number)) else {
            return Self::Gone(sender);
        };
        if number == own || ancestors(own, &processes).contains(&number) {
            return Self::Above;
        }
        let session = |process| processes.get(&process).map(|seen| seen.session);
        let is_of_run = ancestors(number, &processes).contains(&own) && session(number) != session(own);
        if is_of_run { Self::Run } else { Self::Other(sender) }
    }
}

/// Reads what /proc shows.
pub(super) fn processes() -> Processes {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid: u32 = name.to_str()?.parse().ok()?;
            let stat = std::fs::read(Path::new("/proc").join(name).join("stat")).ok()?;
            Some((pid, parse(&stat)?))
        })
        .collect()
}

/// Finds the fields of a `/proc/<pid>/stat` from the parent on; the command's name before them may hold any byte.
pub(super) fn fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(&stat[after..]).ok()?;
    Some(text.split_ascii_whitespace().skip(1))
}

fn parse(stat: &[u8]) -> Option<Seen> {
    let mut fields = fields(stat)?;
    let parent = fields.next()?.parse().ok()?;
    Some(Seen { parent, session: fields.nth(1)?.parse().ok()? })
}

/// Lists what a process descends from, its parent first.
pub(super) fn ancestors(of: u32, processes: &Processes) -> Vec<u32> {
    let parent = |process: &u32| processes.get(process).map(|seen| seen.parent).filter(|parent| *parent != 0);
    // No chain is longer than there are processes: a reading that is not of one moment may be a circle.
    std::iter::successors(parent(&of), parent).take(processes.len()).collect()
}

/// Lists what descends from a process.
pub(super) fn descendants(of: u32, processes: &Processes) -> Vec<u32> {
    below(of, processes, |_| true)
}

/// Lists what is below a process, by way of those of its children that are wanted; each process is looked at once, since
/// a RUN may have made a chain of very many.
fn below(of: u32, processes: &Processes, is_wanted: impl Fn(&Seen) -> bool) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (process, seen) in processes {
        children.entry(seen.parent).or_default().push(*process);
    }
    let first = children.remove(&of).unwrap_or_default().into_iter();
    let mut next: Vec<u32> = first.filter(|child| processes.get(child).is_some_and(&is_wanted)).collect();
    let mut found = Vec::new();
    while let Some(process) = next.pop() {
        found.push(process);
        // Taken away, so that a reading that is not of one moment, and has a circle, ends.
        next.extend(children.remove(&process).unwrap_or_default());
    }
    found.sort_unstable();
    found
}

/// Lists the children of `of` that are not in its session, and all that descends from them.
fn strangers(of: u32, processes: &Processes) -> Vec<u32> {
    let Some(own) = processes.get(&of) else { return Vec::new() };
    below(of, processes, |child| child.session != own.session)
}

/// Sends SIGKILL to all of them.
pub(super) fn kill(processes: &[u32]) {
    for process in processes.iter().filter_map(|process| i32::try_from(*process).ok()) {
        let _gone_already = nix::sys::signal::kill(Pid::from_raw(process), Signal::SIGKILL);
    }
}

/// Ends, and waits for the end of, what a RUN has left whose `init` is gone: it has become this process's children,
/// since this process adopts orphans. Other children, and what belongs to them, are left alone.
pub(super) fn end_strangers() -> Result<(), Error> {
    let own = std::process::id();
    let begin = Instant::now();
    loop {
        let processes = processes();
        let left = strangers(own, &processes);
        if left.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(Error::Left { text: left_behind(&left) });
        }
        kill(&left);
        for child in left.iter().filter(|process| processes.get(process).is_some_and(|seen| seen.parent == own)) {
            let _still_ending = i32::try_from(*child).map(|child| process::has_ended(Pid::from_raw(child)));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Says which processes cannot be ended, and what would give the right to end them.
pub(super) fn left_behind(processes: &[u32]) -> String {
    let names: Vec<String> = processes.iter().take(5).map(|process| described(*process)).collect();
    let more = processes.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let right = if process::capabilities().contains(CapabilitySet::KILL) {
        String::new()
    } else {
        format!(", and the executor has no CAP_KILL; {}", remedy::KILL)
    };
    format!("{}{more}{right}", names.join(", "))
}

fn described(process: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_ascii_whitespace().next()).unwrap_or("?").to_owned()
    };
    format!("process {process} ({}) of user {}", field("Name"), field("Uid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[(u32, u32, u32)]) -> Processes {
        lines.iter().map(|(process, parent, session)| (*process, Seen { parent: *parent, session: *session })).collect()
    }

    #[test]
    fn the_numbers_are_found_past_any_command_name() {
        for (stat, expected) in [
            ("12 (sh) S 7 12 13 0", Some((7, 13))),
            ("12 (a ) R 9) S 7 12 14", Some((7, 14))),
            ("12 (\u{fffd} x", None),
            ("", None),
        ] {
            assert_eq!(parse(stat.as_bytes()), expected.map(|(parent, session)| Seen { parent, session }), "{stat}");
        }
    }

    #[test]
    fn descendants_are_those_of_any_depth() {
        let all = seen(&[(2, 1, 0), (5, 2, 0), (6, 5, 0), (7, 1, 0), (8, 9, 0), (9, 8, 0)]);
        assert_eq!(descendants(2, &all), [5, 6]);
        assert_eq!(descendants(1, &all), [2, 5, 6, 7]);
        assert_eq!(descendants(6, &all), Vec::<u32>::new());
        assert_eq!(ancestors(6, &all), [5, 2, 1]);
    }

    #[test]
    fn a_chain_of_very_many_processes_is_looked_through_once() {
        let all: Vec<_> = (1..100_000).map(|process| (process, process - 1, 1)).collect();
        assert_eq!(descendants(1, &seen(&all)).len(), 99_998);
    }

    #[test]
    fn what_a_lost_init_leaves_is_told_from_what_others_have() {
        // 2 is ours; 3 an init that lives, with its RUN 4; 5 what another has left, with a child that went on; 7 a helper.
        let all = seen(&[(1, 0, 1), (2, 1, 1), (3, 2, 1), (4, 3, 4), (5, 2, 5), (6, 5, 6), (7, 2, 1), (8, 1, 8)]);
        assert_eq!(strangers(2, &all), [5, 6]);
        assert_eq!(strangers(9, &all), Vec::<u32>::new());
    }
}
