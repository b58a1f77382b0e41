//! The executor's own program, where RUN can reach it by its path: whoever starts it next must get what was here.
//!
//! The file itself cannot be written while it is executed (ETXTBSY), and `/proc/self/exe` leads to it whatever became of
//! its name. *Invariant: after [`OwnProgram::verify`] the path holds the program that runs.*

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use super::Error;
use super::directories::files;

const RUNNING: &str = "/proc/self/exe";
/// How much of the two files is compared at a time.
const PIECE: usize = 64 << 10;
/// The attribute with the capabilities that a file gives to whoever executes it. Source: capabilities(7).
const FILE_CAPABILITIES: &str = "security.capability";
/// An attribute of that kind is smaller, in bytes.
const LARGEST_CAPABILITIES: usize = 256;

/// Where the program is, and how it was at the start.
#[derive(Debug)]
pub(super) struct OwnProgram {
    path: PathBuf,
    metadata: Metadata,
    capabilities: Option<Vec<u8>>,
}

impl OwnProgram {
    /// Finds the program; none where it has no path, or another file is there already.
    pub(super) fn find() -> Option<Self> {
        let path = fs::read_link(RUNNING).ok()?;
        let metadata = fs::symlink_metadata(&path).ok()?;
        let capabilities = capabilities(&path);
        is_running(&metadata).then_some(Self { path, metadata, capabilities })
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Compares what is at the path with what runs, and restores it.
    ///
    /// # Errors
    /// [`Error::ProgramChanged`] when another program was there; it is not there any more.
    pub(super) fn verify(&self) -> Result<(), Error> {
        let same = self.is_same().unwrap_or(false);
        if !same {
            self.restore().map_err(files("restoring the executor", &self.path))?;
        }
        let now = fs::symlink_metadata(&self.path).map_err(files("reading", &self.path))?;
        let then = &self.metadata;
        if (now.uid(), now.gid(), now.mode()) != (then.uid(), then.gid(), then.mode()) {
            let owned = lchown(&self.path, Some(then.uid()), Some(then.gid()));
            owned
                .and_then(|()| fs::set_permissions(&self.path, then.permissions()))
                .map_err(files("restoring", &self.path))?;
        }
        if capabilities(&self.path) != self.capabilities {
            self.restore_capabilities().map_err(files("restoring", &self.path))?;
        }
        if same { Ok(()) } else { Err(Error::ProgramChanged { path: self.path.clone() }) }
    }

    fn restore_capabilities(&self) -> io::Result<()> {
        let restored = match &self.capabilities {
            Some(value) => rustix::fs::lsetxattr(&self.path, FILE_CAPABILITIES, value, XattrFlags::empty()),
            None => rustix::fs::lremovexattr(&self.path, FILE_CAPABILITIES),
        };
        Ok(restored?)
    }

    fn is_same(&self) -> io::Result<bool> {
        let found = fs::symlink_metadata(&self.path)?;
        if is_running(&found) {
            return Ok(true);
        }
        if !found.is_file() || found.len() != self.metadata.len() {
            return Ok(false);
        }
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
        let mut there = fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
        let mut running = File::open(RUNNING)?;
        let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
        loop {
            let length = running.read(&mut one)?;
            if length == 0 {
                return Ok(there.read(&mut other)? == 0);
            }
            there.read_exact(&mut other[..length])?;
            if one[..length] != other[..length] {
                return Ok(false);
            }
        }
    }

    /// Puts the running program in the place of whatever is there; directories above it that RUN has replaced by
    /// something else are made anew.
    fn restore(&self) -> io::Result<()> {
        let mut parents: Vec<&Path> = self.path.ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents {
            match fs::symlink_metadata(parent) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => fs::remove_file(parent).and_then(|()| fs::create_dir(parent))?,
                Err(_) => fs::create_dir(parent)?,
            }
        }
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&self.path)?,
            Ok(_) => fs::remove_file(&self.path)?,
            Err(_) => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        io::copy(&mut File::open(RUNNING)?, &mut file)?;
        fchown(&file, Some(self.metadata.uid()), Some(self.metadata.gid()))?;
        file.set_permissions(fs::Permissions::from_mode(self.metadata.mode() & 0o7777))
    }
}

/// Returns the capabilities that a file gives, as the kernel keeps them; none where it gives none.
fn capabilities(path: &Path) -> Option<Vec<u8>> {
    let mut value = vec![0; LARGEST_CAPABILITIES];
    let length = rustix::fs::lgetxattr(path, FILE_CAPABILITIES, &mut *value).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_running(found: &Metadata) -> bool {
    fs::metadata(RUNNING).is_ok_and(|running| (running.dev(), running.ino()) == (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_there_becomes_the_running_program_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bin/executor");
        fs::create_dir(directory.path().join("bin")).unwrap();
        fs::copy(RUNNING, &path).unwrap();
        let program = OwnProgram { path: path.clone(), metadata: fs::metadata(&path).unwrap(), capabilities: None };
        // A copy is not the file that runs, but holds the same.
        program.verify().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4777)).unwrap();
        program.verify().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode(), program.metadata.mode());
        // All capabilities, for whoever executes it; where we may not say so, RUN may not, either.
        let all = [1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 1, 0, 0, 0, 0, 0, 0];
        if rustix::fs::lsetxattr(&path, FILE_CAPABILITIES, &all, XattrFlags::empty()).is_ok() {
            assert!(capabilities(&path).is_some());
            program.verify().unwrap();
            assert_eq!(capabilities(&path), None);
        }
        let attacks: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "#!/bin/sh\n").unwrap(),
            &|| fs::remove_file(&path).unwrap(),
            &|| {
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("/bin/true", &path).unwrap();
            },
            &|| {
                fs::remove_dir_all(directory.path().join("bin")).unwrap();
                std::os::unix::fs::symlink("/nowhere", directory.path().join("bin")).unwrap();
            },
        ];
        for attack in attacks {
            attack();
            assert!(matches!(program.verify(), Err(Error::ProgramChanged { .. })));
            assert_eq!(fs::read(&path).unwrap(), fs::read(RUNNING).unwrap());
            program.verify().unwrap();
        }
    }
}
