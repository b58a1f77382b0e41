//! What is going on at a moment: the steps at work and the transfers, as rows that a live view and a log both show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::line::Line;
use super::output::Steps;
use super::units;
use crate::cli::args::Verbosity;
use crate::progress::{Activity, Phase};

/// The longest instruction in a row, in characters.
const LONGEST_INSTRUCTION: usize = 60;

/// Everything that has begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Going {
    activities: Vec<Arc<Activity>>,
}

/// One step or one transfer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Which step: `[app 2/5]`.
    pub(super) step: Option<String>,
    /// What is done: an instruction, or `pull sha256:0123456789ab`.
    pub(super) what: String,
    /// How far it is.
    pub(super) measure: Measure,
    /// The last that RUN wrote without ending the line: what programs show their own progress with.
    pub(super) unfinished: Option<String>,
}

/// How far something is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measure {
    /// The part of a step that is going on.
    pub(super) phase: Option<Phase>,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    pub(super) elapsed: Duration,
}

impl Going {
    pub(super) fn began(&mut self, activity: &Arc<Activity>) {
        self.activities.push(Arc::clone(activity));
    }

    /// Returns a row for each step at work, then one for each transfer; only where there is neither, what else takes time.
    pub(super) fn rows(&mut self, steps: &Steps) -> Vec<Row> {
        self.activities.retain(|activity| !activity.has_ended());
        let mut rows: Vec<Row> = steps
            .going()
            .map(|(step, text, elapsed, unfinished)| {
                let own = self.activities.iter().rev().find(|activity| activity.step.as_ref() == Some(step));
                let measure = own.map_or_else(
                    || Measure { phase: None, done: 0, total: None, elapsed },
                    |activity| Measure { elapsed, ..measure(activity) },
                );
                Row { step: Some(step.to_string()), what: units::cut(text, LONGEST_INSTRUCTION), measure, unfinished }
            })
            .collect();
        let others = self.activities.iter().filter(|activity| activity.step.is_none());
        let row = |activity: &Arc<Activity>| Row {
            step: None,
            what: format!("{} {}", activity.phase.name(), activity.subject).trim_end().to_owned(),
            measure: Measure { phase: None, ..measure(activity) },
            unfinished: None,
        };
        rows.extend(others.clone().filter(|activity| !activity.subject.is_empty()).map(row));
        if rows.is_empty() {
            rows.extend(others.map(row));
        }
        rows
    }
}

fn measure(activity: &Activity) -> Measure {
    let (phase, done, total) = (Some(activity.phase), activity.done(), activity.total);
    Measure { phase, done, total, elapsed: activity.elapsed() }
}

impl Measure {
    /// Returns the part that is done, in percent.
    pub(super) fn percent(&self) -> Option<u64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some((u128::from(self.done.min(total)) * 100 / u128::from(total)).try_into().unwrap_or(100))
    }

    /// Returns bytes a second, once there is something to tell it from.
    fn rate(&self) -> Option<u64> {
        let milliseconds = self.elapsed.as_millis();
        let rate = u128::from(self.done) * 1000 / milliseconds.max(1);
        u64::try_from(rate).ok().filter(|rate| *rate > 0 && milliseconds >= 500)
    }

    /// Returns how long it takes at the same rate.
    fn left(&self) -> Option<Duration> {
        let left = self.total?.checked_sub(self.done).filter(|left| *left > 0)?;
        Some(Duration::from_secs(left.div_ceil(self.rate()?)))
    }

    /// Writes it with words: `12.0 MB of 40.0 MB (30%), 2.0 MB/s, 6 s so far, about 14 s left`.
    pub(super) fn in_words(&self) -> String {
        let size = match (self.total, self.percent()) {
            (Some(total), Some(percent)) => {
                Some(format!("{} of {} ({percent}%)", units::bytes(self.done.min(total)), units::bytes(total)))
            }
            _ if self.done > 0 => Some(units::bytes(self.done)),
            _ => None,
        };
        let rate = self.rate().map(|rate| format!("{}/s", units::bytes(rate)));
        let elapsed = Some(format!("{} so far", units::rough(self.elapsed)));
        let left = self.left().map(|left| format!("about {} left", units::rough(left)));
        let parts: Vec<String> = size.into_iter().chain(rate).chain(elapsed).chain(left).collect();
        match self.phase.filter(|phase| *phase != Phase::Run) {
            Some(phase) => format!("{} {}", phase.name(), parts.join(", ")),
            None => parts.join(", "),
        }
    }

    /// Writes it for a live view, from all of it down to what has room in a few columns.
    pub(super) fn in_columns(&self) -> [String; 3] {
        let elapsed = units::rough(self.elapsed);
        let phase = self.phase.filter(|phase| *phase != Phase::Run).map(|phase| format!("{} ", phase.name()));
        let phase = phase.unwrap_or_default();
        let (Some(percent), Some(total)) = (self.percent(), self.total) else {
            let size = if self.done > 0 { units::bytes(self.done) + " " } else { String::new() };
            return [format!("{phase}{size}{elapsed}"), format!("{size}{elapsed}"), elapsed];
        };
        let filled = usize::try_from(percent / 5).unwrap_or(0);
        let bar = format!("[{:<20}]", "=".repeat(filled));
        let sizes = format!("{}/{}", units::bytes(self.done.min(total)), units::bytes(total));
        let rate = self.rate().map(|rate| format!(" {}/s", units::bytes(rate))).unwrap_or_default();
        let left = self.left().map(|left| format!(" {} left", units::rough(left))).unwrap_or_default();
        [
            format!("{phase}{bar} {percent:>3}% {sizes}{rate} {elapsed}{left}"),
            format!("{percent:>3}% {sizes} {elapsed}"),
            format!("{percent}%"),
        ]
    }
}

impl Row {
    /// Writes it as a line of a log, without its step.
    pub(super) fn text(&self) -> String {
        let unfinished = self.unfinished.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
        format!("{}: {}{unfinished}", self.what, self.measure.in_words())
    }

    /// Writes it as a line of a log.
    pub(super) fn line(&self) -> Line {
        Line { prefix: self.step.clone(), ..Line::new(Verbosity::Info, "progress", self.text(), self.facts()) }
    }

    /// Returns the same for programs.
    fn facts(&self) -> Value {
        let Measure { phase, done, total, elapsed } = &self.measure;
        let mut facts = json!({ "what": self.what, "elapsed_ms": units::milliseconds(*elapsed) });
        if let Some(phase) = phase {
            facts["phase"] = phase.name().into();
        }
        if *done > 0 || total.is_some() {
            facts["done"] = (*done).into();
        }
        if let Some(total) = total {
            facts["total"] = (*total).into();
        }
        if let Some(left) = self.measure.left() {
            facts["left_ms"] = units::milliseconds(left).into();
        }
        facts
    }
}

/// When something begins to take long enough to be told again.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// When the last line was printed.
#[derive(Debug)]
pub(super) struct LastLine(pub(super) Instant);

impl Default for LastLine {
    fn default() -> Self {
        Self(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(done: u64, total: Option<u64>, seconds: u64) -> Measure {
        Measure { phase: None, done, total, elapsed: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_measure_says_what_it_knows() {
        for (measure, words) in [
            (measure(0, None, 20), "20 s so far"),
            (measure(12_000_000, None, 6), "12.0 MB, 2.0 MB/s, 6 s so far"),
            (
                measure(12_000_000, Some(40_000_000), 6),
                "12.0 MB of 40.0 MB (30%), 2.0 MB/s, 6 s so far, about 14 s left",
            ),
            (measure(0, Some(40_000_000), 75), "0 B of 40.0 MB (0%), 1 min 15 s so far"),
            (measure(50, Some(40), 1), "40 B of 40 B (100%), 50 B/s, 1 s so far"),
            (measure(7, Some(0), 1), "7 B, 7 B/s, 1 s so far"),
        ] {
            assert_eq!(measure.in_words(), words);
        }
        let copying = Measure { phase: Some(Phase::Copy), ..measure(1_000_000, Some(4_000_000), 2) };
        assert_eq!(copying.in_words(), "copy 1.0 MB of 4.0 MB (25%), 500.0 kB/s, 2 s so far, about 6 s left");
        assert_eq!(copying.in_columns()[2], "25%");
    }
}
