//! A file in the making, in the directory where it will be.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, openat, renameat, unlinkat};

use super::random_name;

/// Who owns files of users that a user namespace does not know. Source: `/proc/sys/kernel/overflowuid`, proc(5).
const UNKNOWN_OWNER: u32 = 65534;
const WRITE: u32 = 0o222;
const STICKY: u32 = 0o1000;

/// A file in the making; dropped unfinished, it leaves nothing, and what stood in its place stays.
#[derive(Debug)]
pub struct Draft {
    pub(super) file: File,
    /// Where it is until it is whole; none for what is written into.
    pub(super) staged: Option<Staged>,
}

#[derive(Debug)]
pub(super) struct Staged {
    directory: OwnedFd,
    temporary: OsString,
    name: OsString,
}

impl Draft {
    /// Makes a file that takes its place when it is finished.
    ///
    /// Whoever may write in the directory may write the file, since other steps may run as other users.
    pub(super) fn create(directory: BorrowedFd<'_>, name: OsString) -> io::Result<Self> {
        let directory = directory.try_clone_to_owned()?;
        let temporary = OsString::from(random_name()?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&directory, &temporary, flags, Mode::from_raw_mode(0o666))?);
        let draft = Self { file, staged: Some(Staged { directory, temporary, name }) };
        draft.fit()?;
        Ok(draft)
    }

    /// Gives the file the rights that its directory gives.
    fn fit(&self) -> io::Result<()> {
        let Some(staged) = &self.staged else { return Ok(()) };
        fit(self.file.as_fd(), staged.directory.as_fd())
    }

    /// Makes the file readable and writable for its owner only, who is whoever makes it.
    ///
    /// # Errors
    /// When the mode cannot be set.
    pub fn make_private(&self) -> io::Result<()> {
        if self.staged.is_none() {
            return Ok(());
        }
        fchown(&self.file, Some(rustix::process::geteuid()), Some(rustix::process::getegid()))?;
        Ok(fchmod(&self.file, Mode::RUSR | Mode::WUSR)?)
    }

    /// Gives the file the mode of another one, and its owner where that is allowed.
    pub(super) fn be_like(&self, file: &File) -> io::Result<()> {
        let like = fstat(file)?;
        let _stays_ours = fchown(&self.file, Some(Uid::from_raw(like.st_uid)), Some(Gid::from_raw(like.st_gid)));
        Ok(fchmod(&self.file, Mode::from_raw_mode(like.st_mode & 0o7777))?)
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(staged) = self.staged.take() {
            let renamed = renameat(&staged.directory, &staged.temporary, &staged.directory, &staged.name);
            if let Err(errno) = renamed {
                self.staged = Some(staged);
                return Err(errno.into());
            }
        }
        Ok(())
    }

    /// Puts the file in its directory under a name that was not known when it was begun ([`Folder::draft`]).
    ///
    /// [`Folder::draft`]: super::Folder::draft
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn finish_as(mut self, name: &OsStr) -> io::Result<()> {
        if let Some(staged) = &mut self.staged {
            name.clone_into(&mut staged.name);
        }
        self.finish()
    }

    /// Has the kernel write the content to disk, so that it is still there after a crash of the machine.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Gives a file the owner of its directory, where that is allowed, and the right to write to whom the directory gives it.
pub(super) fn fit(file: BorrowedFd<'_>, directory: BorrowedFd<'_>) -> io::Result<()> {
    let (above, own) = (fstat(directory)?, fstat(file)?);
    if above.st_uid != own.st_uid && above.st_uid != UNKNOWN_OWNER && rustix::process::geteuid().is_root() {
        // Not every root may: one of a user namespace knows few users.
        let _stays_ours = fchown(file, Some(Uid::from_raw(above.st_uid)), Some(Gid::from_raw(above.st_gid)));
    }
    // In a directory with the sticky bit everybody may change only their own files: the file stays its owner's alone.
    let mask = if above.st_mode & STICKY == 0 { WRITE } else { 0 };
    let mode = own.st_mode & 0o777 | above.st_mode & mask;
    if mode != own.st_mode & 0o777 {
        // After giving the file away we may no longer change it. Its new owner can, which is enough.
        let _is_the_others = fchmod(file, Mode::from_raw_mode(mode));
    }
    Ok(())
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(staged) = &self.staged {
            // The caller reports why the file was given up; a failure to remove it would add nothing.
            let _ = unlinkat(&staged.directory, &staged.temporary, AtFlags::empty());
        }
    }
}
