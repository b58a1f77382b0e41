//! Which files layers hold and what these record as installed, by the layer's digest: in a directory of this machine, and in what builds share.
//!
//! A list decides where COPY puts files, so it must be the layer's own. The directory is one user's alone, which is asked
//! of its descriptor. Where RUN is root in the executor's own root, even that directory is within its reach: there the
//! lists are kept for one run only, and carry codes under a key that is in memory alone.
//!
//! ```text
//! yadokari inventory of a layer 1
//! <the layer's digest>
//! <the list>                       as `LayerInventory` or `LayerPackages` writes it
//! <a code over all of it>          64 hexadecimal digits
//! ```
//!
//! *Invariant: an inventory that is damaged, of another layer, or that somebody else has written counts as missing; it is
//! made anew from the layer. What is kept is bounded in size and age.*

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use super::seal::{Code, Key};
use super::{Cache, Error};
use crate::image::LayerInventory;
use crate::oci::Digest;
use crate::sbom::LayerPackages;

/// What is kept of a layer.
trait List: Sized {
    /// Begins each file; its number changes with the form.
    const MAGIC: &'static str;
    /// What the codes of these files are about.
    const USE: &'static str;
    /// What the names of these files end in.
    const ENDING: &'static str;

    fn read(input: &mut impl Read) -> Option<Self>;

    fn write(&self, output: &mut impl Write) -> io::Result<()>;

    fn name(layer: &Digest) -> String {
        format!("{}{}", layer.hex(), Self::ENDING)
    }

    fn head(layer: &Digest) -> Vec<u8> {
        format!("{}\n{layer}\n", Self::MAGIC).into_bytes()
    }
}

impl List for LayerInventory {
    const MAGIC: &'static str = "yadokari inventory of a layer 1";
    const USE: &'static str = "yadokari inventory 1";
    const ENDING: &'static str = "";

    fn read(input: &mut impl Read) -> Option<Self> {
        Self::read_from(input).ok()
    }

    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        self.write_to(output).map_err(io::Error::other)
    }
}

impl List for LayerPackages {
    const MAGIC: &'static str = "yadokari packages of a layer 1";
    const USE: &'static str = "yadokari packages 1";
    const ENDING: &'static str = ".packages";

    fn read(input: &mut impl Read) -> Option<Self> {
        let mut bytes = Vec::new();
        input.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        Self::from_bytes(&bytes).ok()
    }

    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(&self.to_bytes())
    }
}

const CODE_LENGTH: u64 = 64;
/// Where nobody else can write, a code is only there to find damage: the key is known.
const NO_SECRET: [u8; 32] = [0; 32];
/// How many bytes are kept: the lists of a hundred large bases.
const MOST_BYTES: u64 = 512 << 20;
/// How long a list is kept that nobody uses, in seconds.
const LONGEST_UNUSED: i64 = 30 * 24 * 3600;
/// How long nothing is written to a temporary file before its run is dead, in seconds.
const ABANDONED: i64 = 600;

/// Inventories of layers, by the digest of the compressed layer.
#[derive(Clone)]
pub struct Inventories {
    directory: PathBuf,
    /// Opened when it is used first; what is wrong with it otherwise.
    opened: Arc<OnceLock<Result<OwnedFd, String>>>,
    key: Key,
    /// The time at the start of the run, in seconds since 1970.
    now: i64,
    /// A name that no other run has, in whatever pod.
    token: String,
    /// What builds on other machines share.
    shared: Option<Arc<Cache>>,
    /// Stages may keep the same one at the same time.
    next_temporary: Arc<AtomicU64>,
}

impl Inventories {
    /// Uses a directory of this user's, which is made when it is used first; `token` is a name that no other run has, and
    /// `now` the time in seconds since 1970.
    pub fn new(directory: &Path, token: &str, now: i64) -> Self {
        let key = Key::new(&NO_SECRET).expect("it is long enough");
        let (directory, token) = (directory.to_owned(), token.to_owned());
        Self { directory, opened: Arc::default(), key, now, token, shared: None, next_temporary: Arc::default() }
    }

    /// Believes only what this very run has written.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn of_this_run(self) -> io::Result<Self> {
        Ok(Self { key: Key::random()?, ..self })
    }

    /// Also uses what builds share.
    #[must_use]
    pub fn shared(self, cache: Arc<Cache>) -> Self {
        Self { shared: Some(cache), ..self }
    }

    /// Returns the inventory of a layer, if it is known.
    pub fn get(&self, layer: &Digest) -> Option<LayerInventory> {
        self.find(layer, |shared| shared.inventory(layer))
    }

    /// Returns what was found in a layer, if it is known.
    pub fn packages(&self, layer: &Digest) -> Option<LayerPackages> {
        self.find(layer, |shared| shared.packages(layer))
    }

    fn find<L: List>(&self, layer: &Digest, shared: impl FnOnce(&Cache) -> Option<L>) -> Option<L> {
        if let Some(known) = self.read(layer) {
            return Some(known);
        }
        let shared = shared(self.shared.as_ref()?)?;
        // Looked for here first by the next stage; that it cannot be kept costs only that.
        let _ = self.keep(layer, &shared);
        Some(shared)
    }

    /// Keeps the inventory of a layer.
    ///
    /// # Errors
    /// [`Error::Write`]; the build can go on without it.
    pub fn put(&self, layer: &Digest, inventory: &LayerInventory) -> Result<(), Error> {
        if let Some(shared) = &self.shared {
            shared.keep_inventory(layer, inventory);
        }
        self.keep(layer, inventory)
    }

    /// Keeps what was found in a layer.
    ///
    /// # Errors
    /// As [`Inventories::put`].
    pub fn put_packages(&self, layer: &Digest, packages: &LayerPackages) -> Result<(), Error> {
        if let Some(shared) = &self.shared {
            shared.keep_packages(layer, packages);
        }
        self.keep(layer, packages)
    }

    fn read<L: List>(&self, layer: &Digest) -> Option<L> {
        // One that cannot be read is one that is not there: it is made anew from the layer.
        let directory = self.directory().ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, L::name(layer), flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        if !is_file(&stat) {
            return None;
        }
        let file = File::from(file);
        let read = self.parse(&file, u64::try_from(stat.st_size).ok()?, layer)?;
        // Only its age: where that cannot be noted, it looks older than it is.
        let _ = rustix::fs::futimens(&file, &super::directory::NOW);
        Some(read)
    }

    fn parse<L: List>(&self, mut file: &File, size: u64, layer: &Digest) -> Option<L> {
        let head = L::head(layer);
        let length = size.checked_sub(head.len() as u64 + CODE_LENGTH)?;
        let mut found = vec![0; head.len()];
        file.read_exact(&mut found).ok()?;
        if found != head {
            return None;
        }
        let mut list = Coded { inner: file.take(length), code: self.code::<L>(layer) };
        let found = L::read(&mut list)?;
        let Coded { inner, code } = list;
        let mut digits = String::new();
        inner.into_inner().take(CODE_LENGTH).read_to_string(&mut digits).ok()?;
        code.is(&digits).then_some(found)
    }

    fn keep<L: List>(&self, layer: &Digest, list: &L) -> Result<(), Error> {
        let name = L::name(layer);
        let path = self.directory.join(&name);
        let failure = |source| Error::Write { path: path.clone(), source };
        let directory = self.directory().map_err(|error| failure(io::Error::other(error)))?;
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".{name}.{}-{number}.tmp", self.token);
        let written = self
            .write(directory, &temporary, layer, list)
            .and_then(|()| rustix::fs::renameat(directory, &temporary, directory, &name).map_err(io::Error::from));
        if written.is_err() {
            // The error that made it useless is told; that it could not be removed adds nothing.
            let _ = rustix::fs::unlinkat(directory, &temporary, AtFlags::empty());
        }
        written.map_err(failure)
    }

    fn write<L: List>(&self, directory: &OwnedFd, name: &str, layer: &Digest, list: &L) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut output = BufWriter::new(File::from(file));
        output.write_all(&L::head(layer))?;
        let mut coded = Coded { inner: output, code: self.code::<L>(layer) };
        list.write(&mut coded)?;
        let Coded { inner: mut output, code } = coded;
        output.write_all(code.finish().as_bytes())?;
        output.flush()
    }

    fn code<L: List>(&self, layer: &Digest) -> Code {
        self.key.code(L::USE).with(layer.as_str().as_bytes())
    }

    /// Returns the directory, opened, if it is this user's alone.
    fn directory(&self) -> Result<&OwnedFd, String> {
        self.opened.get_or_init(|| self.open()).as_ref().map_err(Clone::clone)
    }

    fn open(&self) -> Result<OwnedFd, String> {
        let path = self.directory.display();
        let parent = self.directory.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        match rustix::fs::mkdir(&self.directory, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(format!("{path}: {errno}")),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty());
        let directory = directory.map_err(|errno| format!("{path}: {errno}"))?;
        let stat = rustix::fs::fstat(&directory).map_err(|errno| format!("{path}: {errno}"))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(format!("{path} belongs to user {}, and nothing in it is believed: remove it", stat.st_uid));
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(format!("{path} is open to others, and nothing in it is believed: remove it"));
        }
        self.collect(&directory);
        Ok(directory)
    }

    /// Removes what dead runs have left, what nobody uses any more, and the oldest of what is too much.
    fn collect(&self, directory: &OwnedFd) {
        let Ok(entries) = rustix::fs::Dir::read_from(directory) else { return };
        let mut kept: Vec<(i64, u64, OsString)> = Vec::new();
        for entry in entries.flatten() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if !is_file(&stat) {
                continue;
            }
            let unused = self.now.saturating_sub(stat.st_mtime);
            let is_temporary = name.as_bytes().ends_with(b".tmp");
            if unused > if is_temporary { ABANDONED } else { LONGEST_UNUSED } {
                remove(directory, name);
            } else if !is_temporary {
                kept.push((stat.st_mtime, u64::try_from(stat.st_size).unwrap_or(0), name.to_owned()));
            }
        }
        kept.sort();
        let mut bytes: u64 = kept.iter().map(|(_, size, _)| size).sum();
        for (_, size, name) in kept {
            if bytes <= MOST_BYTES {
                return;
            }
            remove(directory, &name);
            bytes -= size;
        }
    }
}

fn is_file(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
}

fn remove(directory: &OwnedFd, name: &OsStr) {
    // Another run may have been faster; what stays is looked at again by the next one.
    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
}

/// A stream over which a code is made.
struct Coded<T> {
    inner: T,
    code: Code,
}

impl<R: Read> Read for Coded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.code.update(&buffer[..count]);
        Ok(count)
    }
}

impl<W: Write> Write for Coded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.code.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn empty() -> LayerInventory {
        LayerInventory::read(io::Cursor::new(vec![0; 1024])).expect("an empty layer")
    }

    #[test]
    fn only_what_was_written_for_the_layer_is_found() {
        let directory = tempfile::tempdir().expect("tempdir");
        let inventories = Inventories::new(&directory.path().join("new"), "one", 0);
        let (layer, other) = (Digest::of(b"layer"), Digest::of(b"other"));
        let path = |layer: &Digest| inventories.directory.join(layer.hex());
        assert!(inventories.get(&layer).is_none());
        inventories.put(&layer, &empty()).expect("writes");
        assert_eq!(inventories.get(&layer), Some(empty()));
        fs::copy(path(&layer), path(&other)).expect("copies");
        assert!(inventories.get(&other).is_none(), "it is another layer's");
        let whole = fs::read(path(&layer)).expect("reads");
        for at in [0, LayerInventory::MAGIC.len() + 20, whole.len() - 70, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(path(&layer), bytes).expect("damages");
            assert!(inventories.get(&layer).is_none(), "damaged at {at}");
        }
        fs::write(path(&layer), &whole).expect("mends");
        assert!(inventories.get(&layer).is_some());
        let own = Inventories::new(&inventories.directory, "two", 0).of_this_run().expect("random");
        assert!(own.get(&layer).is_none(), "another run may be anybody's");
        own.put(&layer, &empty()).expect("writes");
        assert!(own.get(&layer).is_some() && inventories.get(&layer).is_none());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("open");
        fs::create_dir(&path).expect("creates");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).expect("ours");
        let inventories = Inventories::new(&path, "one", 0);
        let error = inventories.put(&Digest::of(b"layer"), &empty()).expect_err("refused");
        let text = crate::causes::in_one_line(&error);
        assert!(text.contains("open to others"), "{text}");
        std::os::unix::fs::symlink(directory.path(), directory.path().join("link")).expect("links");
        let linked = Inventories::new(&directory.path().join("link"), "one", 0);
        assert!(linked.put(&Digest::of(b"layer"), &empty()).is_err());
    }

    #[test]
    fn what_is_old_or_left_by_the_dead_goes() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("inventories");
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let first = Inventories::new(&path, "one", 0);
        first.put(&old, &empty()).expect("writes");
        first.put(&new, &empty()).expect("writes");
        let left = [".a.one-7.tmp", ".b.two-1.tmp"].map(|name| path.join(name));
        left.iter().for_each(|path| fs::write(path, "half").expect("writes"));
        let touch = |path: &Path, seconds: i64| {
            let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(File::open(path).expect("opens"), &times).expect("ours");
        };
        let now = 1_000_000_000;
        touch(&path.join(old.hex()), now - LONGEST_UNUSED - 1);
        touch(&path.join(new.hex()), now - LONGEST_UNUSED + 9);
        touch(&left[0], now - ABANDONED - 1);
        touch(&left[1], now - 1);
        let second = Inventories::new(&path, "two", now);
        assert!(second.get(&new).is_some() && second.get(&old).is_none());
        assert!(!left[0].exists() && left[1].exists(), "a run that lives keeps its file");
    }
}
