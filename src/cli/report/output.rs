//! RUN's output: bytes in pieces become lines, and the last of them are kept for the error.
//!
//! *Invariant: bounded memory, whatever a RUN writes: a line is cut, and only a few are kept.*

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::line::{self, Line, Look};
use super::terminal;
use crate::cli::args::Verbosity;
use crate::cli::exit::{Failure, Kind};
use crate::progress::{StepId, Stream};

/// The longest line that is kept together, in bytes.
const LONGEST_LINE: usize = 16 * 1024;
/// The longest unfinished line that is shown, in characters.
const LONGEST_UNFINISHED: usize = 100;
/// How many lines the error repeats.
const TAIL: usize = 20;

/// The steps that are being worked on.
#[derive(Debug, Default)]
pub(super) struct Steps {
    active: Vec<Active>,
    /// The step whose output stands at the bottom of the log, with how many lines of it.
    bottom: Option<(String, usize)>,
}

#[derive(Debug)]
struct Active {
    step: StepId,
    text: String,
    begun: Instant,
    /// How long it took until it failed, or something else ended the build.
    cut_off: Option<Duration>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    tail: VecDeque<String>,
}

impl Active {
    fn new(step: &StepId, text: String) -> Self {
        Self {
            step: step.clone(),
            text,
            begun: Instant::now(),
            cut_off: None,
            stdout: Vec::new(),
            stderr: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Takes a whole line, as a terminal would show it in the end: behind its last carriage return.
    fn line(&mut self, stream: Stream, bytes: &[u8]) -> Line {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\r');
        let text = text.rsplit('\r').next().unwrap_or(text).to_owned();
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.clone());
        line::output(&self.step, stream, text)
    }

    /// Returns what stands on the line that is not ended, if it was written over: that is how programs show progress.
    fn unfinished(&self) -> Option<String> {
        let pending = [&self.stderr, &self.stdout].into_iter().find(|pending| pending.contains(&b'\r'))?;
        let text = String::from_utf8_lossy(pending);
        let last = text.trim_end_matches('\r').rsplit('\r').next()?;
        let shown = terminal::plain(last);
        let shown = shown.trim();
        (!shown.is_empty()).then(|| super::units::cut(shown, LONGEST_UNFINISHED))
    }

    fn feed(&mut self, stream: Stream, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in piece.chunks(LONGEST_LINE) {
                let pending = self.pending(stream);
                pending.extend_from_slice(piece);
                if pending.ends_with(b"\n") || pending.len() >= LONGEST_LINE {
                    let whole = std::mem::take(pending);
                    lines.push(self.line(stream, whole.strip_suffix(b"\n").unwrap_or(&whole)));
                }
            }
        }
        lines
    }

    /// Takes the last lines, which may lack their end.
    fn flush(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(self.pending(stream));
            if !rest.is_empty() {
                lines.push(self.line(stream, &rest));
            }
        }
        lines
    }
}

impl Steps {
    pub(super) fn start(&mut self, step: &StepId, text: String) {
        self.active.retain(|active| active.step != *step);
        self.active.push(Active::new(step, text));
    }

    /// Takes a piece of output and returns the lines it completes. With one step at work they stand bare,
    /// with several each has its step before it.
    pub(super) fn output(&mut self, step: &StepId, stream: Stream, bytes: &[u8]) -> Vec<Line> {
        let position = self.active.iter().position(|active| active.step == *step).unwrap_or_else(|| {
            self.active.push(Active::new(step, String::new()));
            self.active.len() - 1
        });
        let lines = self.active[position].feed(stream, bytes);
        self.prefixed(lines)
    }

    /// Ends a step; returns its instruction and the lines that were not yet printed.
    pub(super) fn finish(&mut self, step: &StepId) -> (String, Vec<Line>) {
        let Some(position) = self.active.iter().position(|active| active.step == *step) else {
            return (String::new(), Vec::new());
        };
        let lines = self.active[position].flush();
        let lines = self.prefixed(lines);
        (self.active.remove(position).text, lines)
    }

    /// Returns the lines of all steps that were not yet printed.
    pub(super) fn flush(&mut self) -> Vec<Line> {
        let lines = self.active.iter_mut().flat_map(Active::flush).collect();
        self.prefixed(lines)
    }

    fn prefixed(&self, mut lines: Vec<Line>) -> Vec<Line> {
        if self.active.len() < 2 {
            lines.iter_mut().for_each(|line| line.prefix = None);
        }
        lines
    }

    /// Tells whether no other step is at work.
    pub(super) fn has_only(&self, step: &StepId) -> bool {
        self.active.iter().all(|active| active.step == *step)
    }

    /// Takes note of what stands at the bottom of the log.
    pub(super) fn printed(&mut self, line: &Line) {
        let step = || format!("{:?} {:?}", line.facts.get("stage"), line.facts.get("step"));
        self.bottom = match (line.look, self.bottom.take()) {
            (Look::Verbatim, Some((bottom, count))) if bottom == step() => Some((bottom, count.saturating_add(1))),
            (Look::Verbatim, _) => Some((step(), 1)),
            _ => None,
        };
    }

    /// Takes note that a stage did not come to its end.
    pub(super) fn cut_off(&mut self, stage: &str) {
        for active in self.active.iter_mut().filter(|active| active.step.stage == stage) {
            active.cut_off.get_or_insert(active.begun.elapsed());
        }
    }

    /// Returns the steps at work: each with its instruction, for how long, and what RUN has written without ending the
    /// line, as a terminal would show it.
    pub(super) fn going(&self) -> impl Iterator<Item = (&StepId, &str, Duration, Option<String>)> {
        let at_work = self.active.iter().filter(|active| active.cut_off.is_none());
        at_work.map(|active| (&active.step, &*active.text, active.begun.elapsed(), active.unfinished()))
    }

    /// Returns the steps that did not come to their end, each with its instruction and how long it was at work.
    pub(super) fn not_finished(&self) -> impl Iterator<Item = (&StepId, &str, Duration)> {
        let elapsed = |active: &Active| active.cut_off.unwrap_or_else(|| active.begun.elapsed());
        self.active.iter().map(move |active| (&active.step, &*active.text, elapsed(active)))
    }

    /// Returns the last line that the RUN that failed wrote and that is not empty.
    pub(super) fn last_of(&self, failure: &Failure) -> Option<String> {
        let lines = self.failed(failure)?.tail.iter().rev();
        lines.map(|line| line.trim()).find(|line| !line.is_empty()).map(str::to_owned)
    }

    fn failed(&self, failure: &Failure) -> Option<&Active> {
        let place = failure.place.as_ref().filter(|_| failure.kind == Kind::Run)?;
        let step = place.step.as_ref()?;
        self.active.iter().find(|active| active.step == *step)
    }

    /// Returns the last lines of the RUN that failed, unless they are just above: hidden by the verbosity, or
    /// far up between the lines of other stages.
    pub(super) fn tail_of(&self, failure: &Failure, verbosity: Verbosity) -> Vec<String> {
        let failed = self.failed(failure).into_iter();
        let tail: Vec<String> = failed.flat_map(|active| active.tail.iter().cloned()).collect();
        let above = self.bottom.as_ref().map_or(0, |(_, count)| *count);
        if verbosity >= Verbosity::Info && above >= tail.len() { Vec::new() } else { tail }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> StepId {
        StepId { stage: "app".to_owned(), number: 2, total: 5 }
    }

    #[test]
    fn pieces_become_lines() {
        let mut steps = Steps::default();
        steps.start(&step(), "RUN x".to_owned());
        let mut texts = Vec::new();
        for piece in ["a", "b\nc\r\n", "10%\r20%\r30%\n", "\n", "end"] {
            texts.extend(steps.output(&step(), Stream::Stdout, piece.as_bytes()).into_iter().map(|line| line.message));
        }
        assert_eq!(texts, ["ab", "c", "30%", ""]);
        let (text, rest) = steps.finish(&step());
        assert_eq!((text.as_str(), rest[0].message.as_str()), ("RUN x", "end"));
    }

    #[test]
    fn a_line_that_is_written_over_is_shown_before_it_ends() {
        let mut steps = Steps::default();
        steps.start(&step(), "RUN curl".to_owned());
        let mut shown = Vec::new();
        for piece in ["loading", "\r 10%", "\r\x1b[32m 20%\x1b[0m |##  |\r", "\rdone\n"] {
            steps.output(&step(), Stream::Stderr, piece.as_bytes());
            shown.extend(steps.going().map(|(.., unfinished)| unfinished));
        }
        assert_eq!(shown, [None, Some("10%".to_owned()), Some("20% |##  |".to_owned()), None]);
    }

    #[test]
    fn a_stage_that_was_cut_off_is_not_at_work_and_is_told_once_more() {
        let (mut steps, other) = (Steps::default(), StepId { stage: "other".to_owned(), number: 1, total: 1 });
        steps.start(&step(), "RUN x".to_owned());
        steps.start(&other, "RUN y".to_owned());
        steps.cut_off("app");
        assert_eq!(steps.going().map(|(step, ..)| step).collect::<Vec<_>>(), [&other]);
        assert_eq!(steps.not_finished().map(|(step, ..)| step.clone()).collect::<Vec<_>>(), [step(), other]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut steps = Steps::default();
        let lines = steps.output(&step(), Stream::Stderr, &vec![b'x'; 3 * LONGEST_LINE + 5]);
        assert_eq!(lines.iter().map(|line| line.message.len()).collect::<Vec<_>>(), [LONGEST_LINE; 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_byte_is_lost_however_the_pieces_fall(text in "[a-c\n]{0,60}", cuts in proptest::collection::vec(0_usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut steps = Steps::default();
            let mut lines = Vec::new();
            for pair in cuts.windows(2) {
                lines.extend(steps.output(&step(), Stream::Stdout, &text.as_bytes()[pair[0]..pair[1]]));
            }
            lines.extend(steps.finish(&step()).1);
            let seen: Vec<String> = lines.into_iter().map(|line| line.message).collect();
            prop_assert_eq!(seen, text.lines().collect::<Vec<_>>());
        }
    }
}
