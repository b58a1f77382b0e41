//! Copies of trees as they are on disk, and files that get an inode of their own.
//!
//! Contents are copied by the kernel, which shares blocks where the file system can. *Invariant: afterwards no file of the
//! copy has a name in common with anything outside of it, but for what [`duplicate`] was told to link.*

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::descent::Descent;
use super::walk::{Visit, walk};
use super::{Directory, Error, Exclusions, FileKind, Inode, Tree};
use crate::image::Timestamp;

/// An older copy of the same files.
#[derive(Clone, Copy)]
pub struct Old<'a> {
    /// Where they are.
    pub tree: &'a Tree,
    /// Tells whether the file at a path is still the same.
    pub is_same: &'a dyn Fn(&Path) -> bool,
}

/// Copies all that is in `from`, and what `from` itself has beside its files, to the empty directory `to`. Files and links
/// with several names keep them. Sockets and devices are left out: who made them is gone.
///
/// Regular files that are in `old` as well become further names of the files there, where the file system can do that.
///
/// # Errors
/// When something cannot be read or written; `to` is then half filled.
pub fn duplicate(from: &Tree, to: &Tree, old: Option<Old<'_>>) -> Result<(), Error> {
    let (parents, first, directories) = (Descent::new(to), HashMap::new(), Vec::new());
    let mut duplicator = Duplicator { parents, first, directories, old };
    walk(from, &Exclusions::default(), &mut |visit| duplicator.visit(visit))?;
    // From the innermost on: what is made in a directory moves its time, and gets attributes from it.
    for (path, mtime) in duplicator.directories.into_iter().rev() {
        let (from, to) = (from.directory(&path)?, to.directory(&path)?);
        give(&from, OsStr::new(""), &to, OsStr::new("."), FileKind::Directory)?;
        to.set_mtime(OsStr::new("."), mtime)?;
    }
    Ok(())
}

struct Duplicator<'a> {
    parents: Descent<'a>,
    /// The first name in the copy of what has several.
    first: HashMap<Inode, PathBuf>,
    directories: Vec<(PathBuf, Timestamp)>,
    old: Option<Old<'a>>,
}

impl Duplicator<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<(), Error> {
        let (path, stat) = (visit.path, visit.stat);
        let parent = self.parents.directory(path.parent().unwrap_or(Path::new("")))?;
        let (to, name) = (&parent.directory, visit.name());
        if stat.kind == FileKind::Directory {
            self.directories.push((path.to_owned(), stat.mtime));
            return if visit.name.is_some() { to.create_directory(name, 0o700) } else { Ok(()) };
        }
        if stat.linked
            && let Some(first) = self.first.get(&stat.inode)
        {
            let (from, old) = (first.parent().unwrap_or(Path::new("")), first.file_name().unwrap_or_default());
            let from = self.parents.directory(from)?;
            return to.create_link(name, &from.directory, old);
        }
        let is_copied = matches!(stat.kind, FileKind::Regular | FileKind::Symlink | FileKind::Fifo);
        if stat.linked && is_copied {
            self.first.insert(stat.inode, path.to_owned());
        }
        match stat.kind {
            FileKind::Regular if self.linked_to_old(to, name, path)? => return Ok(()),
            FileKind::Regular => copy_file(visit.parent, name, to, name)?,
            FileKind::Symlink => to.create_symlink(name, &visit.parent.read_link(name)?)?,
            FileKind::Fifo => to.create_fifo(name)?,
            FileKind::Directory | FileKind::Socket | FileKind::CharacterDevice | FileKind::BlockDevice => return Ok(()),
        }
        give(visit.parent, name, to, name, stat.kind)?;
        to.set_mtime(name, stat.mtime)
    }

    /// Makes a further name of an old file, if that may be and can be.
    fn linked_to_old(&self, to: &Directory, name: &OsStr, path: &Path) -> Result<bool, Error> {
        let Some(old) = self.old.filter(|old| (old.is_same)(path)) else { return Ok(false) };
        let Ok((parent, old_name)) = old.tree.parent(path) else { return Ok(false) };
        match to.create_link(name, &parent, &old_name) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) if error.is_one_of(&[Errno::PERM, Errno::OPNOTSUPP, Errno::MLINK, Errno::XDEV]) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Gives every file of the tree that has a name elsewhere, too, an inode of its own; its names in the tree stay together.
/// Returns how many there were.
///
/// # Errors
/// When something cannot be read or written; each file is then as it was or apart.
pub fn part(tree: &Tree) -> Result<usize, Error> {
    let mut linked: HashMap<Inode, Vec<PathBuf>> = HashMap::new();
    walk(tree, &Exclusions::default(), &mut |visit| {
        if visit.stat.linked && matches!(visit.stat.kind, FileKind::Regular | FileKind::Symlink) {
            linked.entry(visit.stat.inode).or_default().push(visit.path.to_owned());
        }
        Ok(())
    })?;
    let mut parted = 0;
    for names in linked.into_values() {
        let first = tree.path().join(&names[0]);
        let metadata = std::fs::symlink_metadata(&first);
        let count = metadata.map_err(|source| Error::Call { call: "lstat", path: first, source })?.nlink();
        if usize::try_from(count).is_ok_and(|count| count > names.len()) {
            replace(tree, &names)?;
            parted += 1;
        }
    }
    Ok(parted)
}

/// The name of what is about to take another's place.
const NEW: &str = ".yadokari-apart";

fn replace(tree: &Tree, names: &[PathBuf]) -> Result<(), Error> {
    let (first, first_name) = tree.parent(&names[0])?;
    let new = OsStr::new(NEW);
    // One that was left when the executor was killed.
    first.remove_tree(new)?;
    let times = first.stat_self()?;
    let Some(stat) = first.stat(&first_name)? else { return Ok(()) };
    if stat.kind == FileKind::Symlink {
        first.create_symlink(new, &first.read_link(&first_name)?)?;
    } else {
        copy_file(&first, &first_name, &first, new)?;
    }
    give(&first, &first_name, &first, new, stat.kind)?;
    first.set_mtime(new, stat.mtime)?;
    first.rename(new, &first_name)?;
    first.set_mtime(OsStr::new("."), times.mtime)?;
    for other in &names[1..] {
        let (parent, name) = tree.parent(other)?;
        let times = parent.stat_self()?;
        parent.remove_tree(new)?;
        parent.create_link(new, &first, &first_name)?;
        parent.rename(new, &name)?;
        parent.set_mtime(OsStr::new("."), times.mtime)?;
    }
    Ok(())
}

fn copy_file(from: &Directory, old: &OsStr, to: &Directory, new: &OsStr) -> Result<(), Error> {
    let (mut source, mut copy) = (from.open_file(old)?, to.create_file(new)?);
    let copied = io::copy(&mut source, &mut copy);
    copied.map(drop).map_err(|source| Error::Call { call: "copy_file_range", path: to.path().join(new), source })
}

/// Gives a file the owner, the mode and the attributes of another one.
fn give(from: &Directory, old: &OsStr, to: &Directory, new: &OsStr, kind: FileKind) -> Result<(), Error> {
    let stat = if old.is_empty() { Some(from.stat_self()?) } else { from.stat(old)? };
    let Some(stat) = stat else { return Ok(()) };
    to.set_owner(new, stat.uid, stat.gid)?;
    if kind != FileKind::Symlink {
        // After the owner, whose change clears setuid bits and capabilities.
        to.set_mode(new, stat.mode)?;
    }
    let attributes = from.xattrs(old)?;
    attributes.iter().try_for_each(|(attribute, value)| to.set_xattr(new, attribute, value))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn furnished() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("from");
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("d/file"), "content").unwrap();
        fs::hard_link(root.join("d/file"), root.join("d/e/second")).unwrap();
        symlink("/nowhere", root.join("link")).unwrap();
        fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o2751)).unwrap();
        fs::write(root.join("large"), vec![7; 300_000]).unwrap();
        let tree = Tree::open(&root).unwrap();
        for path in ["d", ""] {
            tree.directory(Path::new(path))
                .unwrap()
                .set_mtime(OsStr::new("."), Timestamp { seconds: 5, nanoseconds: 6 })
                .unwrap();
        }
        (directory, tree)
    }

    fn inode(path: PathBuf) -> u64 {
        fs::symlink_metadata(path).unwrap().ino()
    }

    #[test]
    fn a_copy_is_the_same_and_shares_nothing() {
        let (directory, tree) = furnished();
        let to = directory.path().join("to");
        fs::create_dir(&to).unwrap();
        let copy = Tree::open(&to).unwrap();
        duplicate(&tree, &copy, None).unwrap();
        assert_eq!(crate::rootfs::listing::listing(&to), crate::rootfs::listing::listing(tree.path()));
        assert_eq!(inode(to.join("d/file")), inode(to.join("d/e/second")));
        assert_ne!(inode(to.join("d/file")), inode(tree.path().join("d/file")));
        let third = directory.path().join("third");
        fs::create_dir(&third).unwrap();
        duplicate(
            &tree,
            &Tree::open(&third).unwrap(),
            Some(Old { tree: &copy, is_same: &|path| path == Path::new("large") }),
        )
        .unwrap();
        assert_eq!(inode(third.join("large")), inode(to.join("large")));
        assert_ne!(inode(third.join("d/file")), inode(to.join("d/file")));
    }

    #[test]
    fn what_is_linked_elsewhere_is_parted_and_what_is_linked_inside_is_not() {
        let (directory, tree) = furnished();
        let root = tree.path();
        let outside = directory.path().join("outside");
        assert_eq!(part(&tree).unwrap(), 0);
        let kept = inode(root.join("d/file"));
        fs::hard_link(root.join("d/file"), &outside).unwrap();
        let before = crate::rootfs::listing::listing(root);
        assert_eq!(part(&tree).unwrap(), 1);
        assert_eq!(crate::rootfs::listing::listing(root), before);
        assert_eq!(inode(outside.clone()), kept);
        assert_ne!(inode(root.join("d/file")), kept);
        assert_eq!(inode(root.join("d/file")), inode(root.join("d/e/second")));
        fs::write(root.join("d/file"), "changed").unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"content");
    }
}
