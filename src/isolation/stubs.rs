//! Things put into a root file system for the time of one RUN: mount points, device nodes, `resolv.conf`.
//!
//! The kernel mounts only on what exists, and in a chroot files must really be there; but no snapshot may
//! ever hold them. So each is made before the RUN and taken away after it, with the times of the directory
//! around put back both times: what BuildKit does for its mounts, here for `/proc`, `/sys` and `/dev` too.
//! What the RUN has used since (a directory that is no longer empty) is the RUN's, and stays.
//!
//! *Invariant: paths are resolved as if the root were `/`; no symbolic link leads out of it.*

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps};

use super::Error;
use super::directories::files;

/// Symbolic links followed in one path before it is taken for a circle: the kernel's own limit.
const LINKS: usize = 40;

/// What was put into a root file system, to be taken away.
#[derive(Debug)]
pub(super) struct Stubs {
    root: PathBuf,
    made: Vec<Made>,
}

/// One thing that was put there.
#[derive(Debug)]
enum Made {
    /// A directory that was not there.
    Directory(PathBuf),
    /// A file or device node that was not there.
    File(PathBuf),
    /// A file that lies elsewhere for the time being, and its place.
    Aside { place: PathBuf, kept: PathBuf },
}

impl Stubs {
    /// Prepares for putting things into `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), made: Vec::new() }
    }

    /// Returns the place of the directory `path`, below the root; makes it, with its parents, if need be.
    pub(super) fn directory(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let place = self.resolve(path)?;
        self.make_parents(&place)?;
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => Ok(place),
            Ok(_) => Err(files("mounting on", &place)(ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => self.make_directory(place),
            Err(error) => Err(files("mounting on", &place)(error)),
        }
    }

    /// Returns the place of the file `path`, below the root; makes an empty one, with its parents, if need be.
    ///
    /// A symbolic link at `path` is followed, inside the root, even where it points to nothing: what reads
    /// `/etc/resolv.conf` follows it too.
    pub(super) fn file(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let place = self.resolve(path)?;
        self.make_parents(&place)?;
        match fs::symlink_metadata(&place) {
            Ok(metadata) if !metadata.is_dir() => Ok(place),
            Ok(_) => Err(files("mounting on", &place)(ErrorKind::IsADirectory.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.write(&place, &[])?;
                Ok(place)
            }
            Err(error) => Err(files("mounting on", &place)(error)),
        }
    }

    /// Puts a file with this content in the place of `path`; what was there is kept at `aside`, which must be
    /// on the same file system, and comes back afterwards whatever the RUN has done to the new one.
    pub(super) fn replace(&mut self, path: &Path, content: &[u8], aside: &Path) -> Result<(), Error> {
        let place = self.resolve(path)?;
        self.make_parents(&place)?;
        match fs::symlink_metadata(&place) {
            Ok(_) => {
                keep_times(&place, || fs::rename(&place, aside)).map_err(files("setting aside", &place))?;
                self.made.push(Made::Aside { place: place.clone(), kept: aside.to_owned() });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(files("setting aside", &place)(error)),
        }
        self.write(&place, content)
    }

    /// Makes a device node for all users at `path`. Returns false where something is there already, or where
    /// nodes may not be made.
    pub(super) fn device(&mut self, path: &Path, major: u32, minor: u32) -> Result<bool, Error> {
        let place = self.resolve(path)?;
        self.make_parents(&place)?;
        if fs::symlink_metadata(&place).is_ok() {
            return Ok(false);
        }
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        let made = keep_times(&place, || {
            rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, mode, device)?;
            // The umask has taken from the mode.
            Ok(rustix::fs::chmod(&place, mode)?)
        });
        match made {
            Ok(()) => {
                self.made.push(Made::File(place));
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => Ok(false),
            Err(error) => Err(files("making a device node at", &place)(error)),
        }
    }

    /// Tells whether anything is at `path`.
    pub(super) fn exists(&self, path: &Path) -> bool {
        self.resolve(path).is_ok_and(|place| fs::symlink_metadata(place).is_ok())
    }

    /// Takes everything away again, in reverse order. Tries all, and returns the first error.
    pub(super) fn remove(mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(made) = self.made.pop() {
            let (place, removed) = match &made {
                Made::Directory(place) => (place, keep_times(place, || fs::remove_dir(place))),
                Made::File(place) => (place, keep_times(place, || remove_any(place))),
                Made::Aside { place, kept } => (place, keep_times(place, || fs::rename(kept, place))),
            };
            match removed {
                // Not there: RUN has removed it itself. Not empty: RUN has used it, and it is RUN's.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
                Err(error) if result.is_ok() => result = Err(files("taking away", place)(error)),
                Ok(()) | Err(_) => {}
            }
        }
        result
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        resolve(&self.root, path).map_err(files("finding", path))
    }

    fn make_parents(&mut self, place: &Path) -> Result<(), Error> {
        let root = self.root.clone();
        let missing: Vec<PathBuf> = place
            .ancestors()
            .skip(1)
            .take_while(|parent| *parent != root && fs::symlink_metadata(parent).is_err())
            .map(Path::to_owned)
            .collect();
        missing.into_iter().rev().try_for_each(|parent| self.make_directory(parent).map(drop))
    }

    fn make_directory(&mut self, place: PathBuf) -> Result<PathBuf, Error> {
        keep_times(&place, || fs::DirBuilder::new().mode(0o755).create(&place)).map_err(files("making", &place))?;
        self.made.push(Made::Directory(place.clone()));
        Ok(place)
    }

    fn write(&mut self, place: &Path, content: &[u8]) -> Result<(), Error> {
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(place)?;
            io::Write::write_all(&mut file, content)
        };
        keep_times(place, write).map_err(files("writing", place))?;
        self.made.push(Made::File(place.to_owned()));
        Ok(())
    }
}

/// Removes our file, or what RUN has put in its place: in every isolation, what RUN does to these files ends
/// with it, as it does where they are mounts.
fn remove_any(place: &Path) -> io::Result<()> {
    if fs::symlink_metadata(place)?.is_dir() { fs::remove_dir_all(place) } else { fs::remove_file(place) }
}

/// Does something to an entry, and puts the times of the directory around it back.
fn keep_times(place: &Path, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let directory = place.parent().unwrap_or(Path::new("/"));
    let before = fs::metadata(directory)?;
    let result = change();
    set_times(directory, &before)?;
    result
}

/// Gives a file or directory the times of `metadata`.
pub(super) fn set_times(path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Follows `path` as a process with `root` as its root directory would. What does not exist is taken as it is
/// named. Returns a path below `root` without any symbolic link in what exists of it.
///
/// Nothing runs in the root file system meanwhile, so that no link can change under the walk.
pub(super) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut inside = PathBuf::new();
    let mut rest: Vec<PathBuf> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            inside.pop();
            continue;
        }
        inside.push(&part);
        let here = root.join(&inside);
        let Ok(target) = fs::read_link(&here) else { continue };
        links += 1;
        if links > LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        inside.pop();
        if target.is_absolute() {
            inside.clear();
        }
        rest.extend(parts(&target));
    }
    Ok(root.join(inside))
}

/// The parts of a path, last first: names and `..`.
fn parts(path: &Path) -> Vec<PathBuf> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from(OsStr::new(".."))),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mtime(path: &Path) -> (i64, i64) {
        let metadata = fs::metadata(path).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    }

    fn age(path: &Path) -> (i64, i64) {
        let time = Timespec { tv_sec: 1_000_000, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
        mtime(path)
    }

    #[test]
    fn links_are_followed_inside_the_root_only() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for (target, link) in [
            ("/a", "absolute"),
            ("/a", "a/b/absolute"),
            ("../../../../a/b", "a/up"),
            ("self", "self"),
            ("nowhere/x", "dangling"),
            ("absolute", "twice"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        for (path, expected) in [
            ("/absolute/b", Some("a/b")),
            ("/a/b/absolute/c", Some("a/c")),
            ("/twice/b/../c", Some("a/c")),
            ("/a/up", Some("a/b")),
            ("/../../etc/passwd", Some("etc/passwd")),
            ("/dangling", Some("nowhere/x")),
            ("/self", None),
        ] {
            assert_eq!(resolve(root, Path::new(path)).ok(), expected.map(|path| root.join(path)), "{path}");
        }
    }

    #[test]
    fn nothing_is_left_not_even_a_changed_time() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", root.join("etc/resolv.conf")).unwrap();
        let times = [age(&root.join("etc")), age(root)];
        let mut stubs = Stubs::new(root);
        assert_eq!(stubs.file(Path::new("/etc/resolv.conf")).unwrap(), root.join("run/resolve/stub.conf"));
        assert_eq!(stubs.file(Path::new("/etc/hosts")).unwrap(), root.join("etc/hosts"));
        assert_eq!(stubs.directory(Path::new("/proc")).unwrap(), root.join("proc"));
        assert!(root.join("run/resolve/stub.conf").exists() && root.join("proc").exists());
        assert_eq!([mtime(&root.join("etc")), mtime(root)], times);
        stubs.remove().unwrap();
        let left: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["etc"]);
        assert!(!root.join("etc/hosts").exists());
        assert_eq!([mtime(&root.join("etc")), mtime(root)], times);
    }

    #[test]
    fn what_the_process_has_used_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut stubs = Stubs::new(root);
        stubs.file(Path::new("/etc/hosts")).unwrap();
        fs::write(root.join("etc/passwd"), "root").unwrap();
        age(&root.join("etc"));
        let used = mtime(&root.join("etc"));
        stubs.remove().unwrap();
        assert!(root.join("etc/passwd").exists() && !root.join("etc/hosts").exists());
        assert_eq!(mtime(&root.join("etc")), used);
    }

    #[test]
    fn the_images_own_file_comes_back_whatever_happens() {
        for change in ["none", "write", "replace", "remove", "directory"] {
            let directory = tempfile::tempdir().unwrap();
            let (root, aside) = (directory.path().join("root"), directory.path().join("aside"));
            fs::create_dir_all(root.join("etc")).unwrap();
            let file = root.join("etc/hosts");
            fs::write(&file, "the image's").unwrap();
            let inode = fs::metadata(&file).unwrap().ino();
            let mut stubs = Stubs::new(&root);
            stubs.replace(Path::new("/etc/hosts"), b"ours", &aside).unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"ours");
            match change {
                "write" => fs::write(&file, "theirs").unwrap(),
                "replace" => {
                    fs::write(root.join("new"), "theirs").unwrap();
                    fs::rename(root.join("new"), &file).unwrap();
                }
                "remove" => fs::remove_file(&file).unwrap(),
                "directory" => {
                    fs::remove_file(&file).unwrap();
                    fs::create_dir(&file).unwrap();
                }
                _ => {}
            }
            stubs.remove().unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"the image's", "{change}");
            assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "{change}");
            assert!(!aside.exists());
        }
    }
}
