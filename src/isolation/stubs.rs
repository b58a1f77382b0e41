//! Things put into a root file system for the time of one RUN: mount points, device nodes, `resolv.conf`, and,
//! where nothing can be mounted, what would be.
//!
//! The kernel mounts only on what exists, and in a chroot files must really be there; but no snapshot may
//! ever hold them. So each is made before the RUN and taken away after it, with the times of the directory
//! around put back both times: what BuildKit does for its mounts, here for `/proc`, `/sys` and `/dev` too.
//! What the RUN has used since (a directory that is no longer empty) is the RUN's, and stays.
//!
//! *Invariant: paths are resolved as if the root were `/`; no symbolic link leads out of it, neither one that
//! was there nor one that the RUN has put in the place of a directory: that is held open meanwhile.*

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Timespec, Timestamps};

use super::directories::files;
use super::{Access, Error};

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
struct Made {
    place: Place,
    what: Undo,
    /// What stands for a mount, held open so that it is found wherever it is afterwards.
    mount: Option<OwnedFd>,
}

/// What takes it away again.
#[derive(Debug)]
enum Undo {
    /// It is a directory that was not there; it stays when the RUN has put something into it.
    Directory,
    /// It is a file, device node or link that was not there.
    File,
    /// It is a directory that is removed whatever is in it.
    Tree,
    /// It lies elsewhere for the time being, and comes back.
    Aside { kept: PathBuf },
    /// It is somebody's who gets it back.
    Lent { owner: PathBuf },
}

/// Device and inode: what a file keeps however it is renamed.
type Identity = (u64, u64);

/// A name in a directory that is held open.
#[derive(Debug)]
struct Place {
    directory: OwnedFd,
    name: OsString,
    /// For messages: where it was when it was opened.
    shown: PathBuf,
}

impl Place {
    /// Opens the directory that `path`, without links, is in.
    fn open(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        Ok(Self { directory, name: name.to_owned(), shown: path.to_owned() })
    }

    /// The path by which it is reached whatever became of the directories above.
    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(&self.name)
    }

    /// Does something to the entry, and puts the times of the directory around it back.
    fn keep_times(&self, change: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let before = rustix::fs::fstat(&self.directory)?;
        let result = change(&self.path());
        let time = |seconds: i64, nanoseconds: u64| Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.try_into().unwrap_or_default(),
        };
        let times = Timestamps {
            last_access: time(before.st_atime, before.st_atime_nsec),
            last_modification: time(before.st_mtime, before.st_mtime_nsec),
        };
        rustix::fs::futimens(&self.directory, &times)?;
        result
    }
}

/// Why there can be no target.
const BELOW_A_FILE: &str = "one of the directories above it is a file";

/// Makes the error of a target that the image does not allow.
fn target(path: &Path, reason: &'static str) -> Error {
    Error::Target { target: Path::new("/").join(path), reason }
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
            Ok(_) => Err(target(path, "it is no directory")),
            Err(error) if error.kind() == ErrorKind::NotFound => self.make_directory(&place).map(|()| place),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(target(path, BELOW_A_FILE)),
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
            Ok(_) => Err(target(path, "it is a directory, and what is mounted is a file")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make("making", &place, Undo::File, |path| write(path, &[], Access::FILE))?;
                Ok(place)
            }
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(target(path, BELOW_A_FILE)),
            Err(error) => Err(files("mounting on", &place)(error)),
        }
    }

    /// Puts a file with this content in the place of `path`; what was there is kept at `aside`, which must be
    /// on the same file system, and comes back afterwards whatever the RUN has done to the new one.
    pub(super) fn replace(&mut self, path: &Path, content: &[u8], access: Access, aside: &Path) -> Result<(), Error> {
        let place = self.vacate(path, aside)?;
        self.make("writing", &place, Undo::File, |path| write(path, content, access))?;
        self.hold()
    }

    /// Puts an empty directory in the place of `path`, likewise; it is removed with all in it.
    pub(super) fn empty_directory(&mut self, path: &Path, mode: u32, aside: &Path) -> Result<(), Error> {
        let place = self.vacate(path, aside)?;
        self.make("making", &place, Undo::Tree, |path| {
            fs::DirBuilder::new().mode(mode).create(path)?;
            // The umask has taken from the mode.
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        })?;
        self.hold()
    }

    /// Puts a symbolic link to `target` in the place of `path`, likewise.
    pub(super) fn link(&mut self, path: &Path, target: &Path, aside: &Path) -> Result<(), Error> {
        let place = self.vacate(path, aside)?;
        self.make("linking", &place, Undo::File, |path| std::os::unix::fs::symlink(target, path))
    }

    /// Moves the file or directory `source` to the place of `path`, likewise; afterwards it is moved back.
    pub(super) fn lend(&mut self, path: &Path, source: &Path, aside: &Path) -> Result<(), Error> {
        let place = self.vacate(path, aside)?;
        let undo = Undo::Lent { owner: source.to_owned() };
        self.make("moving something to", &place, undo, |path| fs::rename(source, path))?;
        self.hold()
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
        let made = Place::open(&place).and_then(|place| {
            place.keep_times(|path| {
                rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, device)?;
                // The umask has taken from the mode.
                Ok(rustix::fs::chmod(path, mode)?)
            })?;
            Ok(place)
        });
        match made {
            Ok(place) => {
                self.made.push(Made { place, what: Undo::File, mount: None });
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

    /// Takes everything away again, in reverse order. Tries all, and returns the first error; that RUN has moved
    /// something that a mount would have held in its place is one, too.
    pub(super) fn remove(mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(made) = self.made.pop() {
            let found = made.mount.as_ref().map_or(Found::InPlace, |held| found(held, &made.place));
            let removed = match made.what.take_away(&made.place, &found) {
                // Not there: RUN has removed it itself. Not empty: RUN has used it, and it is RUN's.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
                removed => removed.map_err(files("taking away", &made.place.shown)),
            };
            let inside = |path: &Path| Path::new("/").join(path.strip_prefix(&self.root).unwrap_or(path));
            let kept = match found {
                Found::InPlace | Found::Gone(_) => Ok(()),
                Found::Elsewhere(to) => Err(Error::Moved { target: inside(&made.place.shown), to: inside(&to) }),
                Found::Linked => Err(Error::Linked { target: inside(&made.place.shown) }),
            };
            result = result.and(kept).and(removed);
        }
        result
    }

    /// Returns where `path` is now, without symbolic links in it.
    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        let place = resolve(&self.root, path).map_err(files("finding", path))?;
        // A symbolic link of the image may lead there, and then the whole root would be moved or covered.
        if place == self.root {
            return Err(files("finding", path)(io::Error::new(ErrorKind::InvalidInput, "it leads to the root itself")));
        }
        Ok(place)
    }

    /// Returns the place of `path`, where nothing is now: what was there is kept at `aside`.
    fn vacate(&mut self, path: &Path, aside: &Path) -> Result<PathBuf, Error> {
        let place = self.resolve(path)?;
        self.make_parents(&place)?;
        match fs::symlink_metadata(&place) {
            Ok(_) => {
                let undo = Undo::Aside { kept: aside.to_owned() };
                self.make("setting aside", &place, undo, |path| fs::rename(path, aside))?;
                Ok(place)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(place),
            Err(error) => Err(files("setting aside", &place)(error)),
        }
    }

    fn make_parents(&mut self, place: &Path) -> Result<(), Error> {
        let root = self.root.clone();
        let missing: Vec<PathBuf> = place
            .ancestors()
            .skip(1)
            .take_while(|parent| *parent != root && fs::symlink_metadata(parent).is_err())
            .map(Path::to_owned)
            .collect();
        missing.iter().rev().try_for_each(|parent| self.make_directory(parent))
    }

    fn make_directory(&mut self, place: &Path) -> Result<(), Error> {
        self.make("making", place, Undo::Directory, |path| {
            fs::DirBuilder::new().mode(0o755).create(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        })
    }

    /// Changes what is at `place`, and notes how that is taken back.
    fn make(
        &mut self,
        doing: &'static str,
        place: &Path,
        what: Undo,
        change: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        let opened = Place::open(place).map_err(files(doing, place))?;
        opened.keep_times(change).map_err(files(doing, place))?;
        self.made.push(Made { place: opened, what, mount: None });
        Ok(())
    }

    /// Holds open what was made last.
    fn hold(&mut self) -> Result<(), Error> {
        let Some(made) = self.made.last_mut() else { return Ok(()) };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(made.place.path(), flags, Mode::empty());
        made.mount = Some(held.map_err(|errno| files("opening", &made.place.shown)(errno.into()))?);
        Ok(())
    }
}

/// What became of what stands for a mount.
#[derive(Debug)]
enum Found {
    InPlace,
    /// It is a file that has another name, too.
    Linked,
    /// It was renamed.
    Elsewhere(PathBuf),
    /// It was removed; what it had if it was a directory.
    Gone(Option<Access>),
}

fn found(held: &OwnedFd, place: &Place) -> Found {
    // An open descriptor can always be asked.
    let Ok(stat) = rustix::fs::fstat(held) else { return Found::InPlace };
    let kind = FileType::from_raw_mode(stat.st_mode);
    if stat.st_nlink == 0 {
        let access = Access { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid };
        return Found::Gone((kind == FileType::Directory).then_some(access));
    }
    if identity(&place.path()).is_ok_and(|there| there == (stat.st_dev, stat.st_ino)) {
        return if kind == FileType::RegularFile && stat.st_nlink > 1 { Found::Linked } else { Found::InPlace };
    }
    let now = fs::read_link(Path::new("/proc/self/fd").join(held.as_raw_fd().to_string()));
    now.map_or(Found::InPlace, Found::Elsewhere)
}

impl Undo {
    fn take_away(&self, place: &Place, found: &Found) -> io::Result<()> {
        match (self, found) {
            (Self::Directory, _) => place.keep_times(|path| fs::remove_dir(path)),
            (Self::File | Self::Tree, Found::Elsewhere(to)) => remove_any(to),
            (Self::File | Self::Tree, _) => place.keep_times(remove_any),
            (Self::Aside { kept }, _) => place.keep_times(|path| {
                // What the RUN has put there instead was in a mount's place, and ends with it.
                drop(remove_any(path));
                fs::rename(kept, path)
            }),
            (Self::Lent { owner }, Found::InPlace | Found::Linked) => place.keep_times(|path| fs::rename(path, owner)),
            (Self::Lent { owner }, Found::Elsewhere(to)) => fs::rename(to, owner),
            (Self::Lent { .. }, Found::Gone(None)) => place.keep_times(remove_any),
            (Self::Lent { owner }, Found::Gone(Some(access))) => place.keep_times(|path| {
                if fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
                    return fs::rename(path, owner);
                }
                // A mount would be empty now. A link that RUN has put there instead would lead its owner anywhere.
                fs::create_dir(owner)?;
                std::os::unix::fs::chown(owner, Some(access.uid), Some(access.gid))?;
                fs::set_permissions(owner, fs::Permissions::from_mode(access.mode))?;
                remove_any(path)
            }),
        }
    }
}

/// Writes a new file.
pub(super) fn write(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, content)?;
    match std::os::unix::fs::fchown(&file, Some(access.uid), Some(access.gid)) {
        // There is nobody else here to be root.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && (access.uid, access.gid) == (0, 0) => {}
        result => result?,
    }
    file.set_permissions(fs::Permissions::from_mode(access.mode))
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes our file, or what RUN has put in its place: in every isolation, what RUN does to these files ends
/// with it, as it does where they are mounts.
fn remove_any(place: &Path) -> io::Result<()> {
    if fs::symlink_metadata(place)?.is_dir() { fs::remove_dir_all(place) } else { fs::remove_file(place) }
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
    use std::os::unix::fs::{MetadataExt, symlink};

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
    fn nothing_is_put_in_the_place_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", root.path().join("data")).unwrap();
        let mut stubs = Stubs::new(root.path());
        for path in ["/", "/data", "/data/..", "/x/.."] {
            assert!(stubs.directory(Path::new(path)).is_err(), "{path}");
            assert!(stubs.file(Path::new(path)).is_err(), "{path}");
        }
        assert!(root.path().join("data").is_symlink());
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
    fn a_link_in_the_place_of_a_directory_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
        let aside = |name: &str| directory.path().join(name);
        for place in [root.join("etc"), root.join("d"), outside.clone()] {
            fs::create_dir_all(&place).unwrap();
            for name in ["hosts", "lent", "file"] {
                fs::write(place.join(name), "before").unwrap();
            }
            fs::create_dir(place.join("empty")).unwrap();
        }
        fs::write(aside("source"), "lent").unwrap();
        let mut stubs = Stubs::new(&root);
        stubs.replace(Path::new("/d/hosts"), b"ours", Access::FILE, &aside("a")).unwrap();
        stubs.lend(Path::new("/d/lent"), &aside("source"), &aside("b")).unwrap();
        stubs.empty_directory(Path::new("/d/empty"), 0o777, &aside("c")).unwrap();
        stubs.file(Path::new("/d/stub")).unwrap();
        // What a process can do whose root this is: the link leads the executor elsewhere.
        fs::rename(root.join("d"), root.join("moved")).unwrap();
        symlink(&outside, root.join("d")).unwrap();
        fs::write(outside.join("stub"), "theirs").unwrap();
        stubs.remove().unwrap();
        for name in ["hosts", "lent", "file"] {
            assert_eq!(fs::read(outside.join(name)).unwrap(), b"before", "{name} outside");
            assert_eq!(fs::read(root.join("moved").join(name)).unwrap(), b"before", "{name} of the image");
        }
        assert!(outside.join("stub").exists() && outside.join("empty").exists());
        assert!(!root.join("moved/stub").exists() && root.join("moved/empty").exists());
        assert_eq!(fs::read(aside("source")).unwrap(), b"lent");
    }

    #[test]
    fn what_would_have_stayed_as_a_mount_is_found_and_comes_back() {
        type Change<'a> = &'a dyn Fn(&Path);
        let rows: [(&str, Change<'_>, bool); 6] = [
            ("moves a directory", &|root| fs::rename(root.join("c"), root.join("d")).unwrap(), false),
            ("moves a file", &|root| fs::rename(root.join("etc/secret"), root.join("leak")).unwrap(), false),
            ("links a file", &|root| fs::hard_link(root.join("etc/secret"), root.join("leak")).unwrap(), false),
            ("removes it", &|root| fs::remove_dir_all(root.join("c")).unwrap(), true),
            (
                "makes another",
                &|root| {
                    fs::remove_dir_all(root.join("c")).unwrap();
                    fs::create_dir(root.join("c")).unwrap();
                    fs::write(root.join("c/file"), "kept").unwrap();
                },
                true,
            ),
            ("nothing", &|_| {}, true),
        ];
        for (what, change, is_fine) in rows {
            let directory = tempfile::tempdir().unwrap();
            let (root, cache) = (directory.path().join("root"), directory.path().join("cache"));
            fs::create_dir_all(root.join("etc")).unwrap();
            fs::create_dir(&cache).unwrap();
            fs::write(cache.join("file"), "kept").unwrap();
            fs::set_permissions(&cache, fs::Permissions::from_mode(0o2750)).unwrap();
            let mut stubs = Stubs::new(&root);
            stubs.lend(Path::new("/c"), &cache, &directory.path().join("a")).unwrap();
            stubs.replace(Path::new("/etc/secret"), b"secret", Access::FILE, &directory.path().join("b")).unwrap();
            change(&root);
            let removed = stubs.remove();
            assert_eq!(removed.is_ok(), is_fine, "{what}: {removed:?}");
            let text = removed.map_or_else(|error| error.to_string(), |()| String::new());
            assert!(!text.contains(&*root.to_string_lossy()), "{what}: {text}");
            assert_eq!(fs::read(cache.join("file")).is_ok(), what != "removes it", "{what}");
            assert!(cache.is_dir() && !root.join("c").exists() && !root.join("d").exists(), "{what}");
            assert!(what == "links a file" || !root.join("leak").exists(), "{what}");
            if what == "removes it" {
                assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o7777, 0o2750);
            }
        }
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
            stubs.replace(Path::new("/etc/hosts"), b"ours", Access::FILE, &aside).unwrap();
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
