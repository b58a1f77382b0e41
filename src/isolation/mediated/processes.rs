//! `/proc` as RUN sees it: its own processes, in directories of our own, and files that are made when they are read.
//!
//! *Invariant: no directory of the real `/proc` is ever given to RUN, nor anything of a process that is not RUN's.*

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use super::people::Credentials;
use super::view::{Found, PLACE, Special, View, inode};
use super::walk::{Child, below};
use super::{kin, machine};

/// Files of the machine as a whole.
const WHOLE: &[&str] = &[
    "cgroups",
    "cmdline",
    "consoles",
    "cpuinfo",
    "crypto",
    "devices",
    "diskstats",
    "filesystems",
    "loadavg",
    "meminfo",
    "misc",
    "partitions",
    "stat",
    "swaps",
    "uptime",
    "version",
    "vmstat",
];
const LINKS: &[(&str, &str)] = &[("mounts", "self/mounts"), ("net", "self/net")];
/// Files of a process.
const OF_A_PROCESS: &[&str] = &[
    "cgroup",
    "cmdline",
    "comm",
    "cpuset",
    "environ",
    "gid_map",
    "io",
    "limits",
    "loginuid",
    "maps",
    "mountinfo",
    "mounts",
    "oom_adj",
    "oom_score",
    "oom_score_adj",
    "personality",
    "sched",
    "schedstat",
    "sessionid",
    "setgroups",
    "smaps",
    "smaps_rollup",
    "stat",
    "statm",
    "status",
    "timerslack_ns",
    "uid_map",
    "wchan",
];
const LINKS_OF_A_PROCESS: &[&str] = &["cwd", "exe", "root"];
/// Files of a process that it may write, though they are not in memory.
const WRITABLE: &[&str] = &["comm", "oom_score_adj", "oom_adj", "timerslack_ns"];
const OF_THE_NETWORK: &[&str] =
    &["arp", "dev", "if_inet6", "ipv6_route", "route", "snmp", "sockstat", "tcp", "tcp6", "udp", "udp6", "unix"];

/// What a path below `/proc` names.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Top,
    /// Below `/proc/sys`.
    Settings,
    /// A process, or a thread of one, and what comes after its number.
    Of(i32, Vec<&'a str>),
    Unknown,
}

fn place(path: &Path) -> Place<'_> {
    let parts: Option<Vec<&str>> =
        path.components().map(|part| if let Component::Normal(name) = part { name.to_str() } else { None }).collect();
    let Some(parts) = parts else { return Place::Unknown };
    match parts.as_slice() {
        [] => Place::Top,
        ["sys", ..] => Place::Settings,
        [_, "task", thread, rest @ ..] => {
            thread.parse().map_or(Place::Unknown, |thread| Place::Of(thread, rest.to_vec()))
        }
        [process, rest @ ..] => process.parse().map_or(Place::Unknown, |process| Place::Of(process, rest.to_vec())),
    }
}

/// Says what a name in a directory below `/proc` is; `at` is the directory of ours that stands for it.
pub(super) fn child(view: &View, at: &OwnedFd, path: &Path, name: &OsStr) -> Result<Child, Errno> {
    let inside = below(path, "/proc");
    let text = name.to_str().ok_or(Errno::NOENT)?;
    match place(&inside) {
        Place::Settings => return machine::child(at, path, name),
        Place::Top => {
            if text == "self" {
                make_link(at, text)?;
                return Ok(Child::Link(kin::process_of(view.caller.get()).to_string().into()));
            }
            if text == "thread-self" {
                let caller = view.caller.get();
                make_link(at, text)?;
                return Ok(Child::Link(format!("{}/task/{caller}", kin::process_of(caller)).into()));
            }
            if text == "sys" {
                return directory(at, name);
            }
            if let Ok(process) = text.parse::<i32>() {
                return if kin::is_own(process) { of_process(view, at, name, process) } else { Err(Errno::NOENT) };
            }
            if let Some((_, link)) = LINKS.iter().find(|(known, _)| *known == text) {
                make_link(at, text)?;
                return Ok(Child::Link(OsString::from(link)));
            }
            if !WHOLE.contains(&text) || !Path::new("/proc").join(text).exists() {
                return Err(Errno::NOENT);
            }
        }
        Place::Of(process, rest) => match rest.as_slice() {
            [] if matches!(text, "fd" | "task" | "net" | "fdinfo") => return directory(at, name),
            [] if LINKS_OF_A_PROCESS.contains(&text) => {
                make_link(at, text)?;
                return link_of_process(view, process, text);
            }
            [] if OF_A_PROCESS.contains(&text) => {}
            ["fd"] => {
                let number = text.parse().map_err(|_| Errno::NOENT)?;
                make_link(at, text)?;
                return descriptor(view, process, number);
            }
            ["task"] => {
                let thread: i32 = text.parse().map_err(|_| Errno::NOENT)?;
                return if kin::process_of(thread) == kin::process_of(process) {
                    of_process(view, at, name, thread)
                } else {
                    Err(Errno::NOENT)
                };
            }
            ["net"] if OF_THE_NETWORK.contains(&text) => {}
            _ => return Err(Errno::NOENT),
        },
        Place::Unknown => return Err(Errno::NOENT),
    }
    make_file(at, text)?;
    let found = rustix::fs::openat(at, name, PLACE, Mode::empty())?;
    Ok(Child::Here(Found::special(found, Special::Process(inside.join(name)))))
}

fn directory(at: &OwnedFd, name: &OsStr) -> Result<Child, Errno> {
    ignore_existing(rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755)))?;
    Ok(Child::Here(rustix::fs::openat(at, name, PLACE, Mode::empty())?.into()))
}

fn of_process(view: &View, at: &OwnedFd, name: &OsStr, process: i32) -> Result<Child, Errno> {
    let found = directory(at, name)?;
    if let Child::Here(Found { at, .. }) = &found {
        let who = credentials(view, process);
        let (uid, gid) = (who.user.effective, who.group.effective);
        view.owners.change(inode(&rustix::fs::fstat(at)?), |row| (row.uid, row.gid) = (uid, gid));
    }
    Ok(found)
}

fn credentials(view: &View, process: i32) -> std::rc::Rc<Credentials> {
    let people = view.people.borrow();
    let label = people.label(crate::sys::process::Pid::from_raw(process));
    people.who(label.unwrap_or(super::people::Label::FIRST))
}

fn ignore_existing(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

fn make_link(at: &OwnedFd, name: &str) -> Result<(), Errno> {
    ignore_existing(rustix::fs::symlinkat("?", at, name))
}

fn make_file(at: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    ignore_existing(rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o444)).map(drop))
}

/// Says where `cwd`, `exe` or `root` of a process leads.
fn link_of_process(view: &View, process: i32, name: &str) -> Result<Child, Errno> {
    match name {
        "root" => Ok(Child::Link("/".into())),
        "exe" => {
            let program = program(view, process)?;
            Ok(Child::Link(program))
        }
        _ => {
            let link = format!("/proc/{process}/cwd");
            let at = rustix::fs::open(&link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let path = super::view::real_path(&at).and_then(|path| view.inside(&path));
            Ok(Child::Elsewhere(at, path))
        }
    }
}

fn program(view: &View, process: i32) -> Result<OsString, Errno> {
    let people = view.people.borrow();
    let program = people.program(people.label(crate::sys::process::Pid::from_raw(process))?);
    if program.is_empty() { Err(Errno::NOENT) } else { Ok(program.clone()) }
}

fn descriptor(view: &View, process: i32, number: i32) -> Result<Child, Errno> {
    let link = format!("/proc/{process}/fd/{number}");
    let at = rustix::fs::open(&link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = super::view::real_path(&at).and_then(|path| view.inside(&path));
    Ok(Child::Elsewhere(at, path))
}

/// Returns the text of a link below `/proc`.
pub(super) fn link_text(view: &View, path: &Path) -> Result<OsString, Errno> {
    let name = path.file_name().and_then(OsStr::to_str).ok_or(Errno::INVAL)?;
    match place(path.parent().unwrap_or(Path::new(""))) {
        Place::Top => match name {
            "self" => Ok(kin::process_of(view.caller.get()).to_string().into()),
            "thread-self" => {
                let caller = view.caller.get();
                Ok(format!("{}/task/{caller}", kin::process_of(caller)).into())
            }
            _ => LINKS.iter().find(|(known, _)| *known == name).map(|(_, to)| (*to).into()).ok_or(Errno::INVAL),
        },
        Place::Of(process, rest) => match (rest.as_slice(), name) {
            ([], "root") => Ok("/".into()),
            ([], "exe") => program(view, process),
            ([], "cwd") => shown(view, &format!("/proc/{process}/cwd")),
            (["fd"], number) => shown(view, &format!("/proc/{process}/fd/{number}")),
            _ => Err(Errno::INVAL),
        },
        Place::Settings | Place::Unknown => Err(Errno::INVAL),
    }
}

/// Returns the text of a link of the real `/proc` as RUN sees it.
pub(super) fn shown(view: &View, link: &str) -> Result<OsString, Errno> {
    let text = rustix::fs::readlink(link, Vec::new())?.into_bytes();
    if !text.starts_with(b"/") || text.starts_with(b"/memfd:") {
        return Ok(OsString::from_vec(text));
    }
    let (real, end) = match text.strip_suffix(b" (deleted)") {
        Some(real) => (real, b" (deleted)".as_slice()),
        None => (text.as_slice(), b"".as_slice()),
    };
    match view.inside(Path::new(OsStr::from_bytes(real))) {
        Some(inside) => Ok(OsString::from_vec([inside.as_os_str().as_bytes(), end].concat())),
        // A device of the machine's has the same name here.
        None if real.starts_with(b"/dev/") => Ok(OsString::from_vec(text)),
        None => Err(Errno::NOENT),
    }
}

/// Puts all names of a directory below `/proc` into ours, before it is listed.
pub(super) fn fill(view: &View, at: &OwnedFd, path: &Path) {
    let inside = below(path, "/proc");
    let names: Vec<String> = match place(&inside) {
        Place::Settings => return machine::fill(at, path),
        Place::Top => {
            let processes: Vec<String> = kin::all().iter().map(ToString::to_string).collect();
            forget_ended(at, view, &processes);
            let whole = WHOLE.iter().chain(&["self", "thread-self", "sys", "mounts", "net"]);
            processes.into_iter().chain(whole.map(|name| (*name).to_owned())).collect()
        }
        Place::Of(process, rest) => match rest.as_slice() {
            [] => {
                let files = OF_A_PROCESS.iter().chain(LINKS_OF_A_PROCESS).chain(&["fd", "task", "net"]);
                files.map(|name| (*name).to_owned()).collect()
            }
            [list @ ("fd" | "task")] => {
                let now = numbers(&format!("/proc/{process}/{list}"));
                forget_ended(at, view, &now);
                now
            }
            ["net"] => OF_THE_NETWORK.iter().map(|name| (*name).to_owned()).collect(),
            _ => return,
        },
        Place::Unknown => return,
    };
    for name in names {
        let _gone_meanwhile = child(view, at, path, OsStr::new(&name));
    }
}

fn numbers(directory: &str) -> Vec<String> {
    let names = fs::read_dir(directory).into_iter().flatten();
    names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Removes the numbers that stand in our directory and are no more.
fn forget_ended(at: &OwnedFd, view: &View, now: &[String]) {
    let Some(real) = super::view::real_path(at) else { return };
    for name in numbers(&real.to_string_lossy()) {
        if name.parse::<i32>().is_ok() && !now.contains(&name) {
            if let Ok(stat) = rustix::fs::statat(at, &name, AtFlags::SYMLINK_NOFOLLOW) {
                view.owners.forget(inode(&stat));
            }
            let _tried_again_next_time = crate::rootfs::remove(&real.join(&name));
        }
    }
}

/// Opens a file below `/proc`.
pub(super) fn open(view: &View, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let real = Path::new("/proc").join(path);
    if !(flags & OFlags::ACCMODE).is_empty() {
        return match place(path) {
            Place::Of(process, rest) if WRITABLE.contains(&name) && rest.len() == 1 && kin::is_own(process) => {
                let flags = flags.difference(OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC);
                rustix::fs::open(real, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            }
            Place::Of(..) => Err(Errno::ACCESS),
            Place::Top | Place::Settings | Place::Unknown => Err(Errno::ROFS),
        };
    }
    match place(path) {
        Place::Of(process, rest) => match rest.as_slice() {
            ["status"] => made(&status(view, process, &fs::read(&real).map_err(machine::errno)?)),
            ["maps" | "smaps"] => made(&without_root(view, &fs::read(&real).map_err(machine::errno)?)),
            ["mounts"] => made(mounts(view, false).as_bytes()),
            ["mountinfo"] => made(mounts(view, true).as_bytes()),
            ["uid_map" | "gid_map"] => made(b"         0          0 4294967295\n"),
            _ => machine::open(&real),
        },
        Place::Top | Place::Settings | Place::Unknown => machine::open(&real),
    }
}

/// Makes a file in memory.
fn made(content: &[u8]) -> Result<OwnedFd, Errno> {
    let memory = rustix::fs::memfd_create("proc", MemfdFlags::CLOEXEC)?;
    fs::File::from(memory.try_clone().map_err(machine::errno)?).write_all(content).map_err(machine::errno)?;
    super::view::reopen(&memory, OFlags::RDONLY)
}

/// Puts into `status` who the process is for RUN.
fn status(view: &View, process: i32, real: &[u8]) -> Vec<u8> {
    let label = view.people.borrow().label(crate::sys::process::Pid::from_raw(process));
    let umask = label.map_or(0o022, |label| label.umask);
    let who = credentials(view, process);
    let (user, group, sets) = (who.user, who.group, who.capabilities);
    let groups: Vec<String> = who.groups.iter().map(|group| format!("{group} ")).collect();
    let mut text = String::new();
    for line in String::from_utf8_lossy(real).lines() {
        let name = line.split(':').next().unwrap_or_default();
        let set = |bits: u64| format!("{name}:\t{bits:016x}");
        let ids =
            |ids: super::people::Ids| format!("{name}:\t{}\t{}\t{}\t{}", ids.real, ids.effective, ids.saved, ids.files);
        let line = match name {
            "Uid" => ids(user),
            "Gid" => ids(group),
            "Groups" => format!("Groups:\t{}", groups.concat()),
            "CapInh" => set(sets.inheritable),
            "CapPrm" => set(sets.permitted),
            "CapEff" => set(sets.effective),
            "CapBnd" => set(sets.bounding),
            "CapAmb" => set(sets.ambient),
            "Umask" => format!("Umask:\t{umask:04o}"),
            "TracerPid" => "TracerPid:\t0".to_owned(),
            _ => line.to_owned(),
        };
        let _never_fails = writeln!(text, "{line}");
    }
    text.into_bytes()
}

/// Shows the files of a process's memory where RUN sees them.
fn without_root(view: &View, real: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(real.len());
    for line in real.split_inclusive(|byte| *byte == b'\n') {
        let (before, path) = match memchr::memchr(b'/', line) {
            Some(slash) if line[..slash].ends_with(b" ") => line.split_at(slash),
            _ => (line, b"".as_slice()),
        };
        text.extend_from_slice(before);
        if !path.is_empty() {
            let shown = path.strip_suffix(b"\n").unwrap_or(path);
            match view.inside(Path::new(OsStr::from_bytes(shown))) {
                Some(inside) => text.extend_from_slice(inside.as_os_str().as_bytes()),
                None => text.extend_from_slice(shown),
            }
            text.push(b'\n');
        }
    }
    text
}

/// Lists what is mounted, as `/proc/<process>/mounts` or `mountinfo` do.
fn mounts(view: &View, info: bool) -> String {
    let mut text = String::new();
    for (number, mount) in view.mounts.iter().enumerate() {
        let kind = match (number, mount.kind, mount.target.to_str()) {
            (0, ..) => "overlay",
            (_, super::view::Kind::Processes, _) => "proc",
            (_, super::view::Kind::System, _) => "sysfs",
            (_, super::view::Kind::Plain, Some("/dev")) => "tmpfs",
            (_, super::view::Kind::Plain, _) => "ext4",
        };
        let access = if mount.read_only { "ro" } else { "rw" };
        let target = mount.target.display();
        let _never_fails = if info {
            let (own, parent) = (number + 100, if number == 0 { 99 } else { 100 });
            writeln!(text, "{own} {parent} 0:{} / {target} {access},relatime - {kind} {kind} {access}", number + 50)
        } else {
            writeln!(text, "{kind} {target} {kind} {access},relatime 0 0")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        for (path, expected) in [
            ("", Place::Top),
            ("sys/kernel/x", Place::Settings),
            ("12", Place::Of(12, vec![])),
            ("12/fd", Place::Of(12, vec!["fd"])),
            ("12/task/13/status", Place::Of(13, vec!["status"])),
            ("12/task", Place::Of(12, vec!["task"])),
            ("x/y", Place::Unknown),
        ] {
            assert_eq!(place(Path::new(path)), expected, "{path}");
        }
    }
}
