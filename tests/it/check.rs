//! `yadokari check` and `yadokari plan`: what they say, in which form, and with which exit code; and that nothing is
//! built.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, Finished, SHORT};
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Something of every kind: the text alone, variables, the base, the context.
const FINDINGS: &str = "\
# syntax=docker/dockerfile:1
FROM $BASE as first
ENV PATH=$PAHT:/x \\
    OTHER=$PAHT
CMD echo $PATH

FROM first AS second
COPY --chown=1 sr/main.c ignored.txt /
";

/// Runs the executor beside a source, as a developer would.
fn run(source: &Scratch, command: &str, flags: &[&str]) -> Finished {
    let state = source.directory("state").display().to_string();
    let mut run = Command::new(EXECUTOR);
    run.current_dir(source.path()).env_clear().env("HOME", source.path());
    run.arg(command).args(["--context=context", "--insecure-pull", &format!("--state-dir={state}")]).args(flags);
    let finished = process::run(&mut run, SHORT);
    assert_eq!(std::fs::read_dir(&state).expect("it is there").count(), 0, "the state directory is empty again");
    finished
}

fn findings() -> Scratch {
    let context = [("src/main.c", ""), ("ignored.txt", ""), (".dockerignore", "# why\nignored.txt\n")];
    source(FINDINGS, &context)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

#[test]
fn findings_have_a_place_in_every_form() {
    let source = findings();
    let expected = [
        ("FromAsCasing", 2, 6 + base().len() as u64 + 1),
        ("UndefinedVar", 3, 10),
        ("JSONArgsRecommended", 5, 5),
        ("CopyIgnoredFile", 8, 26),
        ("CopyMissingFile", 8, 16),
    ];
    let found = run(&source, "check", &["--format=json"]);
    assert_eq!(found.code, 76, "a file that is missing ends a build: {}", found.stderr);
    let document = json(&found.stdout);
    let place = |warning: &Value, line: &str, column: &str| {
        (warning[line].as_u64().unwrap_or_default(), warning[column].as_u64().unwrap_or_default())
    };
    let listed = document["warnings"].as_array().expect("a list").iter();
    let mut listed: Vec<_> = listed
        .map(|warning| (warning["rule"].as_str().unwrap_or_default(), place(warning, "line", "column")))
        .collect();
    listed.sort_unstable_by_key(|(rule, place)| (place.0, *rule));
    assert_eq!(listed, expected.map(|(rule, line, column)| (rule, (line, column))), "{document:#}");
    assert_eq!(document["error"]["line"], 8, "{document:#}");

    let sarif = json(&run(&source, "check", &["--format=sarif"]).stdout);
    assert_eq!(sarif["version"], "2.1.0");
    let run_of = &sarif["runs"][0];
    let results = run_of["results"].as_array().expect("a list");
    let mut listed: Vec<_> = results
        .iter()
        .map(|result| {
            let physical = &result["locations"][0]["physicalLocation"];
            assert_eq!(physical["artifactLocation"]["uri"], "Dockerfile");
            let index = usize::try_from(result["ruleIndex"].as_u64().expect("a number")).expect("small");
            assert_eq!(run_of["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
            (result["ruleId"].as_str().unwrap_or_default(), place(&physical["region"], "startLine", "startColumn"))
        })
        .collect();
    listed.sort_unstable_by_key(|(rule, place)| (place.0, *rule));
    assert_eq!(listed, expected.map(|(rule, line, column)| (rule, (line, column))));

    let text = run(&source, "check", &[]).stdout;
    for (rule, line, column) in expected {
        assert!(text.contains(&format!("Dockerfile:{line}:{column}: {rule}: ")), "{rule}:\n{text}");
    }
    let shown =
        "3 | ENV PATH=$PAHT:/x \\\n  |          ^^^^^\nsee https://docs.docker.com/go/dockerfile/rule/undefined-var/\n";
    assert!(text.contains(shown), "{text}");
    assert!(text.contains("(did you mean src/main.c?)") && text.ends_with("Dockerfile: 5 findings\n"), "{text}");
}

fn base() -> String {
    crate::support::bases::base("BASE").reference
}

#[test]
fn exit_codes_are_asked_for() {
    let quiet = "FROM scratch\nCOPY a /\n";
    let loud = "FROM scratch\nENV a b\nCOPY a /\n";
    let wrong = "FROM scratch\nCOPPY a /\n";
    for (dockerfile, flags, code, said) in [
        (quiet, &["--error"][..], 0, ""),
        (loud, &[], 0, ""),
        (loud, &["--error"], 76, "lint violation found for rules: LegacyKeyValueFormat"),
        (loud, &["--error", "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=LegacyKeyValueFormat"], 0, ""),
        (loud, &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true"], 76, "LegacyKeyValueFormat"),
        (wrong, &[], 76, "did you mean COPY?"),
        (wrong, &["--format=sarif"], 76, "did you mean COPY?"),
        ("FROM scratch AS unused\nCOPY b /\nFROM scratch\nCOPY a /\n", &[], 0, ""),
        (
            "FROM scratch AS used\nCOPY b /\nFROM scratch\nCOPY --from=used b /\n",
            &[],
            76,
            "`b` is not in the build context",
        ),
        ("# check=skip=all\nFROM scratch\nENV a b\n", &["--error"], 0, ""),
        ("FROM scratch\n# check=skip=all\nENV a b\n", &["--error"], 0, ""),
        ("# check=error\nFROM scratch\n", &[], 76, "Dockerfile:1"),
        ("FROM 127.0.0.1:1/none\nCOPY $x /\n", &["--error"], 0, "127.0.0.1:1/none"),
        ("FROM 127.0.0.1:1/none\nCOPY $x /\n", &["--error", "--offline"], 0, "127.0.0.1:1/none"),
    ] {
        let source = source(dockerfile, &[("a", "")]);
        let checked = run(&source, "check", flags);
        assert_eq!(checked.code, code, "{dockerfile:?} {flags:?}:\n{}{}", checked.stdout, checked.stderr);
        assert!(checked.stderr.contains(said), "{dockerfile:?} {flags:?}:\n{}", checked.stderr);
    }
}

#[test]
fn what_stands_before_a_fault_is_told_too() {
    let source = source("FROM scratch\nENV a b\nCOPPY a /\nENV c d\n", &[]);
    let document = json(&run(&source, "check", &["--format=json"]).stdout);
    let rules: Vec<_> =
        document["warnings"].as_array().expect("a list").iter().map(|one| one["line"].clone()).collect();
    assert_eq!((rules, &document["error"]["line"]), (vec![Value::from(2)], &Value::from(3)), "{document:#}");
    let planned = run(&source, "plan", &[]);
    assert!(planned.stderr.contains("line 2: ") && planned.stderr.contains("COPPY"), "{}", planned.stderr);
}

#[test]
fn a_violation_is_the_error_of_the_document() {
    let source = source("# check=error=true\nFROM scratch\nENV a b\n", &[]);
    let document = json(&run(&source, "check", &["--format=json"]).stdout);
    assert_eq!(document["error"]["message"], "lint violation found for rules: LegacyKeyValueFormat");
    let sarif = json(&run(&source, "check", &["--format=sarif"]).stdout);
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_build_tells_the_same_once_and_fails_when_asked() {
    if !Isolation::Namespace.allowed("check: findings in a build") {
        return;
    }
    let quiet =
        source("FROM scratch\nCOPY a /\nFROM scratch AS unused\nENV c d\nFROM scratch\nENV e f\n", &[("a", "")]);
    let build = Executor::new(Isolation::Namespace, quiet.path()).only_layout().run().expect(0);
    let told: Vec<&str> = build.stderr.lines().filter(|line| line.contains("LegacyKeyValueFormat")).collect();
    assert_eq!(told.len(), 1, "{}", build.stderr);
    assert!(told[0].contains("line 6"), "the stage that is not built is not judged: {told:?}");
    let strict = source("# check=error=true\nFROM scratch\nENV e f\n", &[]);
    let build = Executor::new(Isolation::Namespace, strict.path()).only_layout().run().expect(76);
    for text in ["lint violation found for rules: LegacyKeyValueFormat", "Dockerfile:3", "# check=skip=RULE"] {
        assert!(build.stderr.contains(text), "{text}:\n{}", build.stderr);
    }
    assert_eq!(build.result("layout/index.json"), None);
}

/// A Dockerfile with all that a plan shows.
const PLANNED: &str = "\
ARG VERSION=1
FROM scratch AS tools
COPY tool /tool
FROM scratch AS unneeded
FROM $BASE AS app
ARG VERSION
ARG TOKEN
ENV V=$VERSION T=$TOKEN
WORKDIR /src
COPY a b/$VERSION ./
COPY --from=tools /tool /usr/bin/
COPY <<E /e
e
E
USER nobody
RUN --network=none --mount=type=secret,id=s echo \\
    two
FROM app
CMD [\"x\"]
";

const PLAN: &str = "\
Dockerfile: target 3 for linux/amd64: 3 stages, 11 steps

stage tools (line 2) from scratch, linux/amd64; needs no root file system
  1  COPY tool /tool
     reads the context: tool

stage app (line 5) from $BASE, linux/amd64; needs a root file system
  1  ARG VERSION
     = ARG VERSION=2
  2  ARG TOKEN
     = ARG TOKEN=***
  3  ENV V=$VERSION T=$TOKEN
     = ENV V=2 T=***
  4  WORKDIR /src
  5  COPY a b/$VERSION ./
     = COPY a b/2 ./
     reads the context: a b/2
  6  COPY --from=tools /tool /usr/bin/
     = COPY /tool /usr/bin/
     reads stage tools: /tool
  7  COPY <<E /e
     reads the Dockerfile (<<E)
  8  USER nobody
  9  RUN --network=none --mount=type=secret,id=s echo     two
     runs as nobody in /src, without a network
     reads secret s

stage 3 (line 18) from stage app, linux/amd64; needs no root file system
  1  CMD [\"x\"]

images
  $BASE (linux/amd64): $DIGEST

not needed: unneeded (line 4)
";

#[test]
fn a_plan_shows_what_would_be_built() {
    let source = source(PLANNED, &[]);
    let flags = ["--build-arg=VERSION=2", "--build-arg=TOKEN=hidden", "--custom-platform=linux/amd64"];
    let planned = run(&source, "plan", &flags);
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    let base = crate::support::bases::base("BASE");
    let expected = PLAN.replace("$BASE", &base.reference).replace("$DIGEST", &base.digest);
    assert_eq!(planned.stdout, expected);
    let planned = run(&source, "plan", &[&flags[..], &["--format=json"]].concat());
    assert!(!planned.stdout.contains("hidden"), "{}", planned.stdout);
    let document = json(&planned.stdout);
    assert_eq!(document["stages"][1]["steps"][8]["run"]["argv"][2], "echo     two", "{document:#}");
    assert_eq!(document["stages"][1]["base"]["name"], base.reference.as_str());
    assert_eq!(document["unneeded"][0]["line"], 4);
    let needs = |stage: usize| document["stages"][stage]["needsRootfs"].as_bool();
    assert_eq!([needs(0), needs(1), needs(2)], [Some(false), Some(true), Some(false)]);
    assert_eq!(document["stages"][0]["steps"][0]["cache"], Value::Null, "there is no cache");
    let failed = run(&source, "plan", &["--target=nothing"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (76, ""));
}

/// Returns what the plan in JSON expects of the cache, stage after stage: `hit`, `miss`, `unknown`, `never` or `-`.
fn expected(document: &Value) -> Vec<Vec<String>> {
    let text = |step: &Value| step["cache"]["expected"].as_str().unwrap_or("-").to_owned();
    let steps = |stage: &Value| stage["steps"].as_array().expect("steps").iter().map(text).collect();
    document["stages"].as_array().expect("stages").iter().map(steps).collect()
}

#[test]
fn a_plan_tells_what_the_cache_has() {
    if !Isolation::Namespace.allowed("plan: the cache") {
        return;
    }
    let text = "FROM $BASE AS made\nCOPY made /made\nRUN cat /made > /result\nCOPY made /again\n\
                FROM scratch AS files\nCOPY other /other\nFROM $BASE\nENV A=1\nCOPY last /last\n\
                COPY --from=made /result /result\nCOPY --from=files /other /other\n";
    let source = source(text, &[("made", "1\n"), ("last", "1\n"), ("other", "1\n")]);
    let write = |file: &str, content: &str| fs::write(source.join("context").join(file), content).expect("writes");
    let cache = Scratch::new("cache");
    let flag = format!("--cache-repo=oci:{}", cache.path().display());
    let plan = |flags: &[&str]| {
        let planned = run(&source, "plan", &[&["--cache", &flag][..], flags].concat());
        assert_eq!(planned.code, 0, "{}", planned.stderr);
        planned.stdout
    };
    let build = || {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&["--cache", &flag]).run().expect(0)
    };
    let listed = |cache: &Scratch| fs::read_dir(cache.path()).expect("lists").count();
    let text = plan(&[]);
    assert_eq!(listed(&cache), 0, "nothing is written");
    assert!(text.contains(": MISS because nothing is known of an earlier build\n"), "{text}");
    assert!(text.contains("     key unknown until [made 2/3] is done\n"), "{text}");
    build();
    let document = json(&plan(&["--format=json"]));
    let all = [vec!["hit", "hit", "hit"], vec!["hit"], vec!["-", "hit", "hit", "hit"]];
    assert_eq!(expected(&document), all);
    let hit = &document["stages"][0]["steps"][1]["cache"];
    assert_eq!(hit["key"].as_str().map(str::len), Some(64), "{hit}");
    assert!(hit["layer"]["size"].as_u64() > Some(0) && hit["made"].is_i64(), "{hit}");
    // What is told beforehand is what a build says: it does the steps that are expected to be done, and no others.
    write("made", "2\n");
    write("other", "2\n");
    let document = json(&plan(&["--format=json"]));
    let changed = [vec!["miss", "miss", "unknown"], vec!["miss"], vec!["-", "hit", "unknown", "unknown"]];
    assert_eq!(expected(&document), changed);
    let never = expected(&json(&plan(&["--format=json", "--cache-run-layers=false"])));
    assert_eq!(never[0], ["miss", "never", "unknown"]);
    build();
    assert_eq!(expected(&json(&plan(&["--format=json"]))), all);
}

/// What a cache mount begins with is an input as what a bind shows is: a key was told that no build could have had.
#[test]
fn a_plan_waits_for_what_a_cache_mount_begins_with() {
    let text = "FROM $BASE AS seed\nRUN echo seed > /seed\n\
                FROM $BASE\nRUN --mount=type=cache,from=seed,target=/c cat /c/seed\n";
    let (source, cache) = (source(text, &[]), Scratch::new("cache"));
    let flag = format!("--cache-repo=oci:{}", cache.path().display());
    let planned = run(&source, "plan", &["--cache", &flag]);
    assert!(planned.stdout.contains("     key unknown until [seed 1/1] is done\n"), "{}", planned.stdout);
}
