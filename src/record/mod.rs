//! What happened in a build, and when: one record, from which the trace file, the spans of OpenTelemetry and the report
//! are made.
//!
//! Knows times, names and facts; does not know where any of its views goes.
//!
//! *Invariant: it is made of events alone, and every text in it is redacted; its size is bounded, however long the build.*

mod chrome;
mod collect;
mod lanes;
mod otlp;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::progress::Phase;

pub use chrome::chrome_trace;
pub use collect::Recorder;
pub use otlp::{Origin, json as otlp_json, protobuf as otlp_protobuf};
pub use page::{Heading, page};

/// What happened in a build.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it began.
    pub begun: Timestamp,
    /// What took time; the first is the build itself, and each stands behind its parent.
    pub spans: Vec<Span>,
    /// How many requests, transfers and waits there were beyond those that are kept.
    pub left_out: u64,
    /// What was warned of.
    pub warnings: Vec<Warned>,
    /// What the images that the Dockerfile names are: name and digest.
    pub bases: Vec<(String, String)>,
    /// The isolation that RUN has, if it came to that.
    pub isolation: Option<&'static str>,
    /// What the time was spent on. Phases go on at the same time, so the sum may be more than all of it.
    pub phases: BTreeMap<Phase, Duration>,
}

/// Something that took time.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it is.
    pub kind: Kind,
    /// What it is called: an instruction, `pull sha256:0123456789ab`.
    pub name: String,
    /// The position of what it is a part of; none for the build.
    pub parent: Option<usize>,
    /// When it began, since the build did.
    pub begun: Duration,
    /// How long it took.
    pub elapsed: Duration,
    /// What else is known of it.
    pub facts: Map<String, Value>,
    /// How it failed, if it did.
    pub error: Option<String>,
    /// The largest files of the layer that it wrote, with their sizes in bytes.
    pub largest: Vec<(String, u64)>,
}

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The whole build.
    Build,
    /// A stage of the Dockerfile.
    Stage,
    /// A step of a stage.
    Step,
    /// A part of a step or of the build: unpacking, running, looking for changes.
    Phase,
    /// Bytes on their way: a pull, a push, the context.
    Transfer,
    /// A request until its answer began.
    Request,
    /// A wait before something is tried again, or for an answer that did not come.
    Wait,
}

impl Kind {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Stage => "stage",
            Self::Step => "step",
            Self::Phase => "phase",
            Self::Transfer => "transfer",
            Self::Request => "request",
            Self::Wait => "wait",
        }
    }
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warned {
    /// The rule's name.
    pub rule: String,
    /// The Dockerfile line, from 1.
    pub line: Option<usize>,
    /// What stands on the line.
    pub source: Option<String>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Span {
    /// Returns when it ended, since the build began.
    pub fn ended(&self) -> Duration {
        self.begun.saturating_add(self.elapsed)
    }
}

impl Record {
    /// Returns the platforms that stages were begun for.
    pub fn platforms(&self) -> BTreeSet<&str> {
        let stages = self.spans.iter().filter(|span| span.kind == Kind::Stage);
        stages.filter_map(|span| span.facts.get("platform")?.as_str()).collect()
    }

    /// Returns the stage that a span belongs to.
    fn stage_of<'a>(&'a self, span: &'a Span) -> Option<&'a Span> {
        let mut at = span;
        while at.kind != Kind::Stage {
            at = &self.spans[at.parent?];
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests;
