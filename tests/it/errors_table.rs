//! Provoked errors, one a row: each says where it is, why, and what to do.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::{EXECUTOR, Pod};
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
    (
        "FROM scratch\nCOPY dangling /\n",
        &[],
        76,
        &["Dockerfile:2", "a symbolic link to `nowhere`", "within the context"],
    ),
    (
        "FROM scratch\nCOPY outside/passwd /\n",
        &[],
        76,
        &["Dockerfile:2", "`outside`", "to `/etc`", "within the context"],
    ),
    ("FROM scratch\nCOPY file directory /x\n", &[], 76, &["Dockerfile:2", "`/x`", "with / at its end"]),
    ("FROM scratch\nCOPY ignored /\n", &[], 76, &["Dockerfile:2", "line 1 of the ignore file", "add `!PATH` below it"]),
    (
        "FROM scratch AS a\nCOPY file /\nFROM scratch\nCOPY --from=a flie /\n",
        &[],
        76,
        &["Dockerfile:4", "did you mean"],
    ),
    ("FROM scratch\nUSER nobody-here\nRUN x\n", &[], 76, &["Dockerfile:3", "/etc/passwd", "or write its number"]),
    ("FROM scratch\nRUN true\n", &[], 127, &["Dockerfile:2", "the image has no /bin/sh", "COPY it before"]),
    ("FROM scratch\nRUN [\"/nope\"]\n", &[], 127, &["Dockerfile:2", "the image has no /nope"]),
    ("FROM scratch\nRUN --mount=type=bind true\n", &[], 76, &["Dockerfile:2", "it has no target", "target=/mnt"]),
    ("FROM scratch\nRUN --mount=type=cache,target=/ x\n", &[], 76, &["Dockerfile:2", "the whole root", "such as /mnt"]),
    (
        "FROM scratch\nRUN --mount=type=cache,target=/x,sharing=maybe x\n",
        &[],
        76,
        &["Dockerfile:2", "\"maybe\"", "it can be shared, private, locked"],
    ),
    ("FROM scratch\nRUN --mount=type=secret,id=a,mode=999 x\n", &[], 76, &["Dockerfile:2", "mode: 999", "in octal"]),
    ("FROM scratch\nRUN --mount=type=bind,taget=/x x\n", &[], 76, &["Dockerfile:2", "'taget'", "did you mean target?"]),
    ("FROM scratch\nRUN --network=mars x\n", &[], 76, &["Dockerfile:2", "\"mars\"", "default, none or host"]),
    ("FROM scratch\nRUN --security=insecure x\n", &[], 76, &["Dockerfile:2", "more rights than the executor's own"]),
    ("FROM scratch\nENV a=${b\n", &[], 76, &["Dockerfile:2", "missing '}'", "write ENV NAME=VALUE"]),
    ("FROM scratch\nENV a=b c\n", &[], 76, &["Dockerfile:2", "can't find =", "stands in quotes"]),
    ("FROM scratch\nENV a=\"b\n", &[], 76, &["Dockerfile:2", "double-quote", "write ENV NAME=VALUE"]),
    ("FROM scratch\nSHELL /bin/sh\n", &[], 76, &["Dockerfile:2", "JSON form", "write SHELL [\"PROGRAM\""]),
    ("FROM scratch AS 1a\n", &[], 76, &["Dockerfile:1", "\"1a\"", "write FROM"]),
    ("FROM scratch\nONBUILD FROM x\n", &[], 76, &["Dockerfile:2", "ONBUILD trigger", "write ONBUILD"]),
    ("FROM scratch\n\u{1}\u{2}\n", &[], 76, &["Dockerfile:2", "\\u{1}\\u{2}", "begins a line with its name"]),
    ("# escape=x\nFROM scratch\n", &[], 76, &["Dockerfile:1", "'x'"]),
    (
        "FROM scratch\nADD --checksum=sha256:00 https://registry.example.com/x /\n",
        &[],
        76,
        &["Dockerfile:2", "64 hexadecimal digits"],
    ),
    (
        "FROM scratch\nRUN --mount=type=cache,target=/x x\n",
        &["--cache-mounts=/proc/x"],
        74,
        &["Dockerfile:2", "/proc/x", "--cache-mounts names"],
    ),
    (
        "FROM scratch\nCOPY --from=a file /\n",
        &["--build-context=a=/nowhere/at/all"],
        76,
        &["there is no build context /nowhere/at/all for --build-context a", "docker-image://NAME"],
    ),
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
    ("", &["--build-arg==x"], 72, &["--build-arg needs a name"]),
    ("", &["--build-arg-file=/nowhere"], 72, &["--build-arg-file", "/nowhere", "No such file"]),
    ("", &["--secret=id=a,env=NOT_SET_HERE"], 72, &["--secret", "NOT_SET_HERE", "no environment variable"]),
    ("", &["--ssh=default"], 72, &["--ssh", "SSH_AUTH_SOCK is not set", "ID=SOCKET"]),
    ("", &["--ssh=a=/nowhere"], 72, &["--ssh a", "/nowhere", "No such file"]),
    ("", &["--ssh=default=/etc/passwd"], 72, &["--ssh default", "/etc/passwd", "ssh-keygen -p"]),
    ("", &["--add-host=a=b"], 72, &["--add-host", "no IP address"]),
    ("", &["--ulimit=nope=3"], 72, &["--ulimit", "nope=3", "nofile"]),
    ("", &["--output=type=nope"], 72, &["--output", "`nope`", "registry, image, oci, docker, local or tar"]),
    ("", &["--output=type=registry"], 72, &["--output", "name=REFERENCE"]),
    ("", &["--output=type=oci,dest=/usr"], 73, &["cannot write to /usr", "it is a directory"]),
    ("", &["--output=type=local,dest=/proc/x"], 73, &["cannot write to /proc/x"]),
    ("", &["--build-context=a=docker-image://UPPER"], 72, &["--build-context", "lower case"]),
    ("", &["--cache=true", "--cache-repo=UPPER"], 72, &["--cache-repo", "lower case"]),
    ("", &["--cache=true"], 72, &["--cache needs a place", "--cache-repo or a --cache-dir"]),
    ("", &["--cache=true", "--cache-dir=/tmp/x", "--cache-key-file=/nowhere"], 72, &["/nowhere", "No such file"]),
    ("", &["--sign-key=/nowhere"], 72, &["--sign-key", "/nowhere", "No such file"]),
    ("", &["--sign-key=/etc/passwd"], 72, &["--sign-key", "/etc/passwd", "no PRIVATE KEY"]),
    ("", &["--verify-base=/nowhere"], 72, &["--verify-base", "/nowhere"]),
    ("", &["--sbom=nope"], 72, &["--sbom", "spdx, cyclonedx"]),
    ("", &["--attest=type=sbom"], 72, &["--attest", "write --sbom=spdx"]),
    ("", &["--jobs=0"], 72, &["--jobs", "a whole number from 1 on"]),
    ("", &["--push-retry=x"], 72, &["--push-retry", "a whole number"]),
    ("", &["--compression-level=99"], 72, &["--compression-level", "from 1 to 9"]),
    ("", &["--custom-platform=x"], 72, &["--custom-platform", "linux/arm64"]),
    ("", &["--registry-certificate=h=/nowhere"], 72, &["/nowhere", "certificate"]),
    ("", &["--registries-conf=/nowhere"], 72, &["--registries-conf", "/nowhere"]),
    ("", &["--credential-helpers=nope"], 72, &["--credential-helpers", "docker-credential-nope", "ecr"]),
    ("", &["--context=ftp://x"], 72, &["--context", "ftp://", "gs or s3"]),
    ("", &["--context=s3://"], 72, &["--context", "names no bucket"]),
    ("", &["--context=tar:///etc/passwd"], 76, &["/etc/passwd", "tar archive", "dir://DIRECTORY"]),
    ("", &["--context-sub-path=nope"], 76, &["--context-sub-path nope", "no such directory"]),
    ("", &["--source-date-epoch=1"], 72, &["--source-date-epoch", "the variable SOURCE_DATE_EPOCH"]),
    ("", &["--memory=1g"], 72, &["--memory", "resources.limits.memory"]),
    ("", &["@/nowhere/arguments"], 72, &["/nowhere/arguments", "No such file"]),
    ("", &["--on-failure=nope"], 72, &["--on-failure", "keep, type=docker or oci"]),
    ("", &["--on-failure=type=oci,dest=/proc/x"], 73, &["cannot write to /proc/x"]),
];

/// What a registry does when a base's manifest or blob is asked for.
const REGISTRIES: &[(Fault, &str, i32, &[&str])] = &[
    (
        Fault::Status(401, "WWW-Authenticate: Basic realm=\"x\"\r\n"),
        "/manifests/",
        77,
        &["Dockerfile:1", "401", "no credentials for", "`yadokari auth explain"],
    ),
    (Fault::Status(403, ""), "/manifests/", 77, &["Dockerfile:1", "403", "`yadokari auth explain"]),
    (Fault::Status(404, ""), "/manifests/", 76, &["Dockerfile:1", "404", "look at the name and the tag"]),
    (Fault::Corrupt, "/blobs/", 75, &["Dockerfile:1", "has digest sha256:", "proxies and mirrors"]),
    (Fault::Corrupt, "/manifests/", 75, &["Dockerfile:1", "the manifest of", "proxies and mirrors"]),
];

#[test]
fn an_error_says_where_why_and_what_to_do() {
    if !Isolation::Namespace.allowed("errors: the table") {
        return;
    }
    let rows: Vec<&Row> = DOCKERFILES.iter().chain(FLAGS).collect();
    assert!(rows.len() + REGISTRIES.len() >= 90, "{} rows", rows.len());
    let wrong: Vec<String> = thread::scope(|scope| {
        let parts = rows.chunks(rows.len().div_ceil(AT_A_TIME));
        let running: Vec<_> = parts.map(|rows| scope.spawn(|| provoke(rows))).collect();
        running.into_iter().flat_map(|part| part.join().expect("it does not panic")).collect()
    });
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// How many rows are tried at a time.
const AT_A_TIME: usize = 4;

/// Returns the rows whose error is another one, with what was told.
fn provoke(rows: &[&Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (dockerfile, flags, code, parts) in rows {
        let is_flags = FLAGS.iter().any(|row| row.1 == *flags && row.0 == *dockerfile) && dockerfile.is_empty();
        let is_empty = dockerfile.is_empty() && !is_flags;
        let text = if dockerfile.is_empty() && !is_empty { "FROM scratch\nCOPY file /file\n" } else { dockerfile };
        let files = [("file", "x"), ("directory/a", "y"), ("ignored", "z"), (".dockerignore", "ignored\n")];
        let source = source(text, &files);
        symlink("nowhere", source.join("context/dangling")).expect("links");
        symlink("/etc", source.join("context/outside")).expect("links");
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let build = executor.add(&["--no-push"]).add(flags).run();
        let missing: Vec<_> = parts.iter().filter(|part| !build.stderr.contains(**part)).collect();
        let errors = build.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        let causes = build.stderr.matches("caused by: ").count();
        if build.code != *code || !missing.is_empty() || errors != 1 || causes > 3 {
            wrong.push(format!(
                "{dockerfile:?} {flags:?}: {} for {code}, without {missing:?}\n{}",
                build.code, build.stderr
            ));
        }
    }
    wrong
}

#[test]
fn what_a_registry_answers_is_told_with_what_helps() {
    if !Isolation::Namespace.allowed("errors: registries") {
        return;
    }
    let base = bases::base("BASE");
    for (fault, path, code, parts) in REGISTRIES {
        let proxy = Proxy::start(&registry::shared().address, &[Rule::new("GET", path, *fault, usize::MAX)]);
        let through = base.reference.replace(&registry::shared().address, &proxy.address);
        let source = source(&format!("FROM {through}\nCOPY file /\n"), &[("file", "x")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let build = executor.only_layout().add(&[&format!("--insecure-registry={}", proxy.address)]).run();
        let missing: Vec<_> = parts.iter().filter(|part| !build.stderr.contains(**part)).collect();
        assert!(
            build.code == *code && missing.is_empty(),
            "{fault:?} {path}: {} without {missing:?}\n{}",
            build.code,
            build.stderr
        );
    }
    // An image alone is taken whatever it is for, with a warning; an index must have the platform.
    let index = registry::shared().repository("errors/index:1");
    let mut join = Command::new(EXECUTOR);
    join.args(["index", &base.reference, &format!("--destination={index}")]).env_clear();
    process::run(join.arg(format!("--insecure-registry={}", registry::shared().address)), SHORT).success();
    let platform = source(&format!("FROM {index}\nCOPY file /\n"), &[("file", "x")]);
    let build = Executor::new(Isolation::Namespace, platform.path())
        .only_layout()
        .add(&["--custom-platform=linux/s390x"])
        .run();
    assert!(build.code == 76 && build.stderr.contains("hint: --custom-platform says"), "{}", build.stderr);
}

/// What is wrong with flags or the Dockerfile, and known without a registry: no layer is asked for, and where flags
/// alone are wrong, nothing is.
#[test]
fn known_faults_are_found_before_anything_is_pulled() {
    if !Isolation::Namespace.allowed("errors: known faults") {
        return;
    }
    let base = bases::base("BASE");
    let secret = "RUN --mount=type=secret,id=tokn,required cat /run/secrets/tokn";
    for (line, flags, code, part, requests) in [
        ("COPY file /", &["--tar-path=/proc/x.tar"][..], 73, "cannot write to /proc/x.tar", 0),
        ("COPY file /", &["--output=type=local,dest=/proc/x"], 73, "cannot write to /proc/x", 0),
        ("COPY file /", &["--digest-file=/proc/x"], 73, "cannot write to /proc/x", 0),
        ("COPY file /", &["--metadata-file=/proc/x/y"], 73, "cannot write to /proc/x/y", 0),
        ("COPY file /", &["--sbom=spdx", "--sbom-path=/proc/x"], 73, "cannot write to /proc/x", 0),
        ("COPY file /", &["--sign-key=/nowhere"], 72, "--sign-key: /nowhere", 0),
        ("COPY file /", &["--build-context=a=/nowhere"], 76, "for --build-context a", 0),
        ("COPY file /", &["--context=/nowhere"], 76, "--context names it", 4),
        ("COPY flie /", &[], 76, "did you mean file?", 4),
        (secret, &["--secret=id=token,env=HOME"], 72, "--secret gives `token`; did you mean that?", 4),
        ("RUN --mount=type=cache,target=/c true", &["--cache-mounts=/proc/x"], 74, "cannot write /proc/x", 4),
    ] {
        let proxy = Proxy::start(&registry::shared().address, &[]);
        let through = base.reference.replace(&registry::shared().address, &proxy.address);
        let source = source(&format!("FROM {through}\n{line}\n"), &[("file", "x")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.env("HOME", "/").add(&["--no-push", &format!("--insecure-registry={}", proxy.address)]).add(flags);
        if flags.iter().any(|flag| flag.starts_with("--context=")) {
            executor.add(&[&format!("--dockerfile={}", source.join("Dockerfile").display())]);
        }
        let build = executor.run().expect(code);
        assert!(build.stderr.contains(part), "{line} {flags:?}: {}", build.stderr);
        let made = proxy.requests();
        // Those of a plan are of manifests and of a configuration.
        assert!(made.len() <= requests, "{line} {flags:?}: {made:#?}");
        assert!(proxy.count("GET", "/blobs/") <= 1, "{line} {flags:?}: {made:#?}");
    }
    // What is only told: a cache that keeps nothing, a secret that nobody wants.
    let source = source("FROM scratch\nCOPY file /\n", &[("file", "x")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.env("HOME", "/").add(&["--no-push", "--cache=true", "--cache-dir=/proc/x", "--secret=id=token,env=HOME"]);
    let build = executor.run().expect(0);
    let (told, done) = build.stderr.split_once("[0 1/1]").expect("a step");
    assert!(told.contains("the cache /proc/x/layers cannot be written"), "{}", build.stderr);
    assert!(told.contains("--secret gives `token`, and no RUN"), "{}", build.stderr);
    assert!(!done.contains("/proc/x"), "told once: {}", build.stderr);
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
fn a_run_that_takes_all_memory_is_told_what_killed_it() {
    if !Isolation::Container.allowed("errors: the limit of memory") {
        return;
    }
    let pod = Pod::plain().add(&["--memory=256m", "--memory-swap=256m"]);
    let source = source("FROM $BASE\nRUN tail /dev/zero\n", &[]);
    let mut executor = Executor::in_pod(Isolation::Container, pod, source.path());
    let build = executor.only_layout().run().expect(137);
    let hint = "killed by the kernel: the limit of 256 MiB was used up";
    assert!(build.stderr.contains(hint) && build.stderr.contains("limits: {memory: …}"), "{}", build.stderr);
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
    assert_eq!(finished.stderr, "");
    let metadata = fs::read_to_string(scratch.join("metadata.json")).expect("it is there");
    let id = fs::read_to_string(scratch.join("id")).expect("it is there");
    assert!(id.starts_with("sha256:") && metadata.contains(&id) && finished.stdout.trim() == id, "{id}: {metadata}");
    assert_ne!(Some(id), registry.digest("app:1"));
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
