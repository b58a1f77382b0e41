//! One thing that happened, as a message with its facts: what both forms print.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::units;
use crate::cli::args::Verbosity;
use crate::oci::Digest;
use crate::progress::{Activity, Delivery, Exchange, Miss, StepId, StepResult, Stream};

/// The longest instruction that is shown in full, in characters.
const LONGEST_INSTRUCTION: usize = 160;

/// A blob that is smaller, in bytes, is told with `-v debug` only: configurations, and what a cache keeps of a step.
const SMALL: u64 = 64 << 10;

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// From which verbosity on it is printed.
    pub(super) level: Verbosity,
    /// The event's name, for programs.
    pub(super) event: &'static str,
    /// The sentence.
    pub(super) message: String,
    /// Further lines, for people; programs find the same in the facts.
    pub(super) below: String,
    /// What stands before the sentence in text: which step it belongs to.
    pub(super) prefix: Option<String>,
    /// How text shows it.
    pub(super) look: Look,
    /// The facts in the sentence, for programs.
    pub(super) facts: Map<String, Value>,
}

/// How text shows a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A sentence of ours.
    Plain,
    /// The head of a stage or step.
    Head,
    /// The good end.
    Success,
    /// What RUN wrote: as it is.
    Verbatim,
}

impl Line {
    pub(super) fn new(level: Verbosity, event: &'static str, message: impl Into<String>, facts: Value) -> Self {
        let facts = match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        };
        Self { level, event, message: message.into(), below: String::new(), prefix: None, look: Look::Plain, facts }
    }

    fn of_step(mut self, step: &StepId) -> Self {
        let facts = std::mem::take(&mut self.facts);
        self.facts.insert("stage".to_owned(), step.stage.clone().into());
        self.facts.insert("step".to_owned(), step.number.into());
        self.facts.insert("steps".to_owned(), step.total.into());
        self.facts.extend(facts);
        Self { prefix: Some(step.to_string()), ..self }
    }

    pub(super) fn look(self, look: Look) -> Self {
        Self { look, ..self }
    }
}

/// Writes an instruction in one line, without its continuation marks, cut where it gets long.
pub(super) fn one_line(text: &str) -> String {
    let parts = text.lines().map(|line| line.trim().trim_end_matches('\\').trim_end()).filter(|line| !line.is_empty());
    let joined = parts.collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(LONGEST_INSTRUCTION) {
        Some((end, _)) => format!("{} …", &joined[..end]),
        None => joined,
    }
}

pub(super) fn note(text: &str) -> Line {
    Line::new(Verbosity::Info, "note", text, json!({}))
}

pub(super) fn retry(why: &str, wait: Duration, (attempt, attempts): (u32, u32)) -> Line {
    let when = if wait.is_zero() { "at once".to_owned() } else { format!("in {}", units::duration(wait)) };
    let text = format!("{why}; tried again {when}, attempt {attempt} of {attempts}");
    let facts = json!({
        "why": why, "wait_ms": units::milliseconds(wait), "attempt": attempt, "attempts": attempts,
    });
    Line::new(Verbosity::Info, "retry", text, facts)
}

/// Tells a request and its answer.
pub(super) fn exchange(exchange: &Exchange<'_>) -> Line {
    let Exchange { method, url, answer, elapsed, attempt, credential, headers: _ } = exchange;
    let (milliseconds, mut facts) = (units::milliseconds(*elapsed), json!({ "method": method, "url": url }));
    let answer = match answer {
        Ok(status) => {
            facts["status"] = (*status).into();
            status.to_string()
        }
        Err(error) => {
            facts["error"] = (*error).into();
            (*error).to_owned()
        }
    };
    facts["elapsed_ms"] = milliseconds.into();
    facts["attempt"] = (*attempt).into();
    let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
    let whose = match credential {
        None => String::new(),
        Some("") => ", token without credentials".to_owned(),
        Some(source) => {
            facts["credential"] = (*source).into();
            format!(", credentials {source}")
        }
    };
    let text = format!("{method} {url}: {answer} in {milliseconds} ms{again}{whose}");
    Line::new(Verbosity::Debug, "exchange", text, facts)
}

/// Tells the headers of an answer that say what happened.
pub(super) fn headers(exchange: &Exchange<'_>) -> Option<Line> {
    let texts: Vec<String> = exchange.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let facts = exchange.headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let text = format!("{} {}: answered with {}", exchange.method, exchange.url, texts.join(", "));
    let facts = json!({ "url": exchange.url, "headers": Value::Object(facts) });
    (!texts.is_empty()).then(|| Line::new(Verbosity::Trace, "headers", text, facts))
}

/// Tells what was decided.
pub(super) fn decided(about: &str, text: &str) -> Line {
    Line::new(Verbosity::Debug, "decided", format!("{about}: {text}"), json!({ "about": about }))
}

/// Tells a detail of how something is done.
pub(super) fn detail(about: &str, text: &str) -> Line {
    Line::new(Verbosity::Trace, "detail", format!("{about}: {text}"), json!({ "about": about }))
}

/// Tells that something began.
pub(super) fn began(activity: &Activity) -> Line {
    let what = format!("{} {}", activity.phase.name(), activity.subject);
    let mut facts = json!({ "phase": activity.phase.name(), "subject": activity.subject });
    if let Some(total) = activity.total {
        facts["total"] = total.into();
    }
    let size = activity.total.map(|total| format!(", {}", units::bytes(total))).unwrap_or_default();
    let line = Line::new(Verbosity::Trace, "began", format!("{} begins{size}", what.trim_end()), facts);
    match &activity.step {
        Some(step) => line.of_step(step),
        None => line,
    }
}

pub(super) fn silence(what: &str, since: Duration, limit: Duration) -> Line {
    let (waited, most) = (units::duration(since), units::duration(limit));
    let text = format!("waiting for {what}: {waited} so far, {most} at most");
    let facts = json!({ "what": what, "since_ms": units::milliseconds(since), "limit_ms": units::milliseconds(limit) });
    Line::new(Verbosity::Info, "waiting", text, facts)
}

pub(super) fn warning(rule: &str, line: Option<usize>, message: &str) -> Line {
    let text = match line {
        Some(line) => format!("Dockerfile line {line}: {message} ({rule})"),
        None => message.to_owned(),
    };
    let mut facts = json!({ "rule": rule });
    if let Some(line) = line {
        facts["line"] = line.into();
    }
    Line::new(Verbosity::Warn, "warning", text, facts)
}

pub(super) fn stage_started(stage: &str, base: &str) -> Line {
    let facts = json!({ "stage": stage, "base": base });
    let line = Line::new(Verbosity::Info, "stage_started", format!("FROM {base}"), facts).look(Look::Head);
    Line { prefix: Some(format!("[{stage}]")), ..line }
}

pub(super) fn step_started(step: &StepId, text: &str) -> Line {
    Line::new(Verbosity::Info, "step_started", one_line(text), json!({})).of_step(step).look(Look::Head)
}

pub(super) fn output(step: &StepId, stream: Stream, text: String) -> Line {
    let stream = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    Line::new(Verbosity::Info, "output", text, json!({ "stream": stream })).of_step(step).look(Look::Verbatim)
}

/// Tells how a step ended; `Using caching version of cmd:` is kaniko's, and looked for by scripts.
pub(super) fn step_finished(step: &StepId, text: &str, result: &StepResult, elapsed: Duration) -> Line {
    let took = units::duration(elapsed);
    let (level, message, mut facts) = match result {
        StepResult::Layer { digest, size } => (
            Verbosity::Info,
            format!("done in {took}: layer {}, {}", digest.short(), units::bytes(*size)),
            json!({ "result": "layer", "digest": digest, "size": size }),
        ),
        StepResult::Cached { digest, size } => (
            Verbosity::Info,
            format!("Using caching version of cmd: {text} (CACHED: {}, {})", digest.short(), units::bytes(*size)),
            json!({ "result": "cached", "digest": digest, "size": size }),
        ),
        StepResult::CachedNoLayer => (
            Verbosity::Info,
            format!("Using caching version of cmd: {text} (CACHED: no layer)"),
            json!({ "result": "cached" }),
        ),
        StepResult::Alike { step, layer } => {
            let by = step.to_string();
            let (made, facts) = match layer {
                Some((digest, size)) => (
                    format!("layer {}, {}", digest.short(), units::bytes(*size)),
                    json!({ "result": "shared", "with": by, "digest": digest, "size": size }),
                ),
                None => ("no layer".to_owned(), json!({ "result": "shared", "with": by })),
            };
            (Verbosity::Info, format!("the same as {by}, done once: {made}"), facts)
        }
        // Of ENV and its like there is nothing to tell; of a RUN that took its time there is.
        StepResult::NoLayer if elapsed >= Duration::from_secs(1) => {
            (Verbosity::Info, format!("done in {took}: no layer"), json!({ "result": "no_layer" }))
        }
        StepResult::NoLayer | StepResult::Configured => {
            (Verbosity::Debug, format!("done in {took}: no layer"), json!({ "result": "no_layer" }))
        }
    };
    facts["elapsed_ms"] = units::milliseconds(elapsed).into();
    Line::new(level, "step_finished", message, facts).of_step(step)
}

/// Tells why a step has to be done.
pub(super) fn missed(step: &StepId, miss: &Miss) -> Line {
    let since = miss.since.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let message = match since {
        Some(since) => format!("MISS because {} since {since}", miss.because),
        None => format!("MISS because {}", miss.because),
    };
    let mut facts = json!({ "because": miss.because });
    if let Some(since) = since {
        facts["since"] = since.to_string().into();
    }
    Line::new(Verbosity::Info, "cache_miss", message, facts).of_step(step)
}

/// Says that there is more going on than is told.
pub(super) fn more(rows: usize) -> Line {
    Line::new(Verbosity::Info, "progress", format!("and {rows} more"), json!({ "more": rows }))
}

pub(super) fn build_key(key: &str) -> Line {
    Line::new(Verbosity::Info, "build_key", format!("build key {key}"), json!({ "key": key }))
}

pub(super) fn pushed(repository: &str, digest: &Digest, size: u64, delivery: Delivery) -> Line {
    let (level, word, how) = match delivery {
        Delivery::Uploaded if size < SMALL => (Verbosity::Debug, "uploaded", "uploaded to"),
        Delivery::Uploaded => (Verbosity::Info, "uploaded", "uploaded to"),
        Delivery::Mounted => (Verbosity::Debug, "mounted", "mounted into"),
        Delivery::Existed => (Verbosity::Debug, "existed", "already in"),
    };
    let message = format!("{} ({}) {how} {repository}", digest.short(), units::bytes(size));
    let facts = json!({ "repository": repository, "digest": digest, "size": size, "delivery": word });
    Line::new(level, "blob_pushed", message, facts)
}
