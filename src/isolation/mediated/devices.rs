//! Devices of RUN: data in the table of owners, behind which the usual few are the machine's.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::kin;
use super::open::{Wanted, hand};
use super::supervisor::{Outcome, Supervisor};
use super::task::Call;
use super::view::{inode, kind};
use crate::isolation::nodes::DEVICES;
use crate::rootfs::Device;

/// The usual devices, and those of terminals. Source: Linux, admin-guide/devices.txt.
pub(super) fn usual() -> impl Iterator<Item = (&'static str, u32, u32)> {
    DEVICES.into_iter().chain([("ptmx", 5, 2), ("console", 5, 1)])
}

/// Majors of terminals. Source: Linux, admin-guide/devices.txt.
const TERMINALS: u32 = 136;

impl Supervisor {
    pub(super) fn open_device(&mut self, call: &Call, device: &Device, wanted: Wanted) -> Outcome {
        if device.block {
            return Err(Errno::NXIO);
        }
        let flags = wanted.flags.difference(OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC | OFlags::NOFOLLOW)
            | OFlags::CLOEXEC
            | OFlags::NOCTTY;
        let open = |path: &str| rustix::fs::open(path, flags, Mode::empty());
        match (device.major, device.minor) {
            (5, 2) => {
                let opened = open("/dev/ptmx")?;
                self.note_terminal(call, &opened);
                hand(opened, wanted)
            }
            (5, 0) => {
                // Field 7 of proc_pid_stat(5): the controlling terminal, of which we know the new kind alone.
                let number =
                    kin::fields(call.task.as_raw()).and_then(|fields| fields.get(3).copied()).unwrap_or_default();
                let number = u32::try_from(number).unwrap_or_default();
                let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
                if major == TERMINALS { hand(open(&format!("/dev/pts/{minor}"))?, wanted) } else { Err(Errno::NXIO) }
            }
            (TERMINALS, number) if self.terminals.contains(&number) => {
                hand(open(&format!("/dev/pts/{number}"))?, wanted)
            }
            (major, minor) => match DEVICES.iter().find(|(_, a, b)| *a == 1 && (*a, *b) == (major, minor)) {
                Some((name, ..)) => hand(open(&format!("/dev/{name}"))?, wanted),
                None => Err(Errno::NXIO),
            },
        }
    }

    /// Returns what stands in RUN's `/dev` for an open device of the machine's: programs look a terminal's name up by it.
    pub(super) fn shown_device(&self, stat: &Stat) -> Option<Stat> {
        if kind(stat) != libc::S_IFCHR || self.view.is_ours(stat) {
            return None;
        }
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let name = match usual().find(|(_, a, b)| (*a, *b) == (major, minor)) {
            Some((name, ..)) => name.to_owned(),
            None if major == TERMINALS && self.terminals.contains(&minor) => format!("pts/{minor}"),
            None => return None,
        };
        let devices = self.view.mounts.iter().find(|mount| mount.target.as_os_str() == "/dev")?;
        let there = rustix::fs::statat(&devices.root, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(self.view.told(there).0)
    }

    /// Takes note of a new terminal, whose other end is then in `/dev/pts`.
    fn note_terminal(&mut self, call: &Call, opened: &OwnedFd) {
        let Ok(name) = rustix::pty::ptsname(opened, Vec::new()) else { return };
        let Some(number) = name.to_str().ok().and_then(|name| name.strip_prefix("/dev/pts/")?.parse().ok()) else {
            return;
        };
        self.terminals.insert(number);
        let Some(mount) = self.view.mounts.iter().find(|mount| mount.target.as_os_str() == "/dev") else { return };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = format!("pts/{number}");
        let Ok(stat) =
            rustix::fs::openat(&mount.root, &name, flags, Mode::from_raw_mode(0o620)).and_then(rustix::fs::fstat)
        else {
            return;
        };
        let owner = call.who.user.files;
        self.view.owners.change(inode(&stat), |row| {
            (row.uid, row.gid) = (owner, 5);
            row.device = Some(Device { block: false, major: TERMINALS, minor: number });
        });
    }
}
