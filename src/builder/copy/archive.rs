//! ADD of an archive: its entries become entries of the layer.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::image::{self, Entry, EntryKind, LayerReader, Owner};

use super::draft::Content;
use super::{Copier, DIRECTORY_MODE, Error, ImpliedDirectory, base_name};

/// How many bytes of a file of an archive are in memory.
const SPOOLED_AT_A_TIME: usize = 256 << 10;

/// Tells whether a file is a tar archive, in whatever compression; `path` is for messages.
pub(super) fn is_archive(file: impl io::Read + Send, path: &Path) -> Result<bool, Error> {
    image::is_archive(file).map_err(|source| Error::ReadSource { path: path.to_owned(), source })
}

impl Copier<'_, '_> {
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
        let mut reader =
            LayerReader::new(decompressed.map_err(|source| Error::ReadSource { path: path.to_owned(), source })?);
        let mut placed = HashMap::new();
        while let Some((entry, mut content)) =
            reader.next_entry().map_err(|source| Error::Archive { path: path.to_owned(), source })?
        {
            let content = match entry.kind {
                EntryKind::File { size } if size > 0 => Content::Spool(self.spool_file(&mut content, path)?),
                _ => Content::None,
            };
            self.place_archived(entry, content, &destination, &mut placed)?;
        }
        Ok(())
    }

    /// Puts one entry of an archive below `destination`; links in its parents are followed within the image.
    fn place_archived(
        &mut self,
        entry: Entry,
        content: Content,
        destination: &Path,
        placed: &mut HashMap<PathBuf, PathBuf>,
    ) -> Result<(), Error> {
        let Some(name) = base_name(&entry.path) else { return Ok(()) };
        let parent = destination.join(entry.path.parent().unwrap_or(Path::new("")));
        self.draft.make_directories(&parent, ImpliedDirectory { mode: DIRECTORY_MODE, uid: 0, gid: 0 })?;
        let target = self.draft.resolve(&parent)?.join(name);
        placed.insert(entry.path.clone(), target.clone());
        if let EntryKind::HardLink { target: linked } = &entry.kind {
            let linked = placed.get(linked).cloned().unwrap_or_else(|| destination.join(linked));
            return self.draft.put_hard_link(target, &linked);
        }
        let owner = self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
        self.draft.put(Entry { path: target, uid: owner.uid, gid: owner.gid, ..entry }, content, None)
    }

    /// Writes the content of a file to a file of ours; `archive` is what it is a part of.
    fn spool_file(&mut self, content: &mut dyn io::Read, archive: &Path) -> Result<PathBuf, Error> {
        let path = self.spool.join(self.spooled.to_string());
        self.spooled += 1;
        let spool = |source| Error::Spool { path: path.clone(), source };
        let mut file = File::create(&path).map_err(spool)?;
        let mut buffer = vec![0; SPOOLED_AT_A_TIME];
        loop {
            let count = content.read(&mut buffer).map_err(|source| {
                let source = image::Error::Content { path: archive.to_owned(), source };
                Error::Archive { path: archive.to_owned(), source }
            })?;
            if count == 0 {
                return Ok(path);
            }
            file.write_all(&buffer[..count]).map_err(spool)?;
        }
    }
}
