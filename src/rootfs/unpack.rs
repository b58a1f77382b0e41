//! Applies a layer to a root file system.
//!
//! Knows what entries and whiteouts mean on a disk; knows neither compression nor which layer comes next.
//!
//! *Invariant: afterwards the disk is what the merged tar headers say, directory times included, whatever the
//! order of the entries; what is excluded is untouched; nothing was written outside of the tree.*

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::contents::{Known, PIECE, hash_target, hash_xattrs};
use super::descent::Descent;
use super::directory::timestamps;
use super::snapshot::order;
use super::warning::Warnings;
use super::xattr::is_foreign;
use super::{
    Contents, Device, Directory, Error, Exclusions, FileKind, HoleWriter, Inode, Omission, Rootfs, Warning, Xattrs,
};
use crate::image::whiteout::{Whiteout, classify};
use crate::image::{Content, Entry, EntryKind, LayerReader, Timestamp};

mod place;

use place::Place;

/// What happens where the kernel refuses an owner. (An extended attribute that it refuses is always left out.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Unpacking fails.
    Strict,
    /// It is left out, with a warning; for user namespaces with a single id.
    Lossy,
}

/// The attribute that a directory hands down to what is created in it; set last, so that it does not reach
/// the files of the layer.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Applies the entries that `reader` gives to `rootfs`, and returns what had to be left out.
///
/// * Whiteouts and opaque markers remove what lower layers have, and nothing of this layer, wherever they stand
///   in it. A directory keeps what is in it when its entry comes again; any other change of type replaces.
/// * Missing parents are created with mode 0755 and owner 0:0; files and dangling links where a parent must be
///   are replaced or led to their target, as container engines do.
/// * The entry of the root itself (`./`) sets mode, owner and attributes of the root, in every isolation.
/// * A path that cannot be replaced because something below it is excluded is left as an empty directory and
///   added to `rootfs.excluded`.
/// * `contents` is told what was written.
///
/// # Errors
/// When the layer cannot be read or the disk cannot be written; the tree is then half unpacked.
pub fn unpack<R: Read>(
    rootfs: &mut Rootfs,
    reader: &mut LayerReader<R>,
    fidelity: Fidelity,
    contents: &mut Contents,
) -> Result<Vec<Warning>, Error> {
    let mut unpacker = Unpacker {
        parents: Descent::new(&rootfs.tree),
        targets: Descent::new(&rootfs.tree),
        exclusions: Exclusions::new(&rootfs.excluded),
        fidelity,
        contents,
        written: HashSet::new(),
        times: HashMap::new(),
        default_acls: Vec::new(),
        kept: Vec::new(),
        kept_for_links: Vec::new(),
        links_followed: 0,
        warnings: Warnings::default(),
        buffer: vec![0; PIECE],
    };
    while let Some((entry, mut content)) = reader.next_entry().map_err(|source| Error::Layer { source })? {
        unpacker.apply(&entry, &mut content)?;
    }
    unpacker.restore_directories()?;
    let (kept, for_links, warnings) = (unpacker.kept, unpacker.kept_for_links, unpacker.warnings);
    rootfs.excluded.extend(kept.into_iter().map(|path| Path::new("/").join(path)));
    rootfs.directories_for_links.extend(for_links.into_iter().map(|(path, link)| (Path::new("/").join(path), link)));
    Ok(warnings.into_vec())
}

struct Unpacker<'a> {
    parents: Descent<'a>,
    /// Where the files are that hard links name.
    targets: Descent<'a>,
    exclusions: Exclusions,
    fidelity: Fidelity,
    contents: &'a mut Contents,
    /// What this layer has written, by the hash of directory inode and name: the same file may be named in
    /// several ways where links lead to its directory.
    written: HashSet<u128>,
    /// The times that directories get at the end: those of this layer's entries, and of others the times they
    /// had before something changed in them.
    times: HashMap<Inode, (PathBuf, Timestamp)>,
    default_acls: Vec<(PathBuf, Vec<u8>)>,
    /// Directories that could not be replaced.
    kept: Vec<PathBuf>,
    /// Those of them that would have become links, with the links' text.
    kept_for_links: Vec<(PathBuf, PathBuf)>,
    /// How many dangling links lead to the parent that is being created.
    links_followed: usize,
    warnings: Warnings,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn apply<R: Read>(&mut self, entry: &Entry, content: &mut Content<'_, R>) -> Result<(), Error> {
        let path = entry.path.as_path();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return self.apply_root(entry) };
        match classify(path) {
            Some(Whiteout::Remove(removed)) => return self.whiteout(&parent.join(removed)),
            Some(Whiteout::Opaque) => return self.opaque(parent),
            Some(Whiteout::Reserved) => return Ok(()),
            None => {}
        }
        if self.exclusions.contains(path) {
            return Ok(());
        }
        let Some(parent) = self.enter(parent)?.filter(|parent| !self.is_excluded(parent, name)) else {
            self.warnings.add(Omission::Excluded, path);
            return Ok(());
        };
        let place = Place { parent, name, path };
        let created = match &entry.kind {
            EntryKind::File { .. } => return self.file(&place, entry, content),
            EntryKind::HardLink { target } => return self.hard_link(&place, entry, target),
            EntryKind::Directory => return self.directory(&place, entry),
            EntryKind::Symlink { target } => self.create(&place, |at| at.create_symlink(name, target))?,
            EntryKind::Fifo => self.create(&place, |at| at.create_fifo(name))?,
            EntryKind::CharacterDevice { major, minor } => {
                self.device(&place, Device { block: false, major: *major, minor: *minor })?
            }
            EntryKind::BlockDevice { major, minor } => {
                self.device(&place, Device { block: true, major: *major, minor: *minor })?
            }
        };
        if created {
            let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
            let set = self.set_metadata(&place, entry, is_link)?;
            let content = if let EntryKind::Symlink { target } = &entry.kind { hash_target(target) } else { 0 };
            self.contents.record(path, Known { content, xattrs: set });
            place.directory().set_mtime(name, entry.mtime)?;
            self.mark(&place);
        } else if let EntryKind::Symlink { target } = &entry.kind {
            self.kept_for_links.push((path.to_owned(), target.clone()));
        }
        Ok(())
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(parent) = self.enter(Path::new(""))? else { return Ok(()) };
        let place = Place { parent, name: OsStr::new("."), path: &entry.path };
        self.set_directory(&place, entry)
    }

    fn file<R: Read>(&mut self, place: &Place<'_>, entry: &Entry, content: &mut Content<'_, R>) -> Result<(), Error> {
        let file = match place.directory().create_file(place.name) {
            Err(error) if error.is_one_of(&[Errno::EXIST]) => {
                if !self.make_room(place)? {
                    return Ok(());
                }
                place.directory().create_file(place.name)?
            }
            result => result?,
        };
        let hash = self.copy(place, &file, content)?;
        let failed = |call| move |errno| Error::call(call, place.directory().path(), place.name, errno);
        // By the open file, which costs less, where the disk itself can say all of it.
        let set = if place.directory().owners().is_some() {
            self.set_metadata(place, entry, false)?
        } else {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            let owned = rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(failed("fchown"));
            self.tolerate(owned, Omission::Owner, place.path)?;
            // After the owner, whose change clears setuid bits and capabilities.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode & 0o7777)).map_err(failed("fchmod"))?;
            self.set_xattrs(entry, |name, value| {
                let name = OsStr::from_bytes(name);
                rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty()).map_err(failed("fsetxattr"))
            })?
        };
        rustix::fs::futimens(&file, &timestamps(entry.mtime)).map_err(failed("futimens"))?;
        self.contents.record(place.path, Known { content: hash, xattrs: set });
        self.mark(place);
        Ok(())
    }

    /// Writes a file's content, zeros as holes, and returns its hash.
    fn copy<R: Read>(&mut self, place: &Place<'_>, file: &File, content: &mut Content<'_, R>) -> Result<u128, Error> {
        let failed = |source| Error::Call { call: "write", path: place.directory().path().join(place.name), source };
        let (mut hash, mut writer) = (None, HoleWriter::new(file));
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Content { path: place.path.to_owned(), source }),
            };
            let piece = &self.buffer[..count];
            hash.get_or_insert_with(Xxh3::new).update(piece);
            writer.write(piece).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        Ok(hash.map_or_else(|| xxh3_128(&[]), |hash| hash.digest128()))
    }

    fn directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), Error> {
        match place.directory().create_directory(place.name, 0o700) {
            Err(error) if error.is_one_of(&[Errno::EXIST]) => {
                let there = place.directory().stat(place.name)?;
                if there.is_some_and(|stat| stat.kind == FileKind::Directory) {
                    self.remove_xattrs(place, entry)?;
                } else {
                    self.make_room(place)?;
                    place.directory().create_directory(place.name, 0o700)?;
                }
            }
            result => result?,
        }
        self.set_directory(place, entry)
    }

    fn set_directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), Error> {
        let set = self.set_metadata(place, entry, false)?;
        self.contents.record(place.path, Known { content: 0, xattrs: set });
        if let Some(acl) = entry.xattrs.get(DEFAULT_ACL) {
            self.default_acls.push((place.path.to_owned(), acl.clone()));
        }
        if let Some(stat) = place.directory().stat(place.name)? {
            self.times.insert(stat.inode, (place.path.to_owned(), entry.mtime));
        }
        self.mark(place);
        Ok(())
    }

    /// Removes attributes that an earlier entry of a directory had and this one has not.
    fn remove_xattrs(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), Error> {
        for name in place.directory().xattrs(place.name)?.into_keys() {
            if !entry.xattrs.contains_key(&name) {
                let removed = place.directory().remove_xattr(place.name, &name);
                self.without_attribute(&removed, place.path);
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, place: &Place<'_>, entry: &Entry, target: &Path) -> Result<(), Error> {
        if self.exclusions.contains(target) {
            self.warnings.add(Omission::LinkToExcluded, place.path);
            return Ok(());
        }
        let missing = || Error::Link { path: place.path.to_owned(), target: target.to_owned() };
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { return Err(missing()) };
        let parent = match self.targets.directory(parent) {
            Err(error) if error.is_not_found() => return Err(missing()),
            result => result?,
        };
        let from = Place { parent, name, path: target };
        let stat = from.directory().stat(name)?.filter(|stat| stat.kind != FileKind::Directory).ok_or_else(missing)?;
        if !from.is(place) && !self.create(place, |at| at.create_link(place.name, from.directory(), name))? {
            return Ok(());
        }
        // Container engines apply the metadata of a link's entry too; it is the same file's, after all.
        let set = self.set_metadata(place, entry, stat.kind == FileKind::Symlink)?;
        place.directory().set_mtime(place.name, entry.mtime)?;
        if let Some(known) = self.contents.get(target) {
            let known = Known { xattrs: if entry.xattrs.is_empty() { known.xattrs } else { set }, ..known };
            self.contents.record(target, known);
            self.contents.record(place.path, known);
        }
        self.mark(place);
        Ok(())
    }

    fn device(&mut self, place: &Place<'_>, device: Device) -> Result<bool, Error> {
        match self.create(place, |at| at.create_device(place.name, device)) {
            // In a user namespace, and for 0/0 in an overlay, where that means a removal.
            Err(error) if error.is_one_of(&[Errno::PERM]) => {
                self.warnings.add(Omission::Device, place.path);
                Ok(false)
            }
            result => result,
        }
    }

    /// Creates something; where a name is taken, removes what is there first. False if that must stay.
    fn create(&mut self, place: &Place<'_>, create: impl Fn(&Directory) -> Result<(), Error>) -> Result<bool, Error> {
        match create(place.directory()) {
            Err(error) if error.is_one_of(&[Errno::EXIST]) => {
                if !self.make_room(place)? {
                    return Ok(false);
                }
                create(place.directory())?;
                Ok(true)
            }
            result => result.map(|()| true),
        }
    }

    /// Sets owner, mode and attributes, but not times; returns the hash of the attributes.
    fn set_metadata(&mut self, place: &Place<'_>, entry: &Entry, is_link: bool) -> Result<u64, Error> {
        let owned = place.directory().set_owner(place.name, entry.uid, entry.gid);
        self.tolerate(owned, Omission::Owner, place.path)?;
        if !is_link {
            // At most 0o7777.
            place.directory().set_mode(place.name, u16::try_from(entry.mode & 0o7777).unwrap_or_default())?;
        }
        self.set_xattrs(entry, |name, value| place.directory().set_xattr(place.name, name, value))
    }

    /// Sets extended attributes and returns the hash of those that were set, or will be at the end.
    fn set_xattrs(&mut self, entry: &Entry, set: impl Fn(&[u8], &[u8]) -> Result<(), Error>) -> Result<u64, Error> {
        if entry.xattrs.is_empty() {
            return Ok(0);
        }
        let mut done = Xattrs::new();
        for (name, value) in &entry.xattrs {
            if is_foreign(name) {
                continue;
            }
            if name == DEFAULT_ACL || self.without_attribute(&set(name, value), &entry.path) {
                done.insert(name.clone(), value.clone());
            }
        }
        Ok(hash_xattrs(&done))
    }

    /// Makes a warning of a refusal where that is wanted; false then.
    fn tolerate(&mut self, result: Result<(), Error>, omission: Omission, path: &Path) -> Result<bool, Error> {
        // EINVAL: the id is not mapped; EOPNOTSUPP: the file system has no such attributes.
        const REFUSALS: [Errno; 4] = [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OPNOTSUPP];
        match result {
            Ok(()) => Ok(true),
            Err(error) if self.fidelity == Fidelity::Lossy && error.is_one_of(&REFUSALS) => {
                self.warnings.add(omission, path);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a warning of an extended attribute that cannot be set or removed here, for whatever reason; false then.
    ///
    /// Attributes are data of the layer, which keeps them. Kernels, file systems and security modules refuse many: those
    /// of `trusted.` and `security.` to all but the machine's own root, `system.nfs4_acl` and `btrfs.` wherever the
    /// disk is of another kind.
    fn without_attribute(&mut self, result: &Result<(), Error>, path: &Path) -> bool {
        if result.is_err() {
            self.warnings.add(Omission::Xattrs, path);
        }
        result.is_ok()
    }

    fn mark(&mut self, place: &Place<'_>) {
        self.written.insert(key(place.parent.stat.inode, place.name));
    }

    /// Sets what must come after all entries: inherited attributes and times of directories.
    fn restore_directories(&mut self) -> Result<(), Error> {
        for (path, acl) in std::mem::take(&mut self.default_acls) {
            if let Some(parent) = self.enter_existing(&path)? {
                let set = parent.directory.set_xattr(OsStr::new("."), DEFAULT_ACL, &acl);
                self.without_attribute(&set, &path);
            }
        }
        let mut times: Vec<(Inode, (PathBuf, Timestamp))> = std::mem::take(&mut self.times).into_iter().collect();
        times.sort_unstable_by(|(_, (a, _)), (_, (b, _))| order(a, b));
        for (inode, (path, mtime)) in times {
            match self.parents.directory(&path) {
                // It may have been removed again, and something else stand there.
                Ok(found) if found.stat.inode == inode => found.directory.set_mtime(OsStr::new("."), mtime)?,
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn key(directory: Inode, name: &OsStr) -> u128 {
    let mut hash = Xxh3::with_seed(directory.number);
    hash.update(&directory.device.to_le_bytes());
    hash.update(name.as_bytes());
    hash.digest128()
}
