//! How much room there is: on disks, in memory, of processors.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use serde::Serialize;

use crate::isolation;
use crate::sys::control_groups::Groups;

/// A file system that a build writes to or reads from.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Disk {
    /// What it is to a build.
    #[serde(rename = "for")]
    pub(super) purpose: &'static str,
    pub(super) path: PathBuf,
    /// `overlay`, `ext4`, `tmpfs` …
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// In bytes.
    pub(super) size: u64,
    /// In bytes, for this user.
    pub(super) free: u64,
    /// Files that can still be made; zero where the file system does not count them.
    pub(super) free_files: u64,
    pub(super) writable: bool,
    pub(super) no_exec: bool,
    pub(super) no_setuid: bool,
    pub(super) no_devices: bool,
}

/// Looks at what is below the directory for temporary files, the working directory, and `/`.
pub(super) fn disks(state: &Path, working: &Path) -> Vec<Disk> {
    let places =
        [("temporary files", state), ("the working directory", working), ("the root directory", Path::new("/"))];
    places.into_iter().filter_map(|(purpose, path)| disk(purpose, path)).collect()
}

/// Looks at the file system that a path is on, or would be when it was made.
fn disk(purpose: &'static str, path: &Path) -> Option<Disk> {
    let there = path.ancestors().find(|path| path.is_dir())?;
    let found = statvfs(there).ok()?;
    let is = |flag| found.f_flag.contains(flag);
    Some(Disk {
        purpose,
        path: there.to_owned(),
        kind: isolation::file_system(there).unwrap_or_default(),
        size: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        free_files: found.f_favail,
        writable: access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        no_exec: is(StatVfsMountFlags::NOEXEC),
        no_setuid: is(StatVfsMountFlags::NOSUID),
        no_devices: is(StatVfsMountFlags::NODEV),
    })
}

/// What the machine has, and the control group allows.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Memory {
    /// Of the machine, in bytes.
    pub(super) machine: Option<u64>,
    /// Of the machine, not in use, in bytes.
    pub(super) available: Option<u64>,
    /// What the control group may use, in bytes; none for all.
    pub(super) limit: Option<u64>,
    /// What it uses, its files in memory included, in bytes.
    pub(super) used: Option<u64>,
    /// How many processes there may be.
    pub(super) processes: Option<u64>,
    /// Processors that we may use, by affinity and control group.
    pub(super) processors: usize,
    /// The control group's version: 1 or 2.
    pub(super) control_groups: Option<u8>,
}

impl Memory {
    /// Looks.
    pub(super) fn look() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let groups = Groups::of_this_process();
        Self {
            machine: of_meminfo(&text, "MemTotal:"),
            available: of_meminfo(&text, "MemAvailable:"),
            limit: groups.memory_limit(),
            used: groups.first("memory", &["memory.current", "memory.usage_in_bytes"]),
            processes: groups.least("pids", &["pids.max"]),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            control_groups: groups.version,
        }
    }
}

fn of_meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)], own: &str) -> (tempfile::TempDir, Groups) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let groups = Groups::find(own, root.path());
        (root, groups)
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_holds() {
        let files = [
            ("cgroup.controllers", "memory pids\n"),
            ("pod/memory.max", "1000\n"),
            ("pod/step/memory.max", "max\n"),
            ("pod/step/memory.current", "7\n"),
        ];
        let (_root, groups) = group(&files, "0::/pod/step\n");
        assert_eq!(groups.version, Some(2));
        assert_eq!(groups.least("memory", &["memory.max"]), Some(1000));
        assert_eq!(groups.first("memory", &["memory.current"]), Some(7));
        assert_eq!(groups.least("pids", &["pids.max"]), None);
    }

    #[test]
    fn a_group_that_is_not_seen_is_the_root_and_no_limit_is_none() {
        let files =
            [("memory/memory.limit_in_bytes", "9223372036854771712\n"), ("memory/memory.usage_in_bytes", "5\n")];
        let (_root, groups) = group(&files, "3:cpu,cpuacct:/x\n4:memory:/kubepods/pod1\n");
        assert_eq!(groups.version, Some(1));
        assert_eq!(groups.least("memory", &["memory.max", "memory.limit_in_bytes"]), None);
        assert_eq!(groups.first("memory", &["memory.current", "memory.usage_in_bytes"]), Some(5));
    }
}
