//! Links of an image that had to stay directories, because something of the container's is mounted below: most images have
//! `/var/run` as a link to `/run`, and a cluster mounts the service account's token at `/var/run/secrets/…`.
//!
//! During a RUN such a directory shows what is at the link's target, by a link for each entry; afterwards what RUN has done
//! in it is done there. *Invariant: what is mounted below is neither moved nor removed.*

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::directories::files;
use super::{Error, stubs};
use crate::rootfs::Exclusions;

/// One directory that stands for a link.
#[derive(Debug)]
pub(super) struct Mirror<'a> {
    directory: PathBuf,
    target: PathBuf,
    shown: BTreeSet<OsString>,
    excluded: &'a Exclusions,
}

impl<'a> Mirror<'a> {
    /// Shows in `directory`, for which `link` is the text of the image's link, what is where that leads; none where that
    /// is no directory.
    pub(super) fn show(
        root: &Path,
        directory: &Path,
        link: &Path,
        excluded: &'a Exclusions,
    ) -> Result<Option<Self>, Error> {
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let target = stubs::resolve(root, &parent.join(link)).map_err(files("finding", link))?;
        if !target.is_dir() || target.starts_with(directory) || directory.starts_with(&target) {
            return Ok(None);
        }
        let mut mirror = Self { directory: directory.to_owned(), target, shown: BTreeSet::new(), excluded };
        for name in names(&mirror.target).map_err(files("reading", &mirror.target))? {
            let shown = directory.join(&name);
            match std::os::unix::fs::symlink(mirror.target.join(&name), &shown) {
                Ok(()) => drop(mirror.shown.insert(name)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(files("linking", &shown)(error)),
            }
        }
        Ok(Some(mirror))
    }

    /// Does at the target what was done in the directory, and leaves nothing of the image's in it.
    pub(super) fn take_back(self) -> Result<(), Error> {
        let mut left = names(&self.directory).map_err(files("reading", &self.directory))?;
        for name in &self.shown {
            let (shown, real) = (self.directory.join(name), self.target.join(name));
            if fs::read_link(&shown).is_ok_and(|link| link == real) {
                fs::remove_file(&shown).map_err(files("removing", &shown))?;
                left.remove(name);
            } else {
                // It was removed, and perhaps replaced.
                remove(&real).map_err(files("removing", &real))?;
            }
        }
        for name in left {
            let from = self.directory.join(&name);
            self.merge(&from, &self.target.join(&name)).map_err(files("moving", &from))?;
        }
        Ok(())
    }

    /// Moves something to where it would be if the link were one; of directories that are in both, what is in them.
    fn merge(&self, from: &Path, to: &Path) -> io::Result<()> {
        let excluded = |path: &Path| self.excluded.touch(path.strip_prefix("/").unwrap_or(path));
        let stays = excluded(from);
        let is_directory = fs::symlink_metadata(from)?.is_dir();
        let is_in_both = is_directory && to.is_dir();
        if !stays && !is_in_both {
            return fs::rename(from, to);
        }
        if !is_directory || self.excluded.contains(from.strip_prefix("/").unwrap_or(from)) {
            return Ok(());
        }
        for name in names(from)? {
            let below = from.join(&name);
            if !excluded(&below) {
                fs::create_dir_all(to)?;
            }
            self.merge(&below, &to.join(&name))?;
        }
        if stays { Ok(()) } else { fs::remove_dir(from) }
    }
}

fn names(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_in_the_directory_is_done_at_the_target() {
        let temporary = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temporary.path()).unwrap();
        let (directory, target) = (root.join("var/run"), root.join("run"));
        for path in ["var/run/secrets/account", "run/lock", "run/gone", "run/sshd"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(directory.join("secrets/account/token"), "secret").unwrap();
        let excluded = Exclusions::new([&directory.join("secrets/account")]);
        let mirror = Mirror::show(&root, &directory, Path::new("/run"), &excluded).unwrap().unwrap();
        fs::write(directory.join("lock/held"), "through the link").unwrap();
        fs::remove_file(directory.join("gone")).unwrap();
        fs::create_dir(directory.join("new")).unwrap();
        fs::write(directory.join("new/pid"), "1").unwrap();
        fs::write(directory.join("secrets/other"), "beside the mount").unwrap();
        mirror.take_back().unwrap();
        assert_eq!(fs::read(target.join("lock/held")).unwrap(), b"through the link");
        assert_eq!(fs::read(target.join("new/pid")).unwrap(), b"1");
        assert_eq!(fs::read(target.join("secrets/other")).unwrap(), b"beside the mount");
        assert!(!target.join("gone").exists() && target.join("sshd").is_dir());
        assert_eq!(names(&directory).unwrap(), BTreeSet::from([OsString::from("secrets")]));
        assert_eq!(fs::read(directory.join("secrets/account/token")).unwrap(), b"secret");
        assert!(!target.join("secrets/account").exists());
    }
}
