//! ADD of an archive: its entries become entries of the layer.
//!
//! *Invariant: the destination is the archive's root, as for a process in it. Absolute links and `..` end there, whether
//! the archive has them or the image; what a link leads to must be there (Docker unpacks in a chroot).*

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::image::{self, Entry, EntryKind, LayerReader, Owner, Stop};
use crate::rootfs;

use super::draft::Content;
use super::{Copier, DIRECTORY_MODE, Error, ImpliedDirectory, base_name};

/// How many bytes of a file of an archive are in memory.
const AT_A_TIME: usize = 256 << 10;

/// Tells whether a file is a tar archive, in whatever compression; `path` is for messages.
pub(super) fn is_archive(file: impl io::Read + Send, path: &Path) -> Result<bool, Error> {
    image::is_archive(file).map_err(|source| Error::ReadSource { path: path.to_owned(), source })
}

impl Copier<'_, '_, '_> {
    /// Unpacks an archive below the destination, which becomes a directory.
    ///
    /// Contents are spooled to plain files, because the layer is written in order of paths, not of the archive.
    pub(super) fn unpack(&mut self, file: impl io::Read + Send, path: &Path) -> Result<(), Error> {
        let owner = self.owner.unwrap_or(Owner { uid: 0, gid: 0 });
        let implied = ImpliedDirectory { mode: DIRECTORY_MODE, uid: owner.uid, gid: owner.gid };
        let destination = Path::new(self.step.destination.trim_matches('/'));
        self.draft.make_directories(destination, implied)?;
        let destination = self.draft.resolve(destination)?;
        let decompressed = image::decompressed(file);
        let decompressed = decompressed.map_err(|source| Error::ReadSource { path: path.to_owned(), source })?;
        let mut reader = LayerReader::rooted(decompressed).until(Stop::clone(&self.aside.stop));
        while let Some((entry, mut content)) =
            reader.next_entry().map_err(|source| Error::Archive { path: path.to_owned(), source })?
        {
            let content = match entry.kind {
                EntryKind::File { size } if size > 0 => Content::Spool(self.aside.put(&mut content, path)?),
                _ => Content::None,
            };
            self.place_archived(entry, content, &destination)?;
        }
        self.draft.settle_links();
        Ok(())
    }

    /// Puts one entry of an archive below `root`.
    fn place_archived(&mut self, entry: Entry, content: Content, root: &Path) -> Result<(), Error> {
        let Some(target) = self.archived_path(root, &entry.path)? else { return Ok(()) };
        let owner = self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
        let mut xattrs = entry.xattrs;
        xattrs.retain(|name, _| !rootfs::is_foreign(name));
        let mut entry = Entry { path: target, uid: owner.uid, gid: owner.gid, xattrs, ..entry };
        if let EntryKind::HardLink { target: linked } = &mut entry.kind {
            *linked = self.archived_path(root, linked)?.unwrap_or_default();
            return self.draft.put_hard_link(entry);
        }
        self.draft.put(entry, content, None)
    }

    /// Finds where an entry of an archive goes, and makes the directories above it; none for the archive's root.
    fn archived_path(&mut self, root: &Path, path: &Path) -> Result<Option<PathBuf>, Error> {
        let Some(name) = base_name(path) else { return Ok(None) };
        let parent = self.draft.resolve_below(root, path.parent().unwrap_or(Path::new("")))?;
        self.draft.make_directories(&parent, ImpliedDirectory { mode: DIRECTORY_MODE, uid: 0, gid: 0 })?;
        Ok(Some(parent.join(name)))
    }
}

/// A directory of ours, empty at first, for contents that cannot be read where they are until the layer is written.
pub(in crate::builder) struct Aside {
    directory: PathBuf,
    /// How many files are in it.
    count: usize,
    /// Is asked between blocks whether the work is to end.
    stop: Stop,
}

impl Aside {
    /// Takes an empty directory.
    pub(in crate::builder) fn new(directory: &Path, stop: Stop) -> Self {
        Self { directory: directory.to_owned(), count: 0, stop }
    }

    /// Writes a content to a file of its own, long pieces of zeros as holes; `archive` is what it is a part of.
    fn put(&mut self, content: &mut dyn io::Read, archive: &Path) -> Result<PathBuf, Error> {
        let path = self.directory.join(self.count.to_string());
        self.count += 1;
        let spool = |source| Error::Spool { path: path.clone(), source };
        let file = File::create_new(&path).map_err(spool)?;
        let mut writer = rootfs::HoleWriter::new(&file);
        let mut buffer = vec![0; AT_A_TIME];
        loop {
            let count = content.read(&mut buffer).map_err(|source| {
                let source = image::Error::Content { path: archive.to_owned(), source };
                Error::Archive { path: archive.to_owned(), source }
            })?;
            if count == 0 {
                writer.finish().map_err(spool)?;
                return Ok(path);
            }
            writer.write(&buffer[..count]).map_err(spool)?;
        }
    }
}
