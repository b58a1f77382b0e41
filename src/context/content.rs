//! The digest of a context: of names, modes and contents, and of nothing that depends on the way it came.
//!
//! *Invariant: owners and times do not count, so that the same sources from a repository, a bucket or an archive have
//! the same digest.*

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Error;
use crate::oci::{Digest, Hasher};
use crate::rootfs::{FileKind, Tree};

/// Reads all files of a tree and returns the digest; the repository in `.git` does not count.
pub(super) fn digest(tree: &Tree) -> Result<Digest, Error> {
    read(tree, Extent::Sources)
}

/// Reads all files of a tree and returns a digest of all that a build may take from it: also what is in `.git`, and
/// owners, times and attributes, so that it tells whether somebody has touched anything since.
///
/// # Errors
/// [`Error`] when a file cannot be read.
pub fn seal(tree: &Tree) -> Result<Digest, Error> {
    read(tree, Extent::Everything)
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// What was written by those who wrote the sources.
    Sources,
    /// All that there is.
    Everything,
}

fn read(tree: &Tree, extent: Extent) -> Result<Digest, Error> {
    let mut whole = Hasher::new();
    let mut pending = vec![PathBuf::new()];
    let mut buffer = vec![0; 128 << 10];
    while let Some(path) = pending.pop() {
        let Some(stat) = tree.stat(&path)? else { continue };
        let (kind, content) = match stat.kind {
            FileKind::Directory => {
                let names = tree.read_dir(&path)?;
                let below = names.iter().rev().map(|name| path.join(name.as_os_str()));
                let counts = |path: &PathBuf| extent == Extent::Everything || path != Path::new(".git");
                pending.extend(below.filter(counts));
                ("directory", Vec::new())
            }
            FileKind::Symlink => ("link", tree.read_link(&path)?.as_os_str().as_bytes().to_vec()),
            FileKind::Regular => {
                let mut hasher = Hasher::new();
                let mut file = tree.open_file(&path)?;
                loop {
                    let read = file.read(&mut buffer);
                    match read.map_err(|source| Error::Content { path: path.clone(), source })? {
                        0 => break,
                        count => hasher.update(&buffer[..count]),
                    }
                }
                ("file", hasher.finish().hex().as_bytes().to_vec())
            }
            FileKind::Fifo | FileKind::Socket | FileKind::CharacterDevice | FileKind::BlockDevice => {
                ("other", Vec::new())
            }
        };
        let mode = if stat.kind == FileKind::Symlink || path.as_os_str().is_empty() { 0 } else { stat.mode & 0o7777 };
        let mut fields = [path.as_os_str().as_bytes(), kind.as_bytes(), format!("{mode:o}").as_bytes(), &content]
            .map(<[u8]>::to_vec)
            .to_vec();
        if extent == Extent::Everything {
            fields.push(format!("{} {} {:?} {:?}", stat.uid, stat.gid, stat.mtime, stat.device_numbers()).into_bytes());
            fields.extend(tree.xattrs(&path)?.into_iter().flat_map(|(name, value)| [name, value]));
        }
        for field in fields {
            // Framed by length, so that no two lists of fields are the same bytes.
            whole.update(format!("{}:", field.len()).as_bytes());
            whole.update(&field);
        }
    }
    Ok(whole.finish())
}

/// Returns when the newest file of a tree was changed, in seconds since 1970; none where there is no file.
pub(super) fn newest(tree: &Tree) -> Result<Option<i64>, Error> {
    let mut newest = None;
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let Some(stat) = tree.stat(&path)? else { continue };
        if stat.kind == FileKind::Directory {
            pending.extend(tree.read_dir(&path)?.iter().map(|name| path.join(name.as_os_str())));
        } else {
            newest = newest.max(Some(stat.mtime.seconds));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn names_modes_and_contents_count_and_nothing_else() {
        let directory = tempfile::tempdir().expect("tempdir");
        let at = |path: &str| directory.path().join(path);
        let now = || digest(&Tree::open(directory.path()).expect("tree")).expect("digest");
        fs::create_dir(at("d")).expect("directory");
        fs::write(at("d/f"), "one").expect("file");
        fs::create_dir(at(".git")).expect("directory");
        let first = now();
        fs::write(at(".git/HEAD"), "x").expect("file");
        fs::write(at("d/f"), "one").expect("a new time");
        assert_eq!(now(), first);
        fs::write(at("d/f"), "two").expect("file");
        let content = now();
        fs::set_permissions(at("d/f"), fs::Permissions::from_mode(0o755)).expect("ours");
        let mode = now();
        fs::rename(at("d/f"), at("d/g")).expect("rename");
        let name = now();
        let all = [&first, &content, &mode, &name];
        assert!(all.iter().enumerate().all(|(n, a)| all[..n].iter().all(|b| a != b)));
    }
}
