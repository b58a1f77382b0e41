//! Files that a runtime or a pod mounts, each by itself, over paths of the image: `/etc/hosts`, `/etc/resolv.conf` …
//!
//! RUN writes to them as it would to the image's. What it writes ends with it, as it does in BuildKit, where the first two
//! are mounts as well; `/etc/hostname` is none there: what RUN writes to it is the image's, and is there for the next RUN.
//!
//! *Invariant: after a RUN the files are what they were before the build.*

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::Access;
use super::mountinfo::Mounted;
use super::volumes::{inode, open_files};
use crate::image::Timestamp;
use crate::rootfs::Exclusions;

/// What is larger is no file of a runtime's.
const LARGEST: u64 = 1 << 20;

/// The file that BuildKit does not mount.
const HOSTNAME: &str = "/etc/hostname";

/// A file of the image that a process has written where the container has its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its path, absolute inside the root file system.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
    /// Its mode and owner.
    pub access: Access,
    /// When it was written.
    pub modified: Timestamp,
}

/// The files as they were before the build.
#[derive(Debug)]
pub(super) struct PodFiles {
    saved: Vec<WrittenFile>,
    /// What RUNs have made of the image's host name.
    hostname: Option<WrittenFile>,
    /// Whether the last one has.
    is_written: bool,
}

impl PodFiles {
    /// Saves what is mounted writable, but for what the executor has open, and what is at or below `own`.
    pub(super) fn save(mounts: &[Mounted], own: &[PathBuf]) -> Self {
        let (open, own) = (open_files(), Exclusions::new(own));
        let is_ours = |path: &Path| own.contains(path.strip_prefix("/").unwrap_or(path));
        let writable = mounts.iter().filter(|mount| !mount.read_only && !is_ours(&mount.target));
        let saved = writable.filter_map(|mount| {
            let metadata = fs::symlink_metadata(&mount.target).ok()?;
            let is_saved = metadata.is_file() && metadata.len() <= LARGEST && !open.contains(&inode(&metadata));
            if is_saved { read(&mount.target).ok() } else { None }
        });
        Self { saved: saved.collect(), hostname: None, is_written: false }
    }

    /// Forgets what the image had: another one begins.
    pub(super) fn begin(&mut self) {
        (self.hostname, self.is_written) = (None, false);
    }

    /// Shows a RUN what the one before has written.
    pub(super) fn before_run(&mut self) -> io::Result<()> {
        self.is_written = false;
        self.hostname.iter().try_for_each(|hostname| {
            let is_mounted = self.saved.iter().any(|saved| saved.path == hostname.path);
            if is_mounted { put(hostname) } else { Ok(()) }
        })
    }

    /// Makes the files what they were, and takes note of what the image gets of them.
    pub(super) fn after_run(&mut self) -> io::Result<()> {
        for saved in &self.saved {
            let now = match read(&saved.path) {
                // The mount itself is gone: RUN may be allowed that.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                result => result?,
            };
            let is_hostname = saved.path == Path::new(HOSTNAME);
            let before = self.hostname.as_ref().filter(|_| is_hostname).unwrap_or(saved);
            if is_hostname && is_other(before, &now) {
                self.hostname = Some(now.clone());
                self.is_written = true;
            }
            if now != *saved {
                put(saved)?;
            }
        }
        Ok(())
    }

    /// Returns what the last RUN has written that is the image's.
    pub(super) fn written(&self) -> Vec<WrittenFile> {
        self.hostname.iter().filter(|_| self.is_written).cloned().collect()
    }
}

/// Tells whether a RUN has changed a file; that it has only been touched is no change of an image.
fn is_other(before: &WrittenFile, now: &WrittenFile) -> bool {
    (&before.content, before.access) != (&now.content, now.access)
}

fn read(path: &Path) -> io::Result<WrittenFile> {
    let metadata = fs::symlink_metadata(path)?;
    let access = Access { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() };
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    let modified = Timestamp { seconds: metadata.mtime(), nanoseconds };
    Ok(WrittenFile { path: path.to_owned(), content: fs::read(path)?, access, modified })
}

/// Writes a file in its place: it is a mount, and cannot be replaced.
fn put(file: &WrittenFile) -> io::Result<()> {
    let WrittenFile { path, content, access, modified } = file;
    fs::write(path, content)?;
    std::os::unix::fs::chown(path, Some(access.uid), Some(access.gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))?;
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_ends_with_the_run_and_a_file_is_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let mounted = |name: &str, read_only| {
            let target = directory.path().join(name);
            fs::write(&target, format!("{name} of the pod")).unwrap();
            Mounted { target, kind: "ext4".to_owned(), read_only }
        };
        let mounts = [mounted("hosts", false), mounted("frozen", true), mounted("ours", false)];
        let ours = directory.path().join("ours");
        let mut files = PodFiles::save(&mounts, std::slice::from_ref(&ours));
        assert_eq!(files.saved.len(), 1);
        let before = read(&mounts[0].target).unwrap();
        for _run in 0..2 {
            files.before_run().unwrap();
            fs::write(&mounts[0].target, "RUN's").unwrap();
            fs::set_permissions(&mounts[0].target, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&ours, "RUN's").unwrap();
            files.after_run().unwrap();
            assert_eq!(read(&mounts[0].target).unwrap(), before);
            assert!(files.written().is_empty());
        }
        assert_eq!(fs::read(&ours).unwrap(), b"RUN's");
    }
}
