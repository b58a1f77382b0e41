//! Ends running processes from another thread, and starts no more.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{Error, put_back};
use crate::sys;

/// A switch that is turned once, by whoever receives SIGTERM; every [`super::Isolation::run`] ends by it.
///
/// Clones share the switch.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// Readable once cancelled; read by [`Cancel::resume`] only, so that every waiter sees it.
    event: Arc<OwnedFd>,
    /// Whether it was the build itself that gave up, before anybody else wanted its end.
    abandoned: Arc<AtomicBool>,
    /// What is not to be touched of `/` while its files are set aside; none while they are in their places.
    aside: Arc<Mutex<Option<Vec<PathBuf>>>>,
}

impl Cancel {
    /// Makes a switch that is not turned.
    pub fn new() -> Result<Self, Error> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|errno| Error::System {
            doing: "preparing cancellation".to_owned(),
            source: sys::Error::from_io("eventfd()", &errno.into()),
        })?;
        Ok(Self { event: Arc::new(event), abandoned: Arc::default(), aside: Arc::default() })
    }

    /// Turns the switch. Does not wait; safe to call many times and from any thread.
    pub fn cancel(&self) {
        // The counter is full only after 2⁶⁴ calls, and then it is readable all the same.
        let _full = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Turns the switch because one part of the build has failed: what the others do is of no use any more.
    pub fn abandon(&self) {
        self.abandoned.store(!self.is_cancelled(), Ordering::Relaxed);
        self.cancel();
    }

    /// Turns the switch back where only [`Cancel::abandon`] had turned it, once; tells whether it is off now.
    ///
    /// To be called when all that was to end has ended, before the build is tried in another way.
    pub fn resume(&self) -> bool {
        let mut count = [0; 8];
        // An error says that nobody has turned it.
        let turned = rustix::io::read(&self.event, &mut count).map_or(0, |_| u64::from_ne_bytes(count));
        let by_others = turned - u64::from(turned > 0 && self.abandoned.swap(false, Ordering::Relaxed));
        if by_others > 0 {
            self.cancel();
        }
        !self.is_cancelled()
    }

    /// Tells whether somebody else than the build itself has turned the switch, and so is why it ends.
    pub fn is_interrupted(&self) -> bool {
        self.is_cancelled() && !self.abandoned.load(Ordering::Relaxed)
    }

    /// Notes that the files of `/` are set aside, all but these; or that they are in their places again.
    pub(super) fn note_aside(&self, untouched: Option<Vec<PathBuf>>) {
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = untouched;
    }

    /// Ends the process at once with this exit code, whatever its threads are doing. Files of `/` that are set aside are
    /// put back by the same process, once all of its threads are gone: it executes this program anew.
    pub fn end_process(&self, code: u8) -> ! {
        // Whoever holds the lock only copies a list.
        if let Some(untouched) = self.aside.lock().unwrap_or_else(PoisonError::into_inner).take() {
            put_back::execute(code, &untouched);
        }
        sys::process::exit_now(i32::from(code))
    }

    /// Tells whether the switch was turned.
    pub fn is_cancelled(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.event, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut descriptors, Some(&now)), Ok(ready) if ready > 0)
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_switch_and_it_stays_turned() {
        let cancel = Cancel::new().unwrap();
        let other = cancel.clone();
        assert!(!other.is_cancelled());
        cancel.cancel();
        cancel.cancel();
        assert!(other.is_cancelled());
        assert!(other.is_cancelled());
        cancel.abandon();
        assert!(other.is_interrupted());
    }

    #[test]
    fn what_the_build_gave_up_itself_was_not_interrupted() {
        let cancel = Cancel::new().unwrap();
        cancel.abandon();
        assert!(cancel.is_cancelled() && !cancel.clone().is_interrupted());
    }

    #[test]
    fn only_what_the_build_gave_up_itself_is_resumed() {
        let cancel = Cancel::new().unwrap();
        assert!(cancel.resume());
        cancel.abandon();
        assert!(cancel.resume() && !cancel.is_cancelled());
        cancel.abandon();
        cancel.clone().cancel();
        assert!(!cancel.resume() && cancel.is_interrupted());
        assert!(!cancel.resume());
    }
}
