//! SIGTERM and SIGINT: the first ends the build in order, the second at once; and the end of its time, as the first does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::exit::Kind;
use crate::isolation::Cancel;
use crate::sys::{self, process, signal};

/// What ended the build; none at first.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    received: Arc<AtomicU8>,
}

impl Signals {
    /// Blocks both signals for this thread and those it makes, and waits for them, and for the end of the build's time,
    /// in threads of its own.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub fn watch(cancel: Cancel, timeout: Option<Duration>) -> Result<Self, sys::Error> {
        let watched: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        signal::block(&watched)?;
        let signals = Self::default();
        if let Some(timeout) = timeout {
            signals.end_after(timeout, cancel.clone());
        }
        let received = Arc::clone(&signals.received);
        std::thread::spawn(move || {
            while let Ok(next) = signal::wait(&watched) {
                let Some(next) = next else { continue };
                let kind = if next.signal == Signal::SIGINT { Kind::Interrupted } else { Kind::Terminated };
                if received.swap(kind.exit_code(), Ordering::SeqCst) != 0 {
                    process::exit_now(i32::from(kind.exit_code()));
                }
                cancel.cancel();
            }
        });
        Ok(signals)
    }

    fn end_after(&self, timeout: Duration, cancel: Cancel) {
        let received = Arc::clone(&self.received);
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            // A signal that came before keeps its exit code.
            let _ended_already =
                received.compare_exchange(0, Kind::Timeout.exit_code(), Ordering::SeqCst, Ordering::SeqCst);
            cancel.cancel();
        });
    }

    /// Returns which kind of end was asked for, if one was.
    pub fn kind(&self) -> Option<Kind> {
        let code = self.received.load(Ordering::SeqCst);
        [Kind::Terminated, Kind::Interrupted, Kind::Timeout].into_iter().find(|kind| kind.exit_code() == code)
    }
}
