use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::cli::args::Verbosity;
use crate::cli::exit::{Kind, Place};
use crate::oci::{Descriptor, Digest, Platform};
use crate::outcome::{BaseUsed, BuildOutcome, Circumstances};
use crate::progress::{Activity, Delivery, Exchange, Miss, Phase};

/// A writer that tests can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("lock").clone()).expect("text")
    }
}

const PLAIN: Settings = Settings {
    verbosity: Verbosity::Info,
    form: Form::Text,
    timestamps: false,
    live: false,
    plan: false,
    trace: None,
    dialect: Dialect::Plain,
    workspace: None,
};

fn report(settings: Settings) -> (Report, Shared) {
    let out = Shared::default();
    let clock = || Timestamp::from_second(1_700_000_000).expect("a time that exists");
    let report = Report::new(settings, Box::new(out.clone()), clock, || Size { columns: 40, rows: 24 });
    (report, out)
}

fn step(stage: &str, number: usize) -> StepId {
    StepId { stage: stage.to_owned(), number, total: 3 }
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Begins a step that nobody has the result of.
fn begin(report: &Report, step: &StepId, text: &str) {
    report.report(Event::StepStarted { step, text });
    report.report(Event::Working { step });
}

/// A small build: one RUN with output, one step from the cache, one that only sets a variable.
fn build(report: &Report) {
    let (layer, cached) = (digest("layer"), digest("cached"));
    report.report(Event::Note("isolation namespace: user namespaces are allowed"));
    report.report(Event::Warning { rule: "MaintainerDeprecated", line: Some(2), message: "use a label instead" });
    let base = "docker.io/library/alpine:3.20";
    report.report(Event::StageStarted { stage: "app", base, platform: &Platform::host() });
    let first = step("app", 1);
    report.report(Event::StepStarted {
        step: &first,
        text: "RUN make \\\n    && curl https://user:hunter2@h/x?sig=hunter2",
    });
    report.report(Event::Pulled { digest: &digest("base"), bytes: 3_000_000 });
    report.report(Event::Pulled { digest: &digest("base"), bytes: 400_000 });
    report.report(Event::Output { step: &first, stream: Stream::Stdout, bytes: b"compi" });
    report.report(Event::Output { step: &first, stream: Stream::Stderr, bytes: b"warned\n" });
    report.report(Event::Output { step: &first, stream: Stream::Stdout, bytes: b"ling\nlast" });
    let result = StepResult::Layer { digest: layer.clone(), size: 12_300_000 };
    report.report(Event::StepFinished { step: &first, result: &result, elapsed: Duration::from_millis(3210) });
    let second = step("app", 2);
    report.report(Event::StepStarted { step: &second, text: "COPY a /b" });
    let result = StepResult::Cached { digest: cached, size: 1234 };
    report.report(Event::StepFinished { step: &second, result: &result, elapsed: Duration::from_millis(12) });
    let third = step("app", 3);
    begin(report, &third, "ENV A=b");
    report.report(Event::StepFinished { step: &third, result: &StepResult::Configured, elapsed: Duration::ZERO });
    for (size, delivery) in [(12_300_000, Delivery::Uploaded), (99, Delivery::Mounted), (98, Delivery::Existed)] {
        report.report(Event::Pushed { repository: "r.io/a", digest: &layer, size, delivery });
    }
    report.finished(&Finished { outcome: &outcome(), elapsed: Duration::from_millis(4567) });
}

fn outcome() -> BuildOutcome {
    BuildOutcome {
        manifest: Descriptor::new("manifest", digest("image"), 1),
        config: Descriptor::new("config", digest("config"), 1),
        images: Vec::new(),
        size: 15_000_000,
        layers: 4,
        base_layers: 2,
        platform: Platform::host(),
        pushed: vec!["r.io/a:1".parse().expect("a reference")],
        bases: Vec::new(),
        context: None,
        source: None,
        steps: Vec::new(),
        attested: Vec::new(),
        sboms: Vec::new(),
        circumstances: Circumstances {
            phases: [(Phase::Run, 3000), (Phase::Push, 500)]
                .map(|(phase, time)| (phase, Duration::from_millis(time)))
                .into(),
            ..Circumstances::default()
        },
    }
}

fn failure() -> Failure {
    let source = "FROM x\n\nRUN make && \\\n\tmake install\n";
    let place = Place { column: Some(2), ..Place::new("Dockerfile", 4, source, 3..=4) }.in_step(&step("app", 2));
    let mut failure = Failure::run(127, "RUN failed: exit status 127").at(place).hint("the base has no make");
    failure.causes.push("sh: make: not found".to_owned());
    failure
}

#[test]
fn a_build_as_text() {
    let (report, out) = report(PLAIN);
    build(&report);
    insta::assert_snapshot!(out.text(), @r##"
    isolation namespace: user namespaces are allowed
    warning: Dockerfile line 2: use a label instead (MaintainerDeprecated)
    [app] FROM docker.io/library/alpine:3.20
    [app 1/3] RUN make && curl https://***@h/x?sig=***
    warned
    compiling
    last
    [app 1/3] done in 3.2 s: layer sha256:dac1d7cfa950, 12.3 MB
    [app 2/3] Using caching version of cmd: COPY a /b (CACHED: sha256:3673014e72b6, 1.2 kB)
    [app 3/3] ENV A=b
    sha256:dac1d7cfa950 (12.3 MB) uploaded to r.io/a
    image    sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d
    size     15.0 MB; layers: 2 of the base, 2 above it
    steps    1 built, 1 from the cache (1.2 kB not made again), 1 of the configuration alone
    network  pulled 3.4 MB of layers; pushed 12.3 MB in 1 blob, mounted 1 blob, already there 1 blob
    time     4.6 s (run 3.0 s, push 0.50 s)
           3.2 s  [app 1/3] RUN make && curl https://***@h/x?sig=***
          0.01 s  [app 2/3] COPY a /b
    Pushed r.io/a@sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d (tag 1)
    "##);
}

#[test]
fn a_build_as_json_lines() {
    let (report, out) = report(Settings { form: Form::Json, ..PLAIN });
    build(&report);
    report.failed(&failure());
    let text = out.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for key in ["time", "level", "msg", "event"] {
            assert!(line[key].is_string(), "no {key} in {line}");
        }
    }
    assert!(!text.contains("hunter2"), "{text}");
    let of = |event: &str| lines.iter().find(|line| line["event"] == event).unwrap_or_else(|| panic!("no {event}"));
    insta::assert_snapshot!(of("warning"), @r##"{"time":"2023-11-14T22:13:20.000Z","level":"warning","msg":"Dockerfile line 2: use a label instead (MaintainerDeprecated)","event":"warning","rule":"MaintainerDeprecated","line":2}"##);
    insta::assert_snapshot!(of("step_started"), @r##"{"time":"2023-11-14T22:13:20.000Z","level":"info","msg":"RUN make && curl https://***@h/x?sig=***","event":"step_started","stage":"app","step":1,"steps":3}"##);
    insta::assert_snapshot!(of("output"), @r##"{"time":"2023-11-14T22:13:20.000Z","level":"info","msg":"warned","event":"output","stage":"app","step":1,"steps":3,"stream":"stderr"}"##);
    insta::assert_snapshot!(of("step_finished"), @r##"{"time":"2023-11-14T22:13:20.000Z","level":"info","msg":"done in 3.2 s: layer sha256:dac1d7cfa950, 12.3 MB","event":"step_finished","stage":"app","step":1,"steps":3,"result":"layer","digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size":12300000,"elapsed_ms":3210}"##);
    insta::assert_snapshot!(of("pushed"), @r##"{"time":"2023-11-14T22:13:20.000Z","level":"info","msg":"Pushed r.io/a@sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d (tag 1)","event":"pushed","repository":"r.io/a","tag":"1","digest":"sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"}"##);
    assert_eq!(of("summary")["digest"], digest("image").as_str());
    assert_eq!(of("summary")["phases_ms"]["run"], 3000);
    assert_eq!(of("summary")["steps"][1]["cached"], true);
    assert_eq!(of("failed")["kind"], "run");
    assert_eq!(of("failed")["exit_code"], 127);
    assert_eq!(of("failed")["place"]["line"], 4);
}

#[test]
fn an_error_as_text() {
    let (report, out) = report(PLAIN);
    report.failed(&failure());
    insta::assert_snapshot!(out.text(), @r##"
    error: RUN failed: exit status 127
      --> Dockerfile:4 (stage "app", step 2/3)
    3 | RUN make && \
    4 | 	make install
      | 	^
    caused by: sh: make: not found
    hint: the base has no make
    "##);
}

/// A RUN that forges what it can, beside another step, and one that fails.
fn in_ci(dialect: Dialect) -> String {
    let workspace = Some("/github/workspace".into());
    let (report, out) = report(Settings { dialect, workspace, ..PLAIN });
    let path = Path::new("/github/workspace/./app/Dockerfile");
    report.report(Event::Dockerfile { path, text: "Dockerfile: app/Dockerfile" });
    report.report(Event::Warning { rule: "MaintainerDeprecated", line: Some(2), message: "use a label" });
    let (first, second) = (step("app", 1), step("app", 2));
    begin(&report, &first, "RUN make");
    let forged = b"::error::forged\n\x1b[2Kline\n";
    report.report(Event::Output { step: &first, stream: Stream::Stdout, bytes: forged });
    let result = StepResult::NoLayer;
    report.report(Event::StepFinished { step: &first, result: &result, elapsed: Duration::from_secs(2) });
    begin(&report, &second, "RUN make install");
    report.report(Event::Output { step: &second, stream: Stream::Stdout, bytes: b"sh: make: not found\n" });
    let failure = report.with_last_output(failure());
    report.failed(&failure);
    out.text()
}

#[test]
fn githubs_log_has_groups_and_annotations() {
    insta::assert_snapshot!(in_ci(Dialect::Github), @r##"
    Dockerfile: app/Dockerfile
    ::warning file=app/Dockerfile,line=2,title=yadokari: MaintainerDeprecated::Dockerfile line 2: use a label (MaintainerDeprecated)
    warning: Dockerfile line 2: use a label (MaintainerDeprecated)
    ::group::[app 1/3] RUN make
    : :error::forged
    line
    ::endgroup::
    [app 1/3] done in 2.0 s: no layer
    ::group::[app 2/3] RUN make install
    sh: make: not found
    ::endgroup::
    ::error file=app/Dockerfile,line=4,title=yadokari: run::RUN failed: exit status 127%0Alast output: sh: make: not found%0Acaused by: sh: make: not found%0Ahint: the base has no make
    error: RUN failed: exit status 127
      --> Dockerfile:4 (stage "app", step 2/3)
    3 | RUN make && \
    4 | 	make install
      | 	^
    caused by: sh: make: not found
    hint: the base has no make
    "##);
}

#[test]
fn a_cache_that_knows_nothing_says_so_once() {
    let (report, out) = report(PLAIN);
    let misses = [Miss::NOTHING_KNOWN, "the step is new", Miss::NOTHING_KNOWN, "the step is new"];
    for (number, because) in misses.into_iter().enumerate() {
        let miss = Miss { because: because.to_owned(), since: None };
        report.report(Event::Missed { step: &step("app", number), miss: &miss });
    }
    assert_eq!((out.text().matches("nothing is known").count(), out.text().lines().count()), (1, 3), "{}", out.text());
}

#[test]
fn gitlabs_log_has_sections() {
    let text = in_ci(Dialect::Gitlab).replace('\x1b', "ESC").replace('\r', "CR");
    insta::assert_snapshot!(text, @r##"
    Dockerfile: app/Dockerfile
    warning: Dockerfile line 2: use a label (MaintainerDeprecated)
    ESC[0Ksection_start:1700000000:yadokari_1CRESC[0K[app 1/3] RUN make
    ::error::forged
    line
    ESC[0Ksection_end:1700000000:yadokari_1CRESC[0K
    [app 1/3] done in 2.0 s: no layer
    ESC[0Ksection_start:1700000000:yadokari_2CRESC[0K[app 2/3] RUN make install
    sh: make: not found
    ESC[0Ksection_end:1700000000:yadokari_2CRESC[0K
    error: RUN failed: exit status 127
      --> Dockerfile:4 (stage "app", step 2/3)
    3 | RUN make && \
    4 | 	make install
      | 	^
    caused by: sh: make: not found
    hint: the base has no make
    "##);
}

#[test]
fn azures_log_has_groups() {
    insta::assert_snapshot!(in_ci(Dialect::Azure), @r##"
    Dockerfile: app/Dockerfile
    warning: Dockerfile line 2: use a label (MaintainerDeprecated)
    ##[group][app 1/3] RUN make
    ::error::forged
    line
    ##[endgroup]
    [app 1/3] done in 2.0 s: no layer
    ##[group][app 2/3] RUN make install
    sh: make: not found
    ##[endgroup]
    error: RUN failed: exit status 127
      --> Dockerfile:4 (stage "app", step 2/3)
    3 | RUN make && \
    4 | 	make install
      | 	^
    caused by: sh: make: not found
    hint: the base has no make
    "##);
}

#[test]
fn steps_side_by_side_are_not_folded_into_each_other() {
    let (report, out) = report(Settings { dialect: Dialect::Github, ..PLAIN });
    let (one, two) = (step("one", 1), step("two", 1));
    begin(&report, &one, "RUN a");
    begin(&report, &two, "RUN b");
    for step in [&one, &two] {
        report.report(Event::StepFinished { step, result: &StepResult::NoLayer, elapsed: Duration::ZERO });
    }
    assert_eq!(out.text(), "::group::[one 1/3] RUN a\n::endgroup::\n[two 1/3] RUN b\n");
}

#[test]
fn the_summary_of_a_job_has_a_table_of_steps_also_of_a_failure() {
    let (report, _) = report(PLAIN);
    let (first, second) = (step("app", 1), step("app", 2));
    begin(&report, &first, "RUN a | b");
    report.report(Event::StepFinished { step: &first, result: &StepResult::NoLayer, elapsed: Duration::from_secs(2) });
    begin(&report, &second, "RUN make");
    insta::assert_snapshot!(report.state().tally.table(Some(&failure())), @r"
    | Step | Instruction | Result | Time |
    | --- | --- | --- | ---: |
    | [app 1/3] | `RUN a \| b` | built | 2.0 s |
    | [app 2/3] | `RUN make && \` | **failed** |  |

    **run**: RUN failed: exit status 127
    - caused by: sh: make: not found
    - hint: the base has no make
    ");
}

#[test]
fn an_error_without_place_is_one_line_and_shows_no_secret() {
    let (report, out) = report(PLAIN);
    report.failed(&Failure::new(Kind::Transient, "cannot reach https://user:hunter2@r.io/v2/?token=hunter2"));
    assert_eq!(out.text(), "error: cannot reach https://***@r.io/v2/?token=***\n");
}

#[test]
fn the_last_output_is_repeated_only_where_it_is_not_at_hand() {
    let run = |settings: Settings, note: bool| {
        let (report, out) = report(settings);
        let step = step("app", 2);
        begin(&report, &step, "RUN make");
        let lines: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        report.report(Event::Output { step: &step, stream: Stream::Stdout, bytes: lines.as_bytes() });
        report.report(Event::Output { step: &step, stream: Stream::Stdout, bytes: b"unfinished" });
        if note {
            report.report(Event::Note("another stage speaks"));
        }
        report.failed(&failure());
        out.text()
    };
    let at_hand = run(PLAIN, false);
    assert!(!at_hand.contains("last output:") && at_hand.contains("\nunfinished\nerror: "), "{at_hand}");
    let far = run(PLAIN, true);
    assert!(far.contains("last output:\n  line 12\n") && far.contains("\n  unfinished\ncaused by"), "{far}");
    let quiet = run(Settings { verbosity: Verbosity::Error, ..PLAIN }, false);
    assert!(quiet.starts_with("error: ") && quiet.contains("\n  unfinished\n"), "{quiet}");
}

#[test]
fn verbosity_decides_what_is_printed() {
    let text = |verbosity| {
        let (report, out) = report(Settings { verbosity, ..PLAIN });
        build(&report);
        out.text()
    };
    assert_eq!(text(Verbosity::Error), "");
    assert_eq!(text(Verbosity::Warn), "warning: Dockerfile line 2: use a label instead (MaintainerDeprecated)\n");
    assert!(!text(Verbosity::Info).contains("mounted into") && text(Verbosity::Debug).contains("mounted into"));
}

#[test]
fn the_summary_counts_steps_and_names_the_base_by_digest() {
    let (report, out) = report(PLAIN);
    report.report(Event::Planned { steps: 3, skipped: 2, plan: &"" });
    build(&report);
    let base = BaseUsed { name: "alpine:3.20".parse().expect("a reference"), digest: digest("base") };
    let outcome = BuildOutcome { bases: vec![base], ..outcome() };
    report.finished(&Finished { outcome: &outcome, elapsed: Duration::from_secs(1) });
    let text = out.text();
    assert!(text.contains(&format!("\nbase     docker.io/library/alpine:3.20@{}\n", digest("base"))), "{text}");
    assert!(text.contains("; 2 stages skipped, which the target does not need\n"), "{text}");
}

#[test]
fn each_level_says_more_than_the_one_below() {
    let headers = [("retry-after", "2".to_owned())];
    let text = |verbosity| {
        let (report, out) = report(Settings { verbosity, ..PLAIN });
        report.report(Event::Exchange(&Exchange {
            method: "GET",
            url: "https://r.io/v2/",
            answer: Ok(429),
            headers: &headers,
            elapsed: Duration::from_millis(12),
            attempt: 2,
            credential: Some("of /root/.docker/config.json"),
        }));
        report.report(Event::Decided { about: "layer", text: "sha256:0123 is not read" });
        report.report(Event::Detail { about: "run", text: "user 0:0" });
        drop(Activity::new(Phase::Pull, "sha256:0123").of(Some(1000)).begin(&report));
        out.text()
    };
    assert_eq!(text(Verbosity::Info), "");
    insta::assert_snapshot!(text(Verbosity::Debug), @r"
    GET https://r.io/v2/: 429 in 12 ms, attempt 2, credentials of /root/.docker/config.json
    layer: sha256:0123 is not read
    ");
    insta::assert_snapshot!(text(Verbosity::Trace), @r"
    GET https://r.io/v2/: 429 in 12 ms, attempt 2, credentials of /root/.docker/config.json
    GET https://r.io/v2/: answered with retry-after: 2
    layer: sha256:0123 is not read
    run: user 0:0
    pull sha256:0123 begins, 1.0 kB
    ");
}

#[test]
fn colours_and_times_only_where_asked_for() {
    let text = |settings| {
        let (report, out) = report(settings);
        build(&report);
        out.text()
    };
    assert!(!text(PLAIN).contains('\x1b'));
    assert!(text(Settings { form: Form::Colour, ..PLAIN }).contains("\x1b[33mwarning: \x1b[0mDockerfile line 2"));
    for line in text(Settings { timestamps: true, ..PLAIN }).lines() {
        assert!(line.starts_with("2023-11-14T22:13:20.000Z "), "{line}");
    }
}

#[test]
fn a_terminal_shows_what_is_going_on_below_the_log() {
    let (report, out) = report(Settings { live: true, ..PLAIN });
    let pulling = Activity::new(Phase::Pull, "sha256:012345").of(Some(3000)).begin(&report);
    pulling.advance(1500);
    report.tick();
    let shown = out.text();
    assert!(shown.contains("pull sha256:012345") && shown.contains(" 50%") && !shown.contains('\x1b'), "{shown}");
    report.report(Event::Note("next"));
    assert!(out.text().ends_with("\r\x1b[2A\x1b[Jnext\n"), "{:?}", out.text());
    drop(pulling);
    std::thread::sleep(live::INTERVAL);
    report.tick();
    assert!(out.text().ends_with("next\n"), "{:?}", out.text());
}

#[test]
fn a_log_has_a_line_where_there_was_none_for_a_while() {
    for form in [Form::Text, Form::Json] {
        let (report, out) = report(Settings { form, ..PLAIN });
        let first = step("app", 1);
        begin(&report, &first, "RUN curl example.com");
        report.report(Event::Output { step: &first, stream: Stream::Stderr, bytes: b" 1%\r 2%" });
        let copying = Activity::new(Phase::Copy, "").of(Some(400)).for_step(&step("app", 2)).begin(&report);
        begin(&report, &step("app", 2), "COPY a /b");
        copying.advance(100);
        let begun = out.text();
        report.tick();
        assert_eq!(out.text(), begun, "too soon");
        report.state().last.0 -= QUIET;
        report.tick();
        let told = out.text().split_off(begun.len());
        if form == Form::Json {
            let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
            assert_eq!(lines.len(), 2);
            assert_eq!((&lines[0]["event"], &lines[0]["what"]), (&"progress".into(), &"RUN curl example.com".into()));
            assert_eq!((&lines[1]["done"], &lines[1]["total"]), (&100.into(), &400.into()));
        } else {
            let expected = "[app 1/3] RUN curl example.com: 0 s so far; 2%\n\
                            [app 2/3] COPY a /b: copy 100 B of 400 B (25%), 0 s so far\n";
            assert_eq!(told, expected);
        }
        report.tick();
        assert_eq!(out.text().len(), begun.len() + told.len(), "told once");
    }
}

#[test]
fn lines_of_two_steps_at_once_are_told_apart() {
    let (report, out) = report(PLAIN);
    let (one, two) = (step("one", 1), step("two", 1));
    begin(&report, &one, "RUN a");
    begin(&report, &two, "RUN b");
    report.report(Event::Output { step: &one, stream: Stream::Stdout, bytes: b"from one\n" });
    report.report(Event::Output { step: &two, stream: Stream::Stdout, bytes: b"from two\n" });
    assert!(out.text().ends_with("[one 1/3] from one\n[two 1/3] from two\n"), "{}", out.text());
}
