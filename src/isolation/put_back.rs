//! The end of a process that could not end in order, in `container` isolation: what stood in `/` must come back.
//!
//! Threads cannot be ended one by one, and one that hangs may write into `/` whenever it goes on. Executing a program ends
//! them all, and leaves what they wrote and the journal of what was set aside. So the process becomes this program once
//! more, with a word that says what is left to do.
//!
//! *Invariant: nothing but the journal and the words are needed here.*

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::aside::{Aside, Untouched};
use super::container::{ASIDE, mount_points};
use crate::sys::process::{self, Reaped};

/// How the executor calls itself for it: no user does by chance.
const NAME: &str = "yadokari (put back)";

/// How long it is waited for the processes of RUNs, which end because we did.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(10);

/// Executes this program for what is left to do. Returns where that is not possible.
pub(super) fn execute(code: u8, untouched: &[PathBuf]) {
    let word = |bytes: &[u8]| CString::new(bytes).ok();
    let words = [NAME.as_bytes().to_vec(), code.to_string().into_bytes()];
    let words = words.iter().filter_map(|text| word(text));
    let words: Vec<CString> =
        words.chain(untouched.iter().filter_map(|path| word(path.as_os_str().as_bytes()))).collect();
    let _failed = process::exec(c"/proc/self/exe", &words, &[]);
}

/// Puts back what stood in `/`, and returns the exit code that the words name.
pub fn main(words: &[OsString]) -> ExitCode {
    let code = words.first().and_then(|code| code.to_str()?.parse().ok()).unwrap_or(1);
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE && !matches!(process::reap(), Ok(Reaped::Childless) | Err(_)) {
        std::thread::sleep(INTERVAL);
    }
    let untouched = Untouched::new(words.iter().skip(1).map(PathBuf::from).collect());
    let aside = Aside::found(Path::new("/"), Path::new(ASIDE), untouched);
    // What cannot be put back now is there for the next build in this container, as after SIGKILL.
    let _left_for_the_next = aside.map(|aside| mount_points().map(|mounts| aside.put_back(mounts)));
    ExitCode::from(code)
}

/// Tells whether the executor was called for this, and returns what is told with it.
pub fn asked(words: &[OsString]) -> Option<&[OsString]> {
    let (name, rest) = words.split_first()?;
    (name == OsStr::new(NAME)).then_some(rest)
}
