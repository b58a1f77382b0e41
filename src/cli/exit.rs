//! How a build ends: kinds of failures, their exit codes, and all that is told about one.
//!
//! Knows the table of exit codes; does not know how a failure is printed, nor the errors of the rooms:
//! whoever builds turns its errors into a [`Failure`].
//!
//! *Invariant: an exit code keeps its meaning for ever; pipelines decide on retries by it. Not used for a
//! meaning of ours: 1, 2, 9, 64, 65 and 125–127, which shells, Go, Tekton and Argo give theirs.*

use std::error::Error;
use std::io::Write as _;
use std::ops::RangeInclusive;

use serde_json::json;

use crate::causes;
use crate::http::{is_of_client, redact_within};
use crate::output::{self, FailureFacts};
use crate::place::Places;
use crate::progress::StepId;
use crate::request::{MetadataFile, ResultFiles};

/// How many lines of a Dockerfile are shown for one error.
const SHOWN_LINES: usize = 8;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A RUN failed; the exit code is its own.
    Run,
    /// A bug in the executor.
    Bug,
    /// The system refused a namespace, a mount or a permission.
    System,
    /// The flags are wrong, or settings do not fit a server: its certificate, plain HTTP, a proxy.
    Usage,
    /// An output or a result file cannot be written.
    Output,
    /// A local disk or file error, no space left.
    Disk,
    /// A registry, Git server or bucket was not reachable, silent or busy, after all retries.
    Transient,
    /// The Dockerfile or the context is wrong, or an image or host that is named.
    Dockerfile,
    /// A registry refused us.
    Denied,
    /// An image is not signed by whom it must be.
    Untrusted,
    /// Two images that were compared differ.
    Differs,
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// The time of `--timeout` was over.
    Timeout,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Run,
        Self::Bug,
        Self::System,
        Self::Usage,
        Self::Output,
        Self::Disk,
        Self::Transient,
        Self::Dockerfile,
        Self::Denied,
        Self::Untrusted,
        Self::Differs,
        Self::Terminated,
        Self::Interrupted,
        Self::Timeout,
    ];

    /// Returns the exit code; a RUN that failed has its own instead (here 1, for one that is not known).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Run => 1,
            Self::Bug => 70,
            Self::System => 71,
            Self::Usage => 72,
            Self::Output => 73,
            Self::Disk => 74,
            Self::Transient => 75,
            Self::Dockerfile => 76,
            Self::Denied => 77,
            Self::Untrusted => 78,
            Self::Differs => 79,
            Self::Terminated => 143,
            Self::Interrupted => 130,
            // That of timeout(1).
            Self::Timeout => 124,
        }
    }

    /// Returns the word for `error.kind` in metadata and JSON messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Bug => "bug",
            Self::System => "system",
            Self::Usage => "usage",
            Self::Output => "output",
            Self::Disk => "disk",
            Self::Transient => "transient",
            Self::Dockerfile => "dockerfile",
            Self::Denied => "denied",
            Self::Untrusted => "untrusted",
            Self::Differs => "differs",
            Self::Terminated => "terminated",
            Self::Interrupted => "interrupted",
            Self::Timeout => "timeout",
        }
    }
}

/// A build that failed, with all that is told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind, which decides the exit code for all but RUN.
    pub kind: Kind,
    /// What went wrong.
    pub message: String,
    /// Why, each followed by its own cause.
    pub causes: Vec<String>,
    /// Where in the Dockerfile.
    pub place: Option<Box<Place>>,
    /// What to do about it.
    pub hints: Vec<String>,
    /// The last line of the RUN that failed.
    pub last_output: Option<String>,
    /// What the process returns.
    pub exit_code: u8,
}

/// A place in a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The Dockerfile's name as the user knows it.
    pub file: String,
    /// The line of the fault, from 1.
    pub line: usize,
    /// The column of the fault, from 1, in characters; none points at nothing.
    pub column: Option<usize>,
    /// The step, where one is known.
    pub step: Option<StepId>,
    /// Lines to show, with their numbers.
    pub source: Vec<(usize, String)>,
}

impl Failure {
    /// Makes a failure with the kind's exit code. Logins in URLs and before hosts are hidden, wherever it is told.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (exit_code, message) = (kind.exit_code(), redact_within(&message.into()));
        Self { kind, message, causes: Vec::new(), place: None, hints: Vec::new(), last_output: None, exit_code }
    }

    /// Makes a failure from an error and its chain of causes.
    pub fn from_error(kind: Kind, error: &dyn Error) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        for cause in causes::behind(error) {
            // What the HTTP client's layers say in between tells nobody anything.
            let is_of_client = is_of_client(cause);
            let cause = if is_of_client { causes::of(cause).last().unwrap_or(cause) } else { cause };
            let text = redact_within(&cause.to_string());
            // A wrapper that only repeats what it wraps tells nothing.
            if failure.causes.last().unwrap_or(&failure.message) != &text {
                failure.causes.push(text);
            }
            if is_of_client {
                break;
            }
        }
        failure
    }

    /// Makes the failure of a RUN with the exit code it returned, or 128 and the signal that killed it.
    pub fn run(exit_code: u8, message: impl Into<String>) -> Self {
        Self { exit_code, ..Self::new(Kind::Run, message) }
    }

    /// Adds something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(redact_within(&hint.into()));
        self
    }

    /// Writes the failure to the files that are asked for: its kind, its message, all of it as JSON.
    ///
    /// What goes wrong here is not told: the failure itself is, and says more.
    pub fn write_results(&self, results: &ResultFiles, places: &Places) {
        let facts = FailureFacts { kind: self.kind.name(), message: &self.in_one_line() };
        let _ = output::write_failure(&facts, results, places);
        if let Some(file) = &results.metadata {
            self.write_metadata(file, places);
        }
    }

    fn write_metadata(&self, file: &MetadataFile, places: &Places) {
        let place = self.place.as_ref();
        let step = place.and_then(|place| place.step.as_ref());
        let metadata = json!({
            "schemaVersion": 1,
            "status": "failed",
            "error": {
                "kind": self.kind.name(),
                "exitCode": self.exit_code,
                "message": self.message,
                "causes": self.causes,
                "hints": self.hints,
                "file": place.map(|place| &place.file),
                "line": place.map(|place| place.line),
                "stage": step.map(|step| &step.stage),
                "step": step.map(|step| step.number),
                "lastOutput": self.last_output,
            },
        });
        let _ = output::write_metadata(file, metadata, places);
    }

    /// Returns what is told below the message, each with the word before it: the causes, then the hints.
    pub fn explanations(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let causes = self.causes.iter().map(|cause| ("caused by", cause.as_str()));
        causes.chain(self.hints.iter().map(|hint| ("hint", hint.as_str())))
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }
}

impl Place {
    /// Makes a place that shows `lines` of the Dockerfile's text `source`; of many lines, those from the
    /// one at fault on.
    pub fn new(file: impl Into<String>, line: usize, source: &str, lines: RangeInclusive<usize>) -> Self {
        let (first, last) = (*lines.start(), *lines.end());
        let first = if last.saturating_sub(first) < SHOWN_LINES { first } else { line.clamp(first, last) };
        let shown = source.lines().enumerate().map(|(index, text)| (index + 1, text.trim_end().to_owned()));
        let source = shown.filter(|(number, _)| (first..=last).contains(number)).take(SHOWN_LINES).collect();
        Self { file: file.into(), line, source, ..Self::default() }
    }

    /// Adds the step.
    #[must_use]
    pub fn in_step(self, step: &StepId) -> Self {
        Self { step: Some(step.clone()), ..self }
    }
}

/// Makes a panic, in whatever thread, end the process with one line and the exit code of a bug.
///
/// The process ends at once: after a panic nothing is known to hold, and with `panic = "abort"` nothing
/// could be cleaned up anyway.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("panic").replace('\n', " ");
        let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "error: this is a bug in yadokari {version}: {message}{place}; please report it with the lines above"
        );
        exit(Kind::Bug.exit_code());
    }));
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "a panicking thread has no main to return to")]
fn exit(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_exit_code_has_two_meanings_or_somebody_elses() {
        let mut codes: Vec<u8> =
            Kind::ALL.iter().filter(|kind| **kind != Kind::Run).map(|kind| kind.exit_code()).collect();
        for taken in [0, 1, 2, 9, 64, 65, 125, 126, 127] {
            assert!(!codes.contains(&taken), "{taken} is somebody else's");
        }
        codes.sort_unstable();
        assert_eq!(codes, [70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 124, 130, 143]);
        let mut names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn causes_follow_the_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Repeats(#[source] Outer);
        let failure = Failure::from_error(Kind::Disk, &Repeats(Outer(std::io::Error::other("inner"))));
        assert_eq!(
            (failure.message.as_str(), failure.causes, failure.exit_code),
            ("outer", vec!["inner".to_owned()], 74)
        );
    }

    #[test]
    fn a_place_shows_its_lines_and_of_many_those_from_the_fault_on() {
        let source: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let few = Place::new("Dockerfile", 3, &source, 2..=4);
        assert_eq!(few.source.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 3, 4]);
        let many = Place::new("Dockerfile", 12, &source, 2..=29);
        assert_eq!(many.source.first(), Some(&(12, "line 12".to_owned())));
        assert_eq!(many.source.len(), SHOWN_LINES);
        assert!(Place::new("Dockerfile", 99, &source, 99..=100).source.is_empty());
    }
}
