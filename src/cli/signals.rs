//! SIGTERM and SIGINT: the first ends the build in order, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::signal::{SigSet, Signal};

use super::exit::Kind;
use crate::isolation::Cancel;
use crate::sys::{self, process, signal};

/// What was received; none at first.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    received: Arc<AtomicU8>,
}

impl Signals {
    /// Blocks both signals for this thread and those it makes, and waits for them in a thread of its own.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub fn watch(cancel: Cancel) -> Result<Self, sys::Error> {
        let watched: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        signal::block(&watched)?;
        let signals = Self::default();
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

    /// Returns which kind of end a signal asked for, if one came.
    pub fn kind(&self) -> Option<Kind> {
        let code = self.received.load(Ordering::SeqCst);
        [Kind::Terminated, Kind::Interrupted].into_iter().find(|kind| kind.exit_code() == code)
    }
}
