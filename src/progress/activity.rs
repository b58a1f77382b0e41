//! Work that takes its time, and how far it is: begun once, moved from any thread, ended when it is dropped.
//!
//! An event for each piece of a transfer would be a lock for each piece; here whoever shows progress reads a number
//! when it wants to know.

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Event, Phase, Reporter, StepId};

/// One piece of work.
#[derive(Debug)]
pub struct Activity {
    /// What is done.
    pub phase: Phase,
    /// To what: `sha256:0123456789ab`, a URL without secrets; empty where the phase says it all.
    pub subject: String,
    /// For which step; none where it is for several, or for none.
    pub step: Option<StepId>,
    /// How many bytes there are in all, where that is known.
    pub total: Option<u64>,
    /// When it began.
    pub begun: Instant,
    done: AtomicU64,
    ended: OnceLock<Instant>,
}

impl Activity {
    /// Prepares the description of some work; it begins with [`Activity::begin`].
    pub fn new(phase: Phase, subject: impl Into<String>) -> Self {
        let (subject, done, ended) = (subject.into(), AtomicU64::new(0), OnceLock::new());
        Self { phase, subject, step: None, total: None, begun: Instant::now(), done, ended }
    }

    /// Says how many bytes there are in all.
    #[must_use]
    pub fn of(self, total: Option<u64>) -> Self {
        Self { total, ..self }
    }

    /// Says for which step it is.
    #[must_use]
    pub fn for_step(self, step: &StepId) -> Self {
        Self { step: Some(step.clone()), ..self }
    }

    /// Begins the work, and tells that.
    pub fn begin(self, reporter: &dyn Reporter) -> Moving {
        let activity = Arc::new(Self { begun: Instant::now(), ..self });
        reporter.report(Event::Began { activity: &activity });
        Moving(activity)
    }

    /// Returns how many bytes are done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Tells whether nobody works on it any more.
    pub fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Returns how long it has taken, up to now or to its end.
    pub fn elapsed(&self) -> Duration {
        let end = self.ended.get().copied().unwrap_or_else(Instant::now);
        end.saturating_duration_since(self.begun)
    }
}

/// Work that is going on; dropped when it ends, however that is.
#[derive(Debug)]
pub struct Moving(Arc<Activity>);

impl Moving {
    /// Takes note of bytes that are done.
    pub fn advance(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says how many bytes are done in all: less than before where a part has to be done again.
    pub fn set(&self, bytes: u64) {
        self.0.done.store(bytes, Ordering::Relaxed);
    }

    /// Makes a reader whose bytes count, and with which the work ends.
    pub fn reading<R: Read>(self, reader: R) -> Reading<R> {
        Reading { reader, moving: self }
    }
}

impl Deref for Moving {
    type Target = Activity;

    fn deref(&self) -> &Activity {
        &self.0
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let _first = self.0.ended.set(Instant::now());
    }
}

/// A reader whose bytes are what is done.
#[derive(Debug)]
pub struct Reading<R> {
    reader: R,
    moving: Moving,
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.moving.advance(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<Arc<Activity>>>);

    impl Reporter for Seen {
        fn report(&self, event: Event<'_>) {
            if let Event::Began { activity } = event {
                self.0.lock().expect("lock").push(Arc::clone(activity));
            }
        }
    }

    #[test]
    fn what_is_read_is_seen_while_it_lasts_and_after_it() {
        let seen = Seen::default();
        let moving = Activity::new(Phase::Pull, "layer").of(Some(5)).begin(&seen);
        let activity = Arc::clone(&seen.0.lock().expect("lock")[0]);
        let mut reader = moving.reading(&b"12345"[..]);
        reader.read_exact(&mut [0; 3]).expect("three bytes");
        assert_eq!((activity.done(), activity.total, activity.has_ended()), (3, Some(5), false));
        drop(reader);
        assert!(activity.has_ended());
        let elapsed = activity.elapsed();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(activity.elapsed(), elapsed, "it does not grow after the end");
    }
}
