//! Scratch directories, on tmpfs where there is one: creating a file on a cloud disk costs half a millisecond.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The start of the name of a test process's directory; its pid follows.
const NAME: &str = "yado-it.";

/// A directory of its own that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory whose name tells what it is for.
    pub(crate) fn new(purpose: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{purpose}.{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = root().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Returns the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of `name` in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a directory in it.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes a file in it, with its parents.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("the parent can be made");
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: `root` of the next run sweeps what a killed run left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the directory of this test process, below `$YADOKARI_TEST_SCRATCH`, else on tmpfs.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let parent = variable("YADOKARI_TEST_SCRATCH").map_or_else(default_parent, PathBuf::from);
        sweep(&parent);
        let root = parent.join(format!("{NAME}{}", std::process::id()));
        fs::create_dir_all(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        root
    })
}

/// Reads a variable of the environment: switches of the tests are there, as libtest owns the command line.
#[expect(clippy::disallowed_methods, reason = "the tests' own switches, not the executor's")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns the seeds of random tests: those of `YADOKARI_TEST_SEEDS=FIRST..END`, or the few of every run.
pub(crate) fn seeds(few: Range<u64>) -> Range<u64> {
    variable("YADOKARI_TEST_SEEDS").map_or(few, |text| {
        let (first, end) = text.split_once("..").expect("write FIRST..END");
        first.parse().expect("a number")..end.parse().expect("a number")
    })
}

fn default_parent() -> PathBuf {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() }
}

/// Removes directories of test processes that are no more.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(NAME) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            unmount_below(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Unmounts what podman left when it was killed; a busy mount point cannot be removed.
fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is there");
    let places = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|place| Path::new(place).starts_with(directory));
    for place in places.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["-l", place]).status();
    }
}
