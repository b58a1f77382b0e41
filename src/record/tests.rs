use std::time::Duration;

use super::*;
use crate::oci::Platform;
use crate::progress::{Activity, Event, Miss, Phase, Reporter as _, StageEnd, StepId, StepResult};

fn step(number: usize) -> StepId {
    StepId { stage: "app".to_owned(), number, total: 2 }
}

/// A build of two stages: the second step of one fails, and the other is cut off.
fn failed() -> Record {
    let recorder = Recorder::start();
    let platform = Platform::host();
    recorder.report(Event::StageStarted { stage: "app", base: "r.io/base:1", platform: &platform });
    recorder.report(Event::StepStarted { step: &step(1), text: "RUN curl https://user:secret@r.io/" });
    recorder
        .report(Event::Missed { step: &step(1), miss: &Miss { because: "file a changed".to_owned(), since: None } });
    let moving = Activity::new(Phase::Run, "").begin(&recorder);
    moving.advance(7);
    drop(moving);
    let elapsed = Duration::from_millis(1);
    recorder.report(Event::StepFinished { step: &step(1), result: &StepResult::NoLayer, elapsed });
    recorder.report(Event::StepStarted { step: &step(2), text: "RUN false" });
    for since in [10, 20] {
        let (since, limit) = (Duration::from_millis(since), Duration::from_secs(30));
        recorder.report(Event::Silence { what: "r.io", since, limit });
    }
    let other = StepId { stage: "other".to_owned(), number: 1, total: 1 };
    recorder.report(Event::StageStarted { stage: "other", base: "scratch", platform: &platform });
    recorder.report(Event::StepStarted { step: &other, text: "RUN sleep 9" });
    recorder.report(Event::StageEnded { stage: "app", end: StageEnd::Failed("it exited with 1") });
    recorder.report(Event::StageEnded { stage: "other", end: StageEnd::CutOff });
    drop(Activity::new(Phase::Cache, "").begin(&recorder));
    let (why, wait) = ("busy", Duration::from_secs(900));
    recorder.report(Event::Retry { why, wait, attempt: 2, attempts: 3 });
    recorder.record(Some("step 2 failed"))
}

#[test]
fn spans_have_their_parents_and_only_what_was_going_on_failed() {
    let record = failed();
    let told: Vec<_> = record.spans.iter().map(|span| (span.kind, span.parent, span.error.as_deref())).collect();
    assert_eq!(
        told,
        [
            (Kind::Build, None, Some("step 2 failed")),
            (Kind::Stage, Some(0), Some("it exited with 1")),
            (Kind::Step, Some(1), None),
            (Kind::Phase, Some(2), None),
            (Kind::Step, Some(1), Some("it exited with 1")),
            (Kind::Wait, Some(4), None),
            (Kind::Stage, Some(0), None),
            (Kind::Step, Some(6), None),
            (Kind::Phase, Some(0), None),
            (Kind::Wait, Some(0), None),
        ]
    );
    assert_eq!(record.spans[7].facts["result"], "cut off");
    assert!(record.spans[9].ended() <= record.spans[0].ended(), "a wait that was cut off ends with the build");
    assert_eq!(record.spans[2].name, "RUN curl https://***@r.io/");
    assert_eq!(record.spans[2].facts["miss"], "file a changed");
    assert_eq!(record.spans[3].facts["bytes"], 7);
    for span in record.spans.iter().filter(|span| span.kind != Kind::Wait) {
        let parent = span.parent.map(|parent| &record.spans[parent]);
        assert!(parent.is_none_or(|parent| parent.begun <= span.begun && span.ended() <= parent.ended()), "{span:?}");
    }
}

#[test]
fn what_comes_without_end_is_counted_and_not_kept() {
    let recorder = Recorder::start();
    let (wait, attempt, attempts) = (Duration::ZERO, 2, 3);
    for _ in 0..20_100 {
        recorder.report(Event::Retry { why: "busy", wait, attempt, attempts });
    }
    let record = recorder.record(None);
    assert_eq!((record.spans.len(), record.left_out), (20_000, 101));
}

#[test]
fn no_two_spans_of_a_lane_cross() {
    let span = |begun, elapsed| Span {
        kind: Kind::Transfer,
        name: String::new(),
        parent: None,
        begun: Duration::from_secs(begun),
        elapsed: Duration::from_secs(elapsed),
        facts: Map::new(),
        error: None,
        largest: Vec::new(),
    };
    let spans = vec![span(0, 10), span(2, 3), span(4, 9), span(5, 5), span(13, 1)];
    let record = Record { spans, ..Recorder::start().record(None) };
    let lanes: Vec<_> = lanes::of(&record).iter().map(|lane| (lane.number, lane.depth)).collect();
    assert_eq!(lanes, [(0, 0), (0, 1), (1, 0), (0, 1), (0, 0)]);
}

#[test]
fn nothing_from_outside_is_markup_in_a_page() {
    let hostile = "RUN <script>alert(1)</script> \"' onfocus='x' & \u{202e}gpj \u{1b}[2J";
    let recorder = Recorder::start();
    recorder.report(Event::Reading { text: hostile.as_bytes() });
    recorder.report(Event::StageStarted { stage: "<i>\"'", base: "<b>", platform: &Platform::host() });
    let step = StepId { stage: "<i>\"'".to_owned(), number: 1, total: 1 };
    recorder.report(Event::StepStarted { step: &step, text: hostile });
    recorder.report(Event::Missed { step: &step, miss: &Miss { because: hostile.to_owned(), since: None } });
    recorder.report(Event::Warning { rule: "<u>", line: Some(1), message: hostile });
    let heading = Heading {
        facts: vec![("Image", hostile.to_owned())],
        failure: Some((hostile.to_owned(), vec![hostile.to_owned()])),
    };
    recorder.report(Event::StageEnded { stage: "<i>\"'", end: StageEnd::Failed(hostile) });
    let record = recorder.record(Some(hostile));
    let page = page(&Record { bases: vec![(hostile.to_owned(), hostile.to_owned())], ..record }, &heading);
    for mark in ["<script", "<i>", "<b>", "<u>", "\" onfocus", "' onfocus", "\u{202e}", "\u{1b}"] {
        assert!(!page.contains(mark), "{mark:?} in {page}");
    }
    assert!(page.matches("RUN &lt;script&gt;alert(1)&lt;/script&gt;").count() >= 7, "{page}");
    for element in ["main", "table", "details", "ol", "section"] {
        assert_eq!(page.matches(&format!("<{element}")).count(), page.matches(&format!("</{element}>")).count());
    }
}
