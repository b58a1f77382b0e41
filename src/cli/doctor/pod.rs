//! Who we are in the pod, and what its kernel allows: read from /proc and /sys.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::sys::landlock;
use crate::sys::process::CapabilitySet;

/// Settings of the kernel that decide about isolations. Source: Documentation/admin-guide/sysctl, Landlock and AppArmor's
/// documents in the kernel's tree; unprivileged_userns_clone is Debian's.
const SETTINGS: [&str; 7] = [
    "kernel/apparmor_restrict_unprivileged_userns",
    "kernel/unprivileged_userns_clone",
    "kernel/yama/ptrace_scope",
    "user/max_mnt_namespaces",
    "user/max_user_namespaces",
    "vm/memfd_noexec",
    "vm/mmap_min_addr",
];

/// What is known of the kernel.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Kernel {
    pub(in crate::cli) release: String,
    pub(in crate::cli) machine: String,
    /// Landlock's version; zero for none.
    pub(in crate::cli) landlock: u32,
    /// Settings that are there, by their names in /proc/sys.
    pub(in crate::cli) settings: BTreeMap<&'static str, String>,
    /// The handlers of other machines' programs that are switched on.
    pub(in crate::cli) emulators: Vec<String>,
}

impl Kernel {
    /// Looks.
    pub(in crate::cli) fn look() -> Self {
        let name = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let value = |name: &&'static str| Some((*name, trimmed(&format!("/proc/sys/{name}"))?));
        Self {
            release: text(name.release()),
            machine: text(name.machine()),
            landlock: landlock::version(),
            settings: SETTINGS.iter().filter_map(value).collect(),
            emulators: emulators(Path::new("/proc/sys/fs/binfmt_misc")),
        }
    }
}

/// What this process may do.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Process {
    pub(super) uid: String,
    pub(super) gid: String,
    pub(super) groups: String,
    /// The process's number: 1 where it is the first of the container.
    pub(super) pid: u32,
    /// Those in effect.
    pub(super) capabilities: Vec<String>,
    /// Those that it could be given.
    pub(super) bounding: Vec<String>,
    pub(super) no_new_privileges: bool,
    /// `off`, `strict` or `filter`.
    pub(super) seccomp: &'static str,
    /// What the kernel's security module calls the process, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    /// Whether the user namespace has all ids, as that of the machine has.
    pub(super) all_ids: bool,
    pub(super) uid_map: String,
    pub(super) open_files: Option<u64>,
}

impl Process {
    /// Looks.
    pub(super) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let effective = |name| field(name).split_ascii_whitespace().nth(1).unwrap_or_default().to_owned();
        let uid_map = trimmed("/proc/self/uid_map").unwrap_or_default();
        let uid_map: Vec<&str> = uid_map.split_ascii_whitespace().collect();
        Self {
            uid: effective("Uid"),
            gid: effective("Gid"),
            groups: field("Groups"),
            pid: std::process::id(),
            capabilities: names(&field("CapEff")),
            bounding: names(&field("CapBnd")),
            no_new_privileges: field("NoNewPrivs") == "1",
            seccomp: match field("Seccomp").as_str() {
                "1" => "strict",
                "2" => "filter",
                _ => "off",
            },
            label: trimmed("/proc/self/attr/current").filter(|label| !label.is_empty()),
            // Source: user_namespaces(7): the first namespace maps all numbers but the last.
            all_ids: uid_map == ["0", "0", "4294967295"],
            uid_map: uid_map.join(" "),
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

/// Names the capabilities of a hexadecimal set.
fn names(hexadecimal: &str) -> Vec<String> {
    let set = CapabilitySet::from_bits_retain(u64::from_str_radix(hexadecimal, 16).unwrap_or_default());
    set.iter_names().map(|(name, _)| name.to_owned()).collect()
}

fn emulators(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_on = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.starts_with("enabled\ninterpreter"));
    let on = entries.filter(|entry| is_on(&entry.path()));
    let mut names: Vec<String> = on.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Reads a small file of the kernel's; none where there is no such, or it is not ours to read.
pub(super) fn trimmed(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_their_names() {
        assert_eq!(names("00000000a80425fb").len(), 14);
        assert_eq!(names("0000000000200000"), ["SYS_ADMIN"]);
        assert_eq!(names("0000000000000000"), [""; 0]);
    }

    #[test]
    fn only_what_is_switched_on_emulates() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("qemu-aarch64", "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: F\n"),
            ("qemu-arm", "disabled\ninterpreter /usr/bin/qemu-arm\n"),
            ("status", "enabled\n"),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        assert_eq!(emulators(directory.path()), ["qemu-aarch64"]);
    }
}
