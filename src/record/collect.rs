//! From events to spans.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Kind, Record, Span, Warned};
use crate::http::redact_within;
use crate::oci::Platform;
use crate::progress::{Activity, Event, Exchange, Phase, Reporter, StageEnd, StepId, StepResult};

/// How many spans are kept of what may come any number of times: requests, transfers, waits.
const MOST_SPANS: usize = 20_000;
/// How many files of a layer are told.
const LARGEST: usize = 10;
/// How many warnings are kept.
const MOST_WARNINGS: usize = 1000;
/// How many characters of a text are kept.
const LONGEST: usize = 2000;

/// Keeps what events tell, from any thread.
#[derive(Debug)]
pub struct Recorder {
    /// When the build began.
    begun: Instant,
    at: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<Open>,
    left_out: u64,
    warnings: Vec<Warned>,
    bases: Vec<(String, String)>,
    isolation: Option<&'static str>,
    phases: BTreeMap<Phase, Duration>,
    /// The Dockerfile that is read.
    dockerfile: String,
    stages: HashMap<String, usize>,
    steps: HashMap<StepId, usize>,
    /// Which step a thread is at, or which stage between two steps.
    current: HashMap<ThreadId, usize>,
    /// What is waited for, told again and again.
    silences: HashMap<String, usize>,
}

/// A span, and how it is found out when it ends.
#[derive(Debug)]
struct Open {
    span: Span,
    end: End,
}

#[derive(Debug)]
enum End {
    /// It is known.
    Known,
    /// With the build.
    Open,
    /// With this work.
    Activity(Arc<Activity>),
}

impl Recorder {
    /// Begins to record a build.
    pub fn start() -> Self {
        let recorder = Self { begun: Instant::now(), at: Timestamp::now(), state: Mutex::default() };
        let build = recorder.span(Kind::Build, "build", None, Duration::ZERO);
        recorder.state().spans.push(Open { span: build, end: End::Open });
        recorder
    }

    /// Returns what has happened up to now; `error` is how the build failed, if it did.
    pub fn record(&self, error: Option<&str>) -> Record {
        let state = self.state();
        let now = self.begun.elapsed();
        let mut spans: Vec<Span> = Vec::with_capacity(state.spans.len());
        for Open { span, end } in &state.spans {
            let mut span = span.clone();
            match end {
                // A wait is told when it begins, and may be cut off.
                End::Known => span.elapsed = span.elapsed.min(now.saturating_sub(span.begun)),
                End::Open => {
                    span.elapsed = now.saturating_sub(span.begun);
                    if span.kind == Kind::Build {
                        span.error = error.map(kept);
                    }
                }
                End::Activity(activity) => {
                    span.elapsed = activity.elapsed();
                    span.facts.extend(moved(activity));
                }
            }
            spans.push(span);
        }
        let State { left_out, isolation, .. } = *state;
        let (warnings, bases, phases) = (state.warnings.clone(), state.bases.clone(), state.phases.clone());
        Record { begun: self.at, spans, left_out, warnings, bases, isolation, phases }
    }

    /// Waits for the others; a thread that died while recording leaves nothing half done that matters.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.begun)
    }

    fn span(&self, kind: Kind, name: &str, parent: Option<usize>, begun: Duration) -> Span {
        let (facts, error, largest) = (Map::new(), None, Vec::new());
        Span { kind, name: kept(name), parent, begun, elapsed: Duration::ZERO, facts, error, largest }
    }

    /// Takes note of something that is over, if there is room.
    fn past(&self, kind: Kind, name: &str, elapsed: Duration, facts: Value) {
        let begun = self.begun.elapsed().saturating_sub(elapsed);
        let mut state = self.state();
        let parent = state.here();
        let span = Span { elapsed, facts: facts_of(facts), ..self.span(kind, name, Some(parent), begun) };
        let _position = state.add(span, End::Known);
    }

    fn activity(&self, activity: &Arc<Activity>) {
        let kind = match activity.phase {
            Phase::Pull | Phase::Push | Phase::Context if !activity.subject.is_empty() => Kind::Transfer,
            _ => Kind::Phase,
        };
        let name = format!("{} {}", activity.phase.name(), activity.subject);
        let mut state = self.state();
        let own = activity.step.as_ref().and_then(|step| state.steps.get(step).copied());
        let parent = own.unwrap_or_else(|| state.here());
        let mut span = self.span(kind, name.trim_end(), Some(parent), self.since(activity.begun));
        span.facts.insert("phase".to_owned(), activity.phase.name().into());
        state.add(span, End::Activity(Arc::clone(activity)));
    }

    fn stage_started(&self, stage: &str, base: &str, platform: &Platform) {
        let mut span = self.span(Kind::Stage, stage, Some(0), self.begun.elapsed());
        span.facts = facts_of(json!({ "stage": stage, "base": kept(base), "platform": platform.to_string() }));
        let mut state = self.state();
        state.spans.push(Open { span, end: End::Open });
        let position = state.spans.len() - 1;
        state.stages.insert(stage.to_owned(), position);
        state.current.insert(thread::current().id(), position);
    }

    /// Ends a stage, and the step that it was at if it did not come to its own end.
    fn stage_ended(&self, stage: &str, end: StageEnd<'_>) {
        let now = self.begun.elapsed();
        let mut state = self.state();
        state.current.remove(&thread::current().id());
        let Some(position) = state.stages.remove(stage) else { return };
        let parts = position..state.spans.len();
        for part in parts.rev() {
            let Open { span, end: known } = &mut state.spans[part];
            let is_of_stage = part == position || span.parent == Some(position);
            if !is_of_stage || !matches!(known, End::Open) {
                continue;
            }
            span.elapsed = now.saturating_sub(span.begun);
            match end {
                StageEnd::Done => {}
                StageEnd::Failed(error) => span.error = Some(kept(error)),
                StageEnd::CutOff => {
                    span.facts.insert("result".to_owned(), "cut off".into());
                }
            }
            *known = End::Known;
        }
    }

    fn step_started(&self, step: &StepId, text: &str) {
        let mut state = self.state();
        let parent = state.stages.get(&step.stage).copied().unwrap_or(0);
        let mut span = self.span(Kind::Step, text, Some(parent), self.begun.elapsed());
        span.facts = facts_of(json!({ "stage": step.stage, "step": step.number, "steps": step.total }));
        state.spans.push(Open { span, end: End::Open });
        let position = state.spans.len() - 1;
        state.steps.insert(step.clone(), position);
        state.current.insert(thread::current().id(), position);
    }

    fn step_finished(&self, step: &StepId, result: &StepResult) {
        let now = self.begun.elapsed();
        let mut state = self.state();
        let Some(position) = state.steps.get(step).copied() else { return };
        let Open { span, end } = &mut state.spans[position];
        span.elapsed = now.saturating_sub(span.begun);
        span.facts.extend(facts_of(result_facts(result)));
        *end = End::Known;
        // Between two steps it is at its stage: what a step needs may come before the step begins.
        let stage = span.parent.unwrap_or(0);
        state.current.insert(thread::current().id(), stage);
    }

    fn silence(&self, what: &str, since: Duration) {
        let begun = self.begun.elapsed().saturating_sub(since);
        let mut state = self.state();
        let earlier = state.silences.get(what).copied();
        if let Some(Open { span, .. }) = earlier.and_then(|position| state.spans.get_mut(position))
            && begun <= span.ended()
        {
            span.elapsed = begun.saturating_add(since).saturating_sub(span.begun);
            return;
        }
        let parent = state.here();
        let name = format!("waiting for {what}");
        let span = Span { elapsed: since, ..self.span(Kind::Wait, &name, Some(parent), begun) };
        if let Some(position) = state.add(span, End::Known) {
            state.silences.insert(what.to_owned(), position);
        }
    }
}

impl State {
    /// Returns what the calling thread is at: its step, its stage, else the build.
    fn here(&self) -> usize {
        self.current.get(&thread::current().id()).copied().unwrap_or(0)
    }

    /// Adds a span if there is room, and returns its position.
    fn add(&mut self, span: Span, end: End) -> Option<usize> {
        if self.spans.len() >= MOST_SPANS {
            self.left_out += 1;
            return None;
        }
        self.spans.push(Open { span, end });
        Some(self.spans.len() - 1)
    }
}

impl Reporter for Recorder {
    fn report(&self, event: Event<'_>) {
        match event {
            Event::StageStarted { stage, base, platform } => self.stage_started(stage, base, platform),
            Event::StageEnded { stage, end } => self.stage_ended(stage, end),
            Event::StepStarted { step, text } => self.step_started(step, text),
            Event::StepFinished { step, result, .. } => self.step_finished(step, result),
            Event::Missed { step, miss } => {
                let mut state = self.state();
                if let Some(position) = state.steps.get(step).copied() {
                    state.spans[position].span.facts.insert("miss".to_owned(), kept(&miss.because).into());
                }
            }
            Event::LayerWritten { step, largest } => {
                let found = largest(LARGEST).into_iter().map(|(path, size)| (kept(&path.to_string_lossy()), size));
                let mut state = self.state();
                if let Some(position) = state.steps.get(step).copied() {
                    state.spans[position].span.largest = found.collect();
                }
            }
            Event::Began { activity } => self.activity(activity),
            Event::Retry { why, wait, attempt, attempts } => {
                // It begins now, and is told before.
                let begun = self.begun.elapsed();
                let mut state = self.state();
                let parent = state.here();
                let mut span = self.span(Kind::Wait, why, Some(parent), begun);
                span.elapsed = wait;
                span.facts = facts_of(json!({ "attempt": attempt, "attempts": attempts }));
                let _position = state.add(span, End::Known);
            }
            Event::Silence { what, since, .. } => self.silence(what, since),
            Event::Exchange(Exchange { method, url, answer, elapsed, attempt, .. }) => {
                let mut facts = json!({ "http.request.method": method, "url.full": url, "attempt": attempt });
                match answer {
                    Ok(status) => facts["http.response.status_code"] = (*status).into(),
                    Err(error) => facts["error"] = kept(error).into(),
                }
                self.past(Kind::Request, &format!("{method} {url}"), *elapsed, facts);
            }
            Event::Warning { rule, line, message } => {
                let mut state = self.state();
                let source = line.and_then(|line| state.dockerfile.lines().nth(line.checked_sub(1)?).map(kept));
                if state.warnings.len() < MOST_WARNINGS {
                    state.warnings.push(Warned { rule: rule.to_owned(), line, source, message: kept(message) });
                }
            }
            Event::Reading { text } => self.state().dockerfile = String::from_utf8_lossy(text).into_owned(),
            Event::Resolved { name, digest } => {
                let (base, mut state) = ((name.to_string(), digest.to_string()), self.state());
                if !state.bases.contains(&base) {
                    state.bases.push(base);
                }
            }
            Event::Isolation { name, .. } => self.state().isolation = Some(name),
            Event::Spent { phase, elapsed } => *self.state().phases.entry(phase).or_default() += elapsed,
            Event::Note(_)
            | Event::Dockerfile { .. }
            | Event::Decided { .. }
            | Event::Detail { .. }
            | Event::Planned { .. }
            | Event::BuildKey { .. }
            | Event::Output { .. }
            | Event::Pulled { .. }
            | Event::Pushed { .. }
            | Event::Working { .. } => {}
        }
    }
}

/// Returns a text without secrets, and not too long.
fn kept(text: &str) -> String {
    let text = redact_within(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

fn facts_of(facts: Value) -> Map<String, Value> {
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// Returns how many bytes were moved.
fn moved(activity: &Activity) -> Map<String, Value> {
    let mut facts = Map::new();
    if activity.done() > 0 || activity.total.is_some() {
        facts.insert("bytes".to_owned(), activity.done().into());
    }
    if let Some(total) = activity.total {
        facts.insert("total".to_owned(), total.into());
    }
    facts
}

fn result_facts(result: &StepResult) -> Value {
    match result {
        StepResult::Layer { digest, size } => json!({ "result": "built", "digest": digest, "size": size }),
        StepResult::Cached { digest, size } => json!({ "result": "cached", "digest": digest, "size": size }),
        StepResult::CachedNoLayer => json!({ "result": "cached" }),
        StepResult::Alike { step, layer: Some((digest, size)) } => {
            json!({ "result": "shared", "with": step.to_string(), "digest": digest, "size": size })
        }
        StepResult::Alike { step, layer: None } => json!({ "result": "shared", "with": step.to_string() }),
        StepResult::NoLayer => json!({ "result": "built, no layer" }),
        StepResult::Configured => json!({ "result": "configuration" }),
    }
}
