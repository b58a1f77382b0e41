//! Files that are written at the end, found at the beginning, with what stood in them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Folder, Place, Refused, Standing};

/// The largest file whose content is kept for later, in bytes; no engine reads larger results.
const LARGEST: u64 = 1 << 20;

/// What stood in a place before anything ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A file with this content.
    Content(Vec<u8>),
    /// Something that keeps nothing: a device, a pipe.
    Unknown,
}

/// Where a build writes, by the paths that were given, with what stood there before anything ran.
#[derive(Debug, Default)]
pub struct Places {
    files: BTreeMap<PathBuf, (Place, Before)>,
    folders: BTreeMap<PathBuf, Folder>,
    regions: Vec<PathBuf>,
}

impl Places {
    /// Has no places yet; `regions` are directories that somebody else fills.
    pub fn new(regions: Vec<PathBuf>) -> Self {
        Self { regions, ..Self::default() }
    }

    /// Finds a file that is only written; nothing is recorded, and nothing is put back.
    ///
    /// # Errors
    /// As [`Place::find`].
    pub fn find(&mut self, path: &Path) -> io::Result<()> {
        self.keep(path, Before::Unknown)
    }

    /// Finds a directory that is written into.
    ///
    /// # Errors
    /// As [`Folder::find`].
    pub fn find_folder(&mut self, path: &Path) -> io::Result<()> {
        self.folders.insert(path.to_owned(), Folder::find(path, &self.regions)?);
        Ok(())
    }

    /// Finds a file and records what is in it.
    ///
    /// # Errors
    /// As [`Place::find`] and [`Place::read`].
    pub fn record(&mut self, path: &Path) -> io::Result<()> {
        let place = Place::find(path, &self.regions)?;
        let before = match place.standing()? {
            Standing::File | Standing::MountedFile => place.read(LARGEST)?.map_or(Before::Unknown, Before::Content),
            Standing::Nothing | Standing::Link => Before::Nothing,
            Standing::Device | Standing::Pipe | Standing::Descriptor | Standing::Other(_) => Before::Unknown,
        };
        self.files.insert(path.to_owned(), (place, before));
        Ok(())
    }

    /// Finds a file, and removes what an earlier build left there.
    ///
    /// # Errors
    /// As [`Place::find`] and [`Place::clear`].
    pub fn clear(&mut self, path: &Path) -> io::Result<()> {
        let place = Place::find(path, &self.regions)?;
        place.clear()?;
        // Where it could not be removed it is empty.
        let before = match place.standing()? {
            Standing::Nothing => Before::Nothing,
            Standing::File | Standing::MountedFile => Before::Content(Vec::new()),
            Standing::Link | Standing::Device | Standing::Pipe | Standing::Descriptor | Standing::Other(_) => {
                Before::Unknown
            }
        };
        self.files.insert(path.to_owned(), (place, before));
        Ok(())
    }

    /// Finds a file, and writes what stands there until it is written again.
    ///
    /// # Errors
    /// As [`Place::find`] and [`Place::write`].
    pub fn begin_with(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let place = Place::find(path, &self.regions)?;
        place.write(content)?;
        let is_file = matches!(place.standing()?, Standing::File | Standing::MountedFile);
        let before = if is_file { Before::Content(content.to_owned()) } else { Before::Unknown };
        self.files.insert(path.to_owned(), (place, before));
        Ok(())
    }

    fn keep(&mut self, path: &Path, before: Before) -> io::Result<()> {
        self.files.insert(path.to_owned(), (Place::find(path, &self.regions)?, before));
        Ok(())
    }

    /// Tells whether all that was found can be written, before anything else is done; nothing is changed.
    ///
    /// # Errors
    /// The first one, with its path.
    pub fn probe(&self) -> Result<(), (PathBuf, io::Error)> {
        for (path, (place, _)) in &self.files {
            place.probe().map_err(|error| (path.clone(), error))?;
        }
        for (path, folder) in &self.folders {
            folder.probe().map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }

    /// Returns the content that was recorded of a file.
    pub fn before(&self, path: &Path) -> Option<&[u8]> {
        match self.files.get(path) {
            Some((_, Before::Content(content))) => Some(content),
            Some((_, Before::Nothing | Before::Unknown)) | None => None,
        }
    }

    /// Calls `act` with a place; one that was not found before is found now.
    ///
    /// # Errors
    /// Those of `act`, and as [`Place::find`].
    pub fn with<T>(&self, path: &Path, act: impl FnOnce(&Place) -> io::Result<T>) -> io::Result<T> {
        match self.files.get(path) {
            Some((place, _)) => act(place),
            None => act(&Place::find(path, &self.regions)?),
        }
    }

    /// Returns a directory; one that was not found before is found now.
    ///
    /// # Errors
    /// As [`Folder::find`].
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        match self.folders.get(path) {
            Some(folder) => Ok(folder.clone()),
            None => Folder::find(path, &self.regions),
        }
    }

    /// Writes a file as a whole.
    ///
    /// # Errors
    /// As [`Place::write`].
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.with(path, |place| place.write(content))
    }

    /// Puts back what was recorded, where it is not there any more. Goes on after an error.
    ///
    /// # Errors
    /// The first one, with its path.
    pub fn restore(&self) -> Result<(), (PathBuf, io::Error)> {
        let mut result = Ok(());
        for (path, (place, before)) in &self.files {
            if let Err(error) = restore(place, before) {
                result = result.and(Err((path.clone(), error)));
            }
        }
        result
    }
}

fn restore(place: &Place, before: &Before) -> io::Result<()> {
    match before {
        Before::Unknown => Ok(()),
        Before::Nothing => {
            place.clear()?;
            match place.standing()? {
                // A named pipe or a device that RUN put here would keep the result from being read, or make the next build hang.
                Standing::Device | Standing::Pipe => Err(Refused::Kind { kind: "a device or a named pipe" }.into()),
                _ => Ok(()),
            }
        }
        Before::Content(content) => {
            let now = place.read(content.len() as u64).ok().flatten();
            if now.as_deref() == Some(content) { Ok(()) } else { place.write(content) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_cannot_be_written_is_known_before_and_nothing_is_left_of_the_trial() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "before").expect("writes");
        let names = || fs::read_dir(directory.path()).expect("lists").count();
        for (name, is_good) in [("file", true), ("new", true), ("a/b/new", true), ("file/below", false)] {
            let mut places = Places::new(Vec::new());
            let found = places.find(&path(name)).map_err(|error| (path(name), error)).and_then(|()| places.probe());
            assert_eq!(found.is_ok(), is_good, "{name}: {found:?}");
        }
        for (file, is_good) in [("/proc/none", false), ("/proc/self/fd/2", true), ("/dev/null", true), ("/usr", false)]
        {
            let mut places = Places::new(Vec::new());
            places.find(Path::new(file)).expect("finds");
            assert_eq!(places.probe().is_ok(), is_good, "{file}");
        }
        let mut places = Places::new(Vec::new());
        places.find_folder(Path::new("/proc/none")).expect("finds");
        assert!(places.probe().is_err());
        assert_eq!((names(), fs::read(path("file")).expect("reads")), (1, b"before".to_vec()));
    }

    #[test]
    fn what_was_recorded_comes_back_whatever_was_made_of_it() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| directory.path().join(name);
        for name in ["changed", "gone", "linked", "kept"] {
            fs::write(path(name), "before").expect("writes");
        }
        let mut places = Places::new(Vec::new());
        for name in ["changed", "gone", "linked", "kept", "new"] {
            places.record(&path(name)).expect("records");
        }
        let kept = fs::metadata(path("kept")).expect("stat");
        fs::write(path("changed"), "forged, and longer").expect("writes");
        fs::remove_file(path("gone")).expect("removes");
        fs::remove_file(path("linked")).expect("removes");
        symlink(path("kept"), path("linked")).expect("links");
        fs::write(path("new"), "forged").expect("writes");
        fs::write(path("other"), "of another step").expect("writes");
        places.restore().expect("restores");
        for name in ["changed", "gone", "linked", "kept"] {
            assert_eq!(fs::read_to_string(path(name)).expect("reads"), "before", "{name}");
        }
        assert!(!path("new").exists() && fs::symlink_metadata(path("linked")).expect("stat").is_file());
        assert_eq!(fs::read_to_string(path("other")).expect("reads"), "of another step");
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(fs::metadata(path("kept")).expect("stat").ino(), kept.ino(), "what is as it was is left alone");
    }
}
