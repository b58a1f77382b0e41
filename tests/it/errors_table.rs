//! Provoked errors, one a row: each says where it is, why, and what to do.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{self, Registry, free_address};
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// A Dockerfile, flags, the exit code, and what the message must have in it.
type Row = (&'static str, &'static [&'static str], i32, &'static [&'static str]);

/// What is wrong with a Dockerfile, or does not fit its context.
const DOCKERFILES: &[Row] = &[
    ("FROM scratch\nCOPY ../x /\n", &[], 76, &["Dockerfile:2", "`../x` is not in", "hint: paths stay in"]),
    ("FROM scratch\nCOPY flie /\n", &[], 76, &["Dockerfile:2", "`flie` is not in", "did you mean file?"]),
    ("FROM scratch\nCOPY nothing-like-it /\n", &[], 76, &["Dockerfile:2", "`nothing-like-it`"]),
    ("FROM scratch\nADD nope.tar /\n", &[], 76, &["Dockerfile:2", "`nope.tar`"]),
    ("FROM UPPER\n", &[], 76, &["Dockerfile:1", "its name must be in lower case"]),
    ("FROM a/Upper:1\n", &[], 76, &["Dockerfile:1", "its name must be in lower case"]),
    ("FROM x@sha256:abc\n", &[], 76, &["Dockerfile:1", "`x@sha256:abc`", "64"]),
    ("FROM x:tag:tag\n", &[], 76, &["Dockerfile:1", "x:tag:tag"]),
    ("FROM https://h.example.com/x\n", &[], 76, &["Dockerfile:1", "scheme"]),
    ("FROM $NOTHING\n", &[], 76, &["Dockerfile:1", "is empty after its variables are replaced"]),
    ("FROM scratch\nRNU x\n", &[], 76, &["Dockerfile:2", "RNU", "RUN"]),
    ("FROM scratch\nCOPY file\n", &[], 76, &["Dockerfile:2", "COPY"]),
    ("FROM scratch\nEXPOSE x\n", &[], 76, &["Dockerfile:2", "x"]),
    ("FROM scratch\nENV\n", &[], 76, &["Dockerfile:2", "ENV"]),
    ("FROM scratch\nCOPY --form=a file /\n", &[], 76, &["Dockerfile:2", "form", "from"]),
    ("FROM scratch\nCOPY --from=nostage file /\n", &["--offline"], 76, &["Dockerfile:2", "nostage"]),
    ("FROM scratch AS a\nCOPY --from=a file /\n", &[], 76, &["a"]),
    ("RUN x\n", &[], 76, &["Dockerfile:1"]),
    ("", &[], 76, &["Dockerfile"]),
    ("FROM scratch\nCOPY file /\n", &["--target=nope"], 76, &["nope"]),
    ("FROM scratch\nCOPY --chmod=abc file /\n", &[], 76, &["Dockerfile:2", "abc"]),
    ("FROM scratch\nCOPY --chown=nobody-here file /\n", &[], 76, &["Dockerfile:2", "nobody-here"]),
    ("FROM scratch\nRUN --mount=type=nope x\n", &[], 76, &["Dockerfile:2", "nope"]),
    (
        "FROM scratch\nRUN --mount=type=secret,id=tokne,required x\n",
        &["--secret=id=token,env=HOME"],
        72,
        &["tokne", "`token`; did you mean that?"],
    ),
    ("FROM scratch\nRUN --mount=type=secret,id=abc,required x\n", &[], 72, &["Dockerfile:2", "abc", "--secret id=abc"]),
    ("FROM scratch\nRUN --mount=type=ssh,required x\n", &[], 72, &["Dockerfile:2", "--ssh default"]),
    ("FROM scratch\nSTOPSIGNAL NOPE\n", &[], 76, &["Dockerfile:2", "NOPE"]),
    ("FROM --platform=a/b/c/d scratch\n", &[], 76, &["Dockerfile:1"]),
    ("FROM scratch\nHEALTHCHECK --interval=1x CMD x\n", &[], 76, &["Dockerfile:2", "1x"]),
    ("FROM scratch\nCOPY <<EOT /x\nnever ended\n", &[], 76, &["Dockerfile:2", "EOT"]),
];

/// What is wrong with flags; the Dockerfile is good.
const FLAGS: &[Row] = &[
    (
        "",
        &["--context=/nowhere/at/all"],
        76,
        &["there is no build context /nowhere/at/all", "--context names it", "/workspace/"],
    ),
    ("", &["--dockerfile=/nowhere/Dockerfile"], 76, &["/nowhere/Dockerfile", "--dockerfile names it"]),
    ("", &["--dockerfile=/usr"], 76, &["the Dockerfile /usr is a directory", "--context"]),
    ("", &["--destination=registry.example.com/UPPER:1"], 72, &["--destination", "lower case"]),
    ("", &["--destination=registry.example.com/a@sha256:00"], 72, &["--destination"]),
    ("", &["--cache-to=x"], 72, &["--cache-to", "--cache-repo"]),
    ("", &["--tag=x"], 72, &["--tag", "--destination"]),
    ("", &["--load"], 72, &["--load", "type=docker,dest=image.tar"]),
    ("", &["--platform=linux/arm64"], 72, &["--platform", "--custom-platform"]),
    ("", &["--no-cache"], 72, &["--no-cache", "--cache=false"]),
    ("", &["--squash"], 72, &["--squash", "--single-snapshot"]),
    ("", &["--tls-verify=false"], 72, &["--tls-verify", "--skip-tls-verify"]),
    ("", &["--destinaton=x"], 72, &["--destinaton", "did you mean --destination?"]),
    ("", &["--compression=lzw"], 72, &["--compression", "lzw", "gzip"]),
    ("", &["--progress=fancy"], 72, &["--progress", "fancy", "plain"]),
    ("", &["--progress=json", "--log-format=text"], 72, &["--progress and --log-format"]),
    ("", &["--verbosity=loud"], 72, &["loud", "debug"]),
    ("", &["--timeout=soon"], 72, &["--timeout", "soon"]),
    ("", &["--cache=maybe"], 72, &["--cache", "maybe"]),
    ("", &["--label=x"], 72, &["--label"]),
    ("", &["--secret=id=x,src=/nowhere/secret"], 72, &["/nowhere/secret"]),
    ("", &["--digest-file=/proc/nowhere/digest"], 73, &["/proc/nowhere"]),
    ("", &["--metadata-file=/proc/metadata.json"], 73, &["/proc/metadata.json"]),
    ("", &["--tar-path=/proc/nowhere/image.tar"], 73, &["/proc/nowhere/image.tar"]),
    ("", &["--state-dir=/proc/state"], 74, &["/proc/state"]),
];

#[test]
fn an_error_says_where_why_and_what_to_do() {
    if !Isolation::Namespace.allowed("errors: the table") {
        return;
    }
    let mut wrong = Vec::new();
    for (dockerfile, flags, code, parts) in DOCKERFILES.iter().chain(FLAGS) {
        let is_flags = FLAGS.iter().any(|row| row.1 == *flags && row.0 == *dockerfile) && dockerfile.is_empty();
        let is_empty = dockerfile.is_empty() && !is_flags;
        let text = if dockerfile.is_empty() && !is_empty { "FROM scratch\nCOPY file /file\n" } else { dockerfile };
        let source = source(text, &[("file", "x")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let build = executor.add(&["--no-push"]).add(flags).run();
        let missing: Vec<_> = parts.iter().filter(|part| !build.stderr.contains(**part)).collect();
        let errors = build.stderr.matches("error: ").count();
        let causes = build.stderr.matches("caused by: ").count();
        if build.code != *code || !missing.is_empty() || errors != 1 || causes > 3 {
            wrong.push(format!(
                "{dockerfile:?} {flags:?}: {} for {code}, without {missing:?}\n{}",
                build.code, build.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_command_names_what_it_was_not_given() {
    for (words, parts) in [
        (&["push"][..], &["<PATH>", "write `"][..]),
        (&["index"], &["missing"]),
        (&["login"], &["missing"]),
        (&["cache"], &["needs a command", "ls", "prune"]),
        (&["auth"], &["explain"]),
        (&["pusj"], &["there is no command `pusj`"]),
        (&["build", "-t", "a", "."], &["--push sends it"]),
        (&["build", "--load", "."], &["type=docker,dest=image.tar"]),
    ] {
        let finished = process::run(Command::new(EXECUTOR).args(words), SHORT);
        assert_eq!(finished.code, 72, "{words:?}: {}", finished.stderr);
        for part in parts {
            assert!(finished.stderr.contains(part), "{words:?} without `{part}`: {}", finished.stderr);
        }
    }
}

#[test]
fn a_missing_source_is_told_before_anything_is_pulled() {
    if !Isolation::Namespace.allowed("errors: a missing source") {
        return;
    }
    let base = bases::base("BASE");
    let proxy = Proxy::start(&registry::shared().address, &[]);
    let through = base.reference.replace(&registry::shared().address, &proxy.address);
    let source = source(&format!("FROM {through}\nRUN true\nCOPY nope /\n"), &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.only_layout().add(&[&format!("--insecure-registry={}", proxy.address)]);
    let build = executor.run().expect(76);
    assert!(build.stderr.contains("Dockerfile:3") && build.stderr.contains("`nope`"), "{}", build.stderr);
    // The configuration is a blob, too; no layer was asked for.
    assert!(proxy.count("GET", "/blobs/") <= 1, "{:#?}", proxy.requests());
}

#[test]
fn a_registry_that_is_down_is_told_in_few_lines() {
    if !Isolation::Namespace.allowed("errors: a registry that is down") {
        return;
    }
    let address = free_address();
    let source = source(&format!("FROM {address}/x:1\nCOPY file /\n"), &[("file", "x")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.add(&["--no-push", "--push-retry=0", "--image-download-retry=0"]).run().expect(75);
    let causes: Vec<&str> = build.stderr.lines().filter(|line| line.starts_with("caused by: ")).collect();
    assert!(causes.len() <= 3 && causes.last().is_some_and(|last| last.contains("refused")), "{}", build.stderr);

    // The same by way of a proxy names it.
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    fs::write(source.join("Dockerfile"), "FROM registry.example.com/x:1\n").expect("ours");
    executor.env("HTTPS_PROXY", &format!("http://user:secret@{address}"));
    let build = executor.add(&["--no-push", "--image-download-retry=0"]).run().expect(75);
    let named = format!("by way of the proxy http://{address}");
    assert!(build.stderr.contains(&named) && !build.stderr.contains("secret@"), "{}", build.stderr);
}

#[test]
fn too_many_requests_are_told_when_they_are_waited_for_and_what_helps() {
    if !Isolation::Namespace.allowed("errors: 429") {
        return;
    }
    let base = bases::base("BASE");
    for (times, code) in [(1, 0), (usize::MAX, 75)] {
        let rule = Rule::new("GET", "/manifests/", Fault::Status(429, "Retry-After: 1\r\n"), times);
        let proxy = Proxy::start(&registry::shared().address, &[rule]);
        let through = base.reference.replace(&registry::shared().address, &proxy.address);
        let source = source(&format!("FROM {through}\nLABEL a=b\n"), &[]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.add(&["--no-push", &format!("--insecure-registry={}", proxy.address), "--verbosity=debug"]);
        let build = executor.run().expect(code);
        let waits =
            build.stderr.lines().filter(|line| line.contains("429") && line.contains("; tried again in ")).count();
        assert!(if times == 1 { waits == 1 } else { waits >= 3 }, "{}", build.stderr);
        let exchange =
            |line: &&str| line.starts_with("GET http://") && line.contains(": 429 in ") && line.contains(" ms");
        assert_eq!(build.stderr.lines().filter(exchange).count(), waits + usize::from(code != 0), "{}", build.stderr);
        assert_eq!(build.stderr.contains("hint: the registry limits how much"), code != 0, "{}", build.stderr);
    }
}

#[test]
fn a_timeout_names_its_value_and_the_step() {
    if !Isolation::Namespace.allowed("errors: --timeout") {
        return;
    }
    let source = source("FROM $BASE\nRUN sleep 60\n", &[]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let build = executor.only_layout().add(&["--timeout=3s"]).within(Duration::from_secs(60)).run().expect(124);
    for part in ["longer than the 3 s of --timeout", "Dockerfile:2", "[0 1/1] RUN sleep 60 was being done, for "] {
        assert!(build.stderr.contains(part), "without `{part}`: {}", build.stderr);
    }
}

#[test]
fn dockers_words_build_and_push() {
    if !Isolation::Namespace.allowed("docker's words") {
        return;
    }
    let registry = Registry::plain();
    let scratch = Scratch::new("docker");
    scratch.file("context/Dockerfile", "FROM scratch\nARG A\nLABEL a=$A\nCOPY file /file\n");
    scratch.file("context/file", "x");
    let mut command = Command::new(EXECUTOR);
    command.args(["build", "--push", "-t", &format!("{}/app:1", registry.address), "-q", "--build-arg", "A=1"]);
    command.arg("--iidfile").arg(scratch.join("id")).arg("--metadata-file").arg(scratch.join("metadata.json"));
    command.arg(format!("--state-dir={}", scratch.directory("state").display()));
    command.arg(format!("--insecure-registry={}", registry.address)).arg(scratch.join("context"));
    let finished = process::run(command.env_clear().env("PATH", "/usr/bin:/bin"), SHORT);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(Some(finished.stdout.trim()), registry.digest("app:1").as_deref());
    assert_eq!(finished.stderr, "");
    let metadata = fs::read_to_string(scratch.join("metadata.json")).expect("it is there");
    let id = fs::read_to_string(scratch.join("id")).expect("it is there");
    assert!(id.starts_with("sha256:") && metadata.contains(&id) && finished.stdout.trim() != id, "{id}: {metadata}");
}

#[test]
fn what_a_run_that_failed_has_left_can_be_looked_into() {
    for isolation in Isolation::ALL {
        if !isolation.allowed("errors: --on-failure") {
            continue;
        }
        let dockerfile = "FROM $BASE\nENV A=b\nWORKDIR /src\nRUN echo left > /src/log; exit 3\n";
        let source = source(dockerfile, &[]);
        let mut executor = Executor::new(isolation, source.path());
        executor.add(&["--no-push"]).output("--on-failure=type=oci,tar=false,dest", "kept");
        executor.add(&[&format!("--insecure-registry={}", registry::shared().address)]);
        let build = executor.run().expect(3);
        assert!(build.stderr.contains("what the RUN left is"), "{}", build.stderr);
        let index = fs::read_to_string(build.path("kept/index.json")).expect("a layout");
        assert!(index.contains("manifests"), "{index}");
        let image = crate::support::image::Image::from_layout(&build.path("kept"));
        image.verify();
        let config = image.config.to_string();
        for part in ["A=b", "\"/src\"", "exit 3"] {
            assert!(config.contains(part), "without {part}: {config}");
        }
    }
}
