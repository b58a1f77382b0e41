//! Copies of what mounts show: a cache's beginning, a bind that RUN may write to, a cache that is worked on aside.
//!
//! Knows how files get from where they are into a directory of ours. *Invariant: an instance of a cache changes in one
//! step, or not at all.*

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cache::CacheKey;
use crate::dockerfile::MountOwner;
use crate::image::{EntryKind, Inventory, Layer, LayerInventory, LayerReader, LayerWriter};
use crate::isolation::Access;
use crate::plan::{CacheMount, CopyFrom, CopyStep};
use crate::request::{Compression, SnapshotMode};
use crate::rootfs::{self, Contents, Exclusions, Fidelity, Rootfs, RootfsKind, Snapshot};
use crate::store::Store;

use super::super::files::{self, Copying, Opened};
use super::super::run::report;
use super::super::stage::Shared;
use super::super::witness::Observer;
use super::super::{Error, Services, layers, unpoisoned};
use super::kept::{Beginning, Begun};
use super::{DIRECTORY, Worked, access, create, state};

impl Shared<'_> {
    /// Makes a new cache's directory with what it begins with; does nothing where it is there. `key` names it among
    /// those that a repository keeps; none for one that is not kept there.
    pub(super) fn begin_cache(
        &self,
        cache: &CacheMount,
        data: &Path,
        key: Option<&CacheKey>,
        observer: Option<Observer<'_>>,
    ) -> Result<(), Error> {
        // What begins is worth as much to the others that want it, and nothing to those that want another one.
        let turn = self.services.run.turn(data);
        let _turn = unpoisoned(&turn);
        if fs::symlink_metadata(data).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        let room = self.beside(data, "new");
        create(&room)?;
        let (kept, beginning) = match key {
            Some(key) => self.fetch_cache(cache, key, &room)?,
            None => (None, Beginning::Unknown),
        };
        let is_kept = kept.is_some();
        let new = match (kept, &cache.from) {
            (Some(kept), _) => kept,
            (None, Some(from)) => {
                self.copy_out(from, Path::new(cache.source.trim_start_matches('/')), &room, observer)?
            }
            (None, None) => {
                let new = room.join("new");
                create(&new)?;
                new
            }
        };
        let owner = cache.owner;
        if !is_kept && (cache.from.is_none() || owner != MountOwner::default()) {
            self.give(&new, access(owner, DIRECTORY))?;
        }
        if fs::symlink_metadata(data).is_ok_and(|metadata| !metadata.is_dir()) {
            // A link that a RUN has left on the volume leads nowhere of ours.
            fs::remove_file(data).map_err(state("remove", data))?;
        }
        match fs::rename(&new, data) {
            // Another pod was faster.
            Err(_) if fs::symlink_metadata(data).is_ok_and(|metadata| metadata.is_dir()) => {}
            result => result.map_err(state("make", data))?,
        }
        if let Some(key) = key {
            let mut begun = unpoisoned(&self.services.run.begun);
            begun.insert(key.clone(), Begun { data: data.to_owned(), id: cache.id.clone(), beginning });
        }
        files::remove_scratch(&room)
    }

    /// Names a directory of this build's own beside an instance of a cache, which may be on a shared file system.
    pub(super) fn beside(&self, data: &Path, what: &str) -> PathBuf {
        let run = self.request.state_directory.file_name().unwrap_or_default().to_string_lossy();
        let instance = data.file_name().unwrap_or_default().to_string_lossy();
        data.with_file_name(format!(".{instance}-{what}-{run}"))
    }

    /// Copies files into `room`, which is empty, and returns where they are.
    pub(super) fn copy_out(
        &self,
        from: &CopyFrom,
        path: &Path,
        room: &Path,
        observer: Option<Observer<'_>>,
    ) -> Result<PathBuf, Error> {
        let [copied, spool, blobs] = ["files", "spool", "blobs"].map(|name| room.join(name));
        create(&copied)?;
        create(&spool)?;
        let store = Store::open(&blobs)?;
        let step = CopyStep::plain(from.clone(), literal(path), "/content");
        let nothing = Exclusions::default();
        let (owner, before, id) = (None, &[][..], None);
        let copying = Copying { step: &step, owner, ignored: &nothing, spool: &spool, observer, before, id };
        let (entry, layer) = self.with_source(from, |opened: &Opened<'_>| {
            let entry = opened.source.find(path)?;
            let writer = LayerWriter::new(&store, Compression::Uncompressed, None)?;
            Ok((entry, self.write_copy(&copying, opened, &mut Inventory::new(), writer)?))
        })?;
        if let Some((layer, _)) = layer {
            self.unpack_to(&store, &layer, &copied)?;
        }
        let content = copied.join("content");
        if entry.kind == EntryKind::Directory {
            create(&content)?;
            self.give(&content, Access { mode: entry.mode, uid: entry.uid, gid: entry.gid })?;
        }
        files::remove_scratch(&blobs)?;
        files::remove_scratch(&spool)?;
        Ok(content)
    }

    /// Puts what a RUN has made of the copy of a cache in the place of the instance: in one step, whatever ends the
    /// executor. Files that are as they were when it began are not copied again.
    pub(super) fn replace(&self, worked: &Worked) -> Result<(), Error> {
        let Worked { copy, instance, before } = worked;
        let (new, old) = (self.beside(instance, "new"), self.beside(instance, "old"));
        create(&new)?;
        let changes = before.changes(&self.services.files(copy)?, SnapshotMode::Full)?;
        if changes.is_empty() {
            return files::remove_scratch(&new);
        }
        let changed: HashSet<PathBuf> = changes.entries.into_iter().map(|change| change.path).collect();
        let is_same = |path: &Path| !changed.contains(path);
        let same = rootfs::Old { tree: &self.services.tree(instance)?, is_same: &is_same };
        rootfs::duplicate(&self.services.tree(copy)?, &self.services.tree(&new)?, Some(same))?;
        fs::rename(instance, &old).map_err(state("move", instance))?;
        fs::rename(&new, instance).map_err(state("make", instance))?;
        files::remove_scratch(&old)
    }

    fn unpack_to(&self, store: &Store, layer: &Layer, to: &Path) -> Result<(), Error> {
        let blob = store.read(&layer.descriptor.digest)?;
        let mut rootfs = self.services.files(to)?;
        let tar = layers::interruptible(self.services, io::BufReader::new(blob));
        let mut reader = LayerReader::new(tar).until(self.services.stop());
        let unpacked = rootfs::unpack(&mut rootfs, &mut reader, self.services.fidelity, &mut Contents::default());
        report(self.services, &unpacked?);
        Ok(())
    }

    /// Sets mode and owner.
    fn give(&self, path: &Path, access: Access) -> Result<(), Error> {
        let itself = OsStr::new(".");
        let directory = self.services.tree(path)?.directory(Path::new(""))?;
        match directory.set_owner(itself, access.uid, access.gid) {
            Err(_) if self.services.fidelity == Fidelity::Lossy => {}
            result => result?,
        }
        // At most 0o7777.
        Ok(directory.set_mode(itself, u16::try_from(access.mode & 0o7777).unwrap_or_default())?)
    }
}

/// Packs a whole directory, as it is on disk; `empty` is a directory with nothing in it.
pub(super) fn pack_all(
    services: &Services,
    directory: &Path,
    empty: &Path,
    mut writer: LayerWriter,
) -> Result<(Layer, LayerInventory), Error> {
    let from = services.files(directory)?;
    let begin = Snapshot::take(&Rootfs::open(empty, Vec::new(), RootfsKind::Plain)?, &Contents::default())?;
    let changes = begin.changes(&from, SnapshotMode::Full)?;
    report(services, &rootfs::pack(&from, &changes, &mut writer, &mut Contents::default())?);
    Ok(writer.finish()?)
}

/// Writes a path as a pattern that matches it alone.
///
/// A backslash means itself where no wildcard is in its component or before it, and an escaped wildcard is none at all:
/// such a path is taken as it is written, backslashes included. So wildcards become classes of one.
fn literal(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut pattern = String::with_capacity(text.len());
    let mut matched = false;
    for component in text.split_inclusive('/') {
        matched |= component.contains(['*', '?', '[']);
        for character in component.chars() {
            match character {
                '*' | '?' | '[' => pattern.extend(['[', character, ']']),
                '\\' if matched => pattern.push_str("\\\\"),
                other => pattern.push(other),
            }
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::glob;

    #[test]
    fn a_literal_pattern_matches_its_path_alone() {
        for path in ["a*b", "a?b", "[x]", "*\\", "*/back\\slash"] {
            let pattern = literal(Path::new(path));
            assert!(glob::has_wildcards(pattern.as_bytes()), "{pattern} is matched, not taken as it is written");
            for (component, name) in pattern.split('/').zip(path.split('/')) {
                assert!(glob::matches(component.as_bytes(), name.as_bytes()).expect(&pattern), "{pattern}");
            }
        }
        assert!(!glob::matches(literal(Path::new("a*")).as_bytes(), b"ab").expect("a pattern"));
        for path in ["plain", "back\\slash"] {
            assert_eq!(literal(Path::new(path)), path);
        }
    }
}
