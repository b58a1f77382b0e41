//! How far a build is, for Argo: `done/total` in the file that `$ARGO_PROGRESS_FILE` names.
//!
//! Source: <https://argo-workflows.readthedocs.io/en/latest/progress/>. The push counts as a step of its own.
//!
//! *Invariant: the first number never exceeds the second, and a file that cannot be written ends no build.*

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::place::{Place, Standing};
use crate::progress::{Event, Phase, Reporter};

/// Writes the file, and hands every event on.
pub(super) struct ProgressFile {
    /// None where it cannot be written.
    place: Option<Place>,
    next: Arc<dyn Reporter>,
    count: Mutex<Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    done: usize,
    total: usize,
}

impl ProgressFile {
    pub(super) fn new(path: &Path, next: Arc<dyn Reporter>) -> Self {
        Self { place: Place::find(path, &[]).ok(), next, count: Mutex::default() }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        // Whatever else stands there would make the build wait.
        if !matches!(place.standing()?, Standing::Nothing | Standing::File | Standing::MountedFile | Standing::Link) {
            return Ok(());
        }
        let mut draft = place.draft()?;
        draft.write_all(text.as_bytes())?;
        draft.finish()
    }

    fn change(&self, change: impl FnOnce(&mut Count)) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut count);
        count.done = count.done.min(count.total);
        // Argo looks every few seconds; a build is not worth less because nobody sees it advance.
        let _ = self.write(&format!("{}/{}", count.done, count.total));
    }
}

impl Reporter for ProgressFile {
    fn report(&self, event: Event<'_>) {
        match event {
            Event::Planned { steps, .. } => self.change(|count| *count = Count { done: 0, total: steps + 1 }),
            Event::StepFinished { .. } => self.change(|count| count.done += 1),
            Event::Spent { phase: Phase::Push, .. } => self.change(|count| count.done = count.total),
            _ => {}
        }
        self.next.report(event);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::progress::{Silent, StepId, StepResult};

    #[test]
    fn it_counts_to_the_end() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("progress");
        let progress = ProgressFile::new(&path, Arc::new(Silent));
        let seen = || std::fs::read_to_string(&path).expect("is written");
        let step = StepId { stage: "0".into(), number: 1, total: 2 };
        let finished = || Event::StepFinished { step: &step, result: &StepResult::NoLayer, elapsed: Duration::ZERO };
        progress.report(Event::Planned { steps: 2, skipped: 0, plan: &"" });
        assert_eq!(seen(), "0/3");
        progress.report(finished());
        assert_eq!(seen(), "1/3");
        progress.report(finished());
        progress.report(Event::Spent { phase: Phase::Push, elapsed: Duration::ZERO });
        assert_eq!(seen(), "3/3");
        progress.report(finished());
        assert_eq!(seen(), "3/3", "never beyond the end");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_no_matter() {
        ProgressFile::new(Path::new("/proc/none"), Arc::new(Silent)).report(Event::Planned {
            steps: 2,
            skipped: 0,
            plan: &"",
        });
    }
}
