//! The thread that looks at what is going on while nothing else happens.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use super::Report;
use super::live::INTERVAL;

/// Shows what is going on, until it is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts to look. Where no thread is to be had, nobody is told what goes on between two lines.
    pub(in crate::cli) fn start(report: &Arc<Report>) -> Self {
        let (stop, stopped) = channel();
        let report = Arc::downgrade(report);
        let tick = move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let Some(report) = Weak::upgrade(&report) else { return };
                report.tick();
            }
        };
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(tick).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that died while it printed leaves nothing that matters half done.
            let _ended = thread.join();
        }
    }
}
