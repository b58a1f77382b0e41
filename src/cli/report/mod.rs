//! Everything that a user reads: events, the closing summary, the error.
//!
//! Knows how text and JSON lines look, and that RUN's output comes in pieces. Each event becomes one
//! [`line::Line`], which both forms print: they cannot tell different stories.
//!
//! *Invariant: all but a plan that was asked for goes to standard error; an error is printed once; no password in a URL is printed, but
//! for what RUN itself writes.*

mod dialect;
mod failure;
mod going;
mod json;
mod line;
mod live;
mod output;
mod settings;
mod summary;
mod terminal;
mod text;
mod ticker;
pub(super) mod units;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

pub(super) use settings::PRINT_PLAN;
pub use settings::{Dialect, Form, Settings};
pub use summary::Finished;
pub(super) use summary::pushed;
pub(super) use ticker::Ticker;
pub(super) use units::{bytes, rough};

use super::args::Verbosity;
use super::exit::{Failure, Kind};
use super::taken::Taken;
use crate::http::redact_within;
use crate::place::Places;
use crate::progress::{Event, Miss, Reporter, StageEnd, StepId, StepResult, Stream};
use crate::record::{Record, Recorder};
use crate::request::ResultFiles;
use dialect::Folded;
use going::{Going, LastLine, QUIET};
use line::Line;
use live::{Live, Size};
use output::Steps;
use summary::Tally;

/// Something in flags or environment that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// A short name.
    pub rule: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// How many rows a log gets at once.
const ROWS: usize = 5;

/// Prints what happens.
pub struct Report {
    settings: Settings,
    clock: fn() -> Timestamp,
    size: fn() -> Size,
    state: Mutex<State>,
    /// What happened when, for those who ask for it.
    recorder: Option<Recorder>,
    /// What is taken on the disk of the state directory, likewise.
    taken: Option<Taken>,
}

/// What has been seen, and where it is printed.
struct State {
    out: Box<dyn Write + Send>,
    tally: Tally,
    steps: Steps,
    /// Steps that have begun, with their text, and of which nothing has been printed.
    heads: Vec<(StepId, String)>,
    going: Going,
    live: Live,
    folded: Folded,
    last: LastLine,
    /// The Dockerfile, as GitHub knows it.
    dockerfile: Option<String>,
    /// Whether it was told that the cache knows nothing.
    knows_nothing: bool,
    /// Whether all is said.
    is_over: bool,
}

impl Report {
    /// Makes a report that prints to standard error.
    pub fn to_standard_error(settings: Settings) -> Self {
        Self::new(settings, Box::new(io::stderr()), Timestamp::now, live::size_of_standard_error)
    }

    fn new(settings: Settings, out: Box<dyn Write + Send>, clock: fn() -> Timestamp, size: fn() -> Size) -> Self {
        let (tally, steps, going) = (Tally::default(), Steps::default(), Going::default());
        let (live, folded, last) = (Live::default(), Folded::default(), LastLine::default());
        let (heads, dockerfile, knows_nothing, is_over) = (Vec::new(), None, false, false);
        let state = State { out, tally, steps, heads, going, live, folded, last, dockerfile, knows_nothing, is_over };
        Self { settings, clock, size, state: Mutex::new(state), recorder: None, taken: None }
    }

    /// Returns the same report, which also records what happens when, if `wanted`.
    #[must_use]
    pub fn recording(self, wanted: bool, state: &Path) -> Self {
        let (recorder, taken) = if wanted { (Some(Recorder::start()), Some(Taken::of(state))) } else { (None, None) };
        Self { recorder, taken, ..self }
    }

    /// Returns how many bytes of the state directory's disk were taken when it was most, if it is recorded.
    pub(super) fn most_taken(&self) -> Option<u64> {
        self.taken.as_ref().map(Taken::most)
    }

    /// Returns what has happened up to now, if it is recorded.
    pub(super) fn record(&self, failure: Option<&Failure>) -> Option<Record> {
        Some(self.recorder.as_ref()?.record(failure.map(|failure| failure.message.as_str())))
    }

    /// Prints what is worth knowing of flags.
    pub fn notes(&self, notes: &[String]) {
        for note in notes {
            self.report(Event::Note(note));
        }
    }

    /// Prints what is wrong with flags and environment.
    pub fn warnings(&self, warnings: &[Warning]) {
        for Warning { rule, message } in warnings {
            self.report(Event::Warning { rule, line: None, message });
        }
    }

    /// Prints the summary of a build that went well.
    pub fn finished(&self, finished: &Finished<'_>) {
        let mut state = self.state();
        state.is_over = true;
        let lines = state.tally.summary(finished, self.settings.form == Form::Json);
        for line in &lines {
            self.print(&mut state, line);
        }
    }

    /// Adds a table of the steps to what GitHub shows of the job, however it ended; what cannot be added is not worth a
    /// failure.
    pub fn add_to_summary(&self, failure: Option<&Failure>, results: &ResultFiles, places: &Places) {
        let Some(summary) = results.github.as_ref().and_then(|github| github.summary.as_ref()) else { return };
        let table = self.state().tally.table(failure);
        let _ = places.with(summary, |place| place.append(table.as_bytes()));
    }

    /// Adds to a failure what its RUN wrote last.
    #[must_use]
    pub fn with_last_output(&self, failure: Failure) -> Failure {
        let mut state = self.state();
        let rest = state.steps.flush();
        for line in &rest {
            self.print(&mut state, line);
        }
        let last_output = state.steps.last_of(&failure);
        let mut failure = Failure { last_output, ..failure };
        if matches!(failure.kind, Kind::Timeout | Kind::Terminated | Kind::Interrupted) {
            let going = state.steps.not_finished().map(|(step, text, elapsed)| {
                // The metadata file has the causes, too.
                let text = redact_within(text);
                format!("{step} {text} was being done, for {} so far", rough(elapsed))
            });
            failure.causes.extend(going);
        }
        failure
    }

    /// Prints the error that ended the run.
    pub fn failed(&self, failure: &Failure) {
        let mut state = self.state();
        let rest = state.steps.flush();
        for line in &rest {
            self.print(&mut state, line);
        }
        state.is_over = true;
        let end = state.folded.end(self.settings.dialect, None, self.seconds());
        self.obeyed(&mut state, end);
        let mark = dialect::failure(self.settings.dialect, failure, state.dockerfile.as_deref());
        self.obeyed(&mut state, mark);
        let tail = state.steps.tail_of(failure, self.settings.verbosity);
        self.print(&mut state, &failure::line(failure, &tail));
    }

    /// Prints the error, if it came to one, tells the pod of it, and returns what the process returns.
    pub fn conclude(&self, result: Result<(), Failure>) -> ExitCode {
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                self.failed(&failure);
                failure.write_termination_message();
                ExitCode::from(failure.exit_code)
            }
        }
    }

    /// Waits for the printer; a thread that died while printing leaves nothing that matters half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, state: &mut State, line: &Line) {
        if line.level > self.settings.verbosity {
            return;
        }
        let text = match self.settings.form {
            Form::Json => json::render(line, (self.clock)(), self.settings.trace),
            Form::Text | Form::Colour => {
                let time = self.settings.timestamps.then(|| (self.clock)());
                self.erased(state)
                    + &text::render(line, self.settings.form == Form::Colour, time, self.settings.dialect)
            }
        };
        state.steps.printed(line);
        state.last = LastLine::default();
        // Nobody is left to tell when standard error is closed, and the build is worth finishing.
        let _ = state.out.write_all(text.as_bytes());
    }

    /// Writes what the reader of the log obeys.
    fn obeyed(&self, state: &mut State, text: Option<String>) {
        if let Some(text) = text.filter(|_| self.settings.verbosity >= Verbosity::Info) {
            let _ = state.out.write_all(redact_within(&text).as_bytes());
        }
    }

    fn seconds(&self) -> i64 {
        (self.clock)().as_second()
    }

    /// Folds what a RUN writes, while it is the only step at work.
    fn fold(&self, state: &mut State, step: &StepId, text: &str) {
        let (dialect, seconds) = (self.settings.dialect, self.seconds());
        let end = state.folded.end(dialect, None, seconds);
        self.obeyed(state, end);
        let is_run = text.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("RUN"));
        if is_run && dialect != Dialect::Plain && self.settings.verbosity >= Verbosity::Info {
            let begin = state.folded.begin(dialect, step, state.steps.has_only(step), seconds);
            self.obeyed(state, begin);
        }
    }

    /// Prints the plan where it was asked for: on standard output, as data.
    fn print_plan(&self, plan: &dyn fmt::Display) {
        if self.settings.plan {
            // Whoever closed standard output does not want it any more.
            let plan = redact_within(&plan.to_string());
            let _ = write!(io::stdout(), "{plan}").and_then(|()| io::stdout().flush());
        }
    }

    /// Returns what takes the live view away.
    fn erased(&self, state: &mut State) -> String {
        if self.settings.live { state.live.erase((self.size)()) } else { String::new() }
    }

    /// Shows what is going on: live, or with lines where none was printed for a while.
    fn tick(&self) {
        let state = &mut *self.state();
        if state.is_over || (!self.settings.live && state.last.0.elapsed() < QUIET) {
            return;
        }
        let rows = state.going.rows(&state.steps);
        if !self.settings.live {
            for row in rows.iter().take(ROWS) {
                self.print(state, &row.line());
            }
            if rows.len() > ROWS {
                self.print(state, &line::more(rows.len() - ROWS));
            }
        } else if state.live.is_due() {
            let text = state.live.draw(&state.tally.head(), &rows, (self.size)());
            let _ = state.out.write_all(text.as_bytes()).and_then(|()| state.out.flush());
        }
    }

    /// Prints the head of a step that was held back.
    fn release(&self, state: &mut State, step: &StepId) {
        let Some(place) = state.heads.iter().position(|(held, _)| held == step) else { return };
        let (_, text) = state.heads.remove(place);
        self.fold(state, step, &text);
        self.print(state, &line::step_started(step, &text));
    }

    fn step_output(&self, step: &StepId, stream: Stream, bytes: &[u8]) {
        let mut state = self.state();
        self.release(&mut state, step);
        for line in state.steps.output(step, stream, bytes) {
            self.print(&mut state, &line);
        }
    }

    fn warning(&self, line: &Line) {
        let mut state = self.state();
        let mark = dialect::warning(self.settings.dialect, line, state.dockerfile.as_deref());
        self.obeyed(&mut state, mark);
        self.print(&mut state, line);
    }

    fn missed(&self, step: &StepId, miss: &Miss) -> Line {
        let mut state = self.state();
        self.release(&mut state, step);
        let mut line = line::missed(step, miss);
        let is_of_all = miss.because == Miss::NOTHING_KNOWN;
        // The first step says it for all others.
        if is_of_all && std::mem::replace(&mut state.knows_nothing, true) {
            line.level = Verbosity::Debug;
        }
        line
    }

    fn step_finished(&self, step: &StepId, result: &StepResult, elapsed: std::time::Duration) {
        let mut state = self.state();
        if result.is_cached() {
            state.heads.retain(|(held, _)| held != step);
        }
        self.release(&mut state, step);
        let (text, rest) = state.steps.finish(step);
        for line in &rest {
            self.print(&mut state, line);
        }
        let end = state.folded.end(self.settings.dialect, Some(step), self.seconds());
        self.obeyed(&mut state, end);
        let line = line::step_finished(step, &text, result, elapsed);
        self.print(&mut state, &line);
        state.tally.step(step, text, result, elapsed);
    }
}

impl Reporter for Report {
    fn report(&self, event: Event<'_>) {
        if let Some(recorder) = &self.recorder {
            recorder.report(event.clone());
        }
        if let (Some(taken), Event::StepFinished { .. } | Event::Spent { .. }) = (&self.taken, &event) {
            taken.measure();
        }
        let line = match event {
            Event::Note(text) => line::note(text),
            Event::Dockerfile { path, text } => {
                self.state().dockerfile = Some(dialect::in_checkout(path, self.settings.workspace.as_deref()));
                line::note(text)
            }
            Event::Warning { rule, line, message } => return self.warning(&line::warning(rule, line, message)),
            Event::Retry { why, wait, attempt, attempts } => line::retry(why, wait, (attempt, attempts)),
            Event::Silence { what, since, limit } => line::silence(what, since, limit),
            Event::StageStarted { stage, base, .. } => line::stage_started(stage, base),
            Event::StageEnded { stage, end: StageEnd::Failed(_) | StageEnd::CutOff } => {
                return self.state().steps.cut_off(stage);
            }
            Event::StepStarted { step, text } => {
                let mut state = self.state();
                state.heads.push((step.clone(), text.to_owned()));
                // Programs want to know it at once; people read one line of a step whose result is known.
                if self.settings.form == Form::Json {
                    self.release(&mut state, step);
                }
                return state.steps.start(step, line::one_line(text));
            }
            Event::Working { step } => return self.release(&mut self.state(), step),
            Event::Output { step, stream, bytes } => return self.step_output(step, stream, bytes),
            Event::StepFinished { step, result, elapsed } => return self.step_finished(step, result, elapsed),
            Event::Pulled { digest, bytes } => return self.state().tally.pulled(digest, bytes),
            Event::Pushed { repository, digest, size, delivery } => {
                let mut state = self.state();
                state.tally.pushed(size, delivery);
                return self.print(&mut state, &line::pushed(repository, digest, size, delivery));
            }
            Event::Planned { steps, skipped, plan } => {
                self.state().tally.planned(steps, skipped);
                return self.print_plan(plan);
            }
            Event::Began { activity } => {
                self.state().going.began(activity);
                line::began(activity)
            }
            Event::Exchange(exchange) => {
                let mut state = self.state();
                self.print(&mut state, &line::exchange(exchange));
                return line::headers(exchange).iter().for_each(|line| self.print(&mut state, line));
            }
            Event::Isolation { text, .. } => line::decided("isolation", text),
            Event::Decided { about, text } => line::decided(about, text),
            Event::Detail { about, text } => line::detail(about, text),
            Event::BuildKey { key, is_asked } => {
                if is_asked {
                    // Whoever closed standard output does not want it any more.
                    let _ = writeln!(io::stdout(), "{key}");
                }
                line::build_key(key)
            }
            Event::Missed { step, miss } => self.missed(step, miss),
            Event::StageEnded { end: StageEnd::Done, .. }
            | Event::Reading { .. }
            | Event::Resolved { .. }
            | Event::LayerWritten { .. }
            | Event::Spent { .. } => return,
        };
        self.print(&mut self.state(), &line);
    }
}

#[cfg(test)]
mod tests;
