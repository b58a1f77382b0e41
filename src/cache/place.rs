//! What is in a cache, and its collection by age and size.
//!
//! *Invariant: builds may go on meanwhile. Entries go before their blobs, and a blob that is young stays, since a build
//! may be about to name it.*

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::{Directory, Entry, EntryKind, EntryName, Error, Kept, Repository};
use crate::oci::Digest;

/// How long a blob that no entry names is left alone, in seconds.
const GRACE: u64 = 3600;

/// A cache that can be listed and collected.
pub enum Place {
    /// A directory.
    Directory(Directory),
    /// A repository of a registry.
    Repository(Repository),
}

/// An entry of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: EntryName,
    /// When it was made, in seconds since 1970; none for lists of layers and trails, which do not say.
    pub made: Option<i64>,
    /// When it was used last, in seconds since 1970, where the place knows that.
    pub used: Option<i64>,
    /// Its blob, and how many bytes it has.
    pub blob: Option<(Digest, u64)>,
    /// The instruction, where it is about a step.
    pub text: String,
    /// The manifest that it is in, in a registry.
    manifest: Option<Digest>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many entries.
    pub entries: usize,
    /// How many bytes of blobs; a registry frees them when it collects its own garbage.
    pub bytes: u64,
}

impl Listed {
    fn new(name: EntryName, kept: Kept, used: Option<i64>, manifest: Option<Digest>) -> Self {
        let entry: Option<Entry> = serde_json::from_str(&kept.document).ok();
        let (made, text) = entry.map_or((None, String::new()), |entry| (Some(entry.made), entry.text));
        let blob = kept.blob.map(|blob| (blob.digest, blob.size));
        Self { name, made, used, blob, text, manifest }
    }

    /// Returns the time that decides on its age; one that does not say is of no age.
    fn time(&self) -> i64 {
        self.used.or(self.made).unwrap_or(i64::MAX)
    }

    /// Returns how many bytes its blob has, and takes note of it; none where another entry had it before.
    fn size(&self, known: &mut HashSet<Digest>) -> u64 {
        let blob = self.blob.as_ref().filter(|(digest, _)| known.insert(digest.clone()));
        blob.map_or(0, |(_, size)| *size)
    }
}

/// Returns how many bytes the blobs of entries have together; one that several have is there once.
pub fn size(entries: &[Listed]) -> u64 {
    let mut known = HashSet::new();
    entries.iter().fold(0, |size, entry| size.saturating_add(entry.size(&mut known)))
}

impl Place {
    /// Returns all entries, the one used last first.
    ///
    /// # Errors
    /// [`Error`] when the place cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let mut listed = match self {
            Self::Directory(directory) => {
                let entries = directory.list()?.into_iter();
                entries.map(|found| Listed::new(found.name, found.kept, Some(seconds(found.used)), None)).collect()
            }
            Self::Repository(repository) => {
                let mut listed = Vec::new();
                for name in repository.names()? {
                    match repository.manifest(&name) {
                        Ok(Some((digest, kept))) => listed.push(Listed::new(name, kept, None, Some(digest))),
                        // Removed meanwhile, or none of ours.
                        Ok(None) | Err(Error::Refused { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                listed
            }
        };
        listed.sort_by(|a, b| b.time().cmp(&a.time()).then_with(|| a.name.cmp(&b.name)));
        Ok(listed)
    }

    fn remove(&self, entry: &Listed) -> Result<(), Error> {
        match (self, &entry.manifest) {
            (Self::Directory(directory), _) => directory.remove(&entry.name),
            (Self::Repository(repository), Some(digest)) => repository.remove(digest),
            (Self::Repository(_), None) => Ok(()),
        }
    }
}

/// What may stay in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The time, in seconds since 1970.
    pub now: i64,
    /// When an entry must have been used last, or made where that is not known.
    pub oldest: i64,
    /// How many bytes all blobs may have together.
    pub largest: u64,
}

/// Removes entries that are too old, and then those that were not used for the longest time where all blobs together are
/// too large. With `dry`, only says what would go.
///
/// # Errors
/// [`Error`] when the place cannot be read, or does not let us remove.
pub fn prune(place: &Place, limits: Limits, dry: bool) -> Result<Collected, Error> {
    let Limits { now, oldest, largest } = limits;
    let mut pruned = Collected::default();
    let (mut kept, mut size, mut gone) = (HashSet::new(), 0_u64, Vec::new());
    for entry in place.list()? {
        let more = entry.blob.as_ref().filter(|(digest, _)| !kept.contains(digest)).map_or(0, |(_, size)| *size);
        let grown = size.saturating_add(more);
        // What steps depended on is small, and without it no miss can be explained.
        let is_kept = entry.time() >= oldest && (grown <= largest || entry.name.kind == EntryKind::Trail);
        if is_kept {
            size = grown;
            kept.extend(entry.blob.map(|(digest, _)| digest));
            continue;
        }
        if !dry {
            place.remove(&entry)?;
        }
        pruned.entries += 1;
        gone.push(entry);
    }
    let mut counted = kept.clone();
    // What is still named frees nothing.
    pruned.bytes = gone.iter().fold(0, |bytes, entry| bytes.saturating_add(entry.size(&mut counted)));
    if let (Place::Directory(directory), false) = (place, dry) {
        let young = u64::try_from(now).unwrap_or(0).saturating_sub(GRACE);
        directory.sweep(&kept, SystemTime::UNIX_EPOCH + Duration::from_secs(young))?;
    }
    Ok(pruned)
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Blob, LayerCache as _, key::Frames};

    #[test]
    fn two_that_collect_at_once_do_not_disturb_each_other() {
        let directory = tempfile::tempdir().expect("tempdir");
        let open = || Directory::new(directory.path(), &[]);
        for number in 0..200_u32 {
            let name = EntryName::new(EntryKind::Step, &Frames::new("test").with(number.to_string()).key());
            let blob = Blob::Bytes { media_type: "test", bytes: number.to_string().into() };
            open().put(&name, "{}", None, &blob).expect("puts");
        }
        let limits = Limits { now: i64::MAX / 2, oldest: i64::MAX / 2, largest: u64::MAX };
        std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| prune(&Place::Directory(open()), limits, false)));
            for one in both {
                one.join().expect("no panic").expect("prunes");
            }
        });
        assert_eq!(open().list().expect("lists").len(), 0);
    }
}
