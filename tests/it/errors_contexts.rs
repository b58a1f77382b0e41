//! Provoked errors of contexts and of TLS, one a row: each says where it is, why, and what to do.

use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::objects::ObjectStore;
use crate::support::process::{self, SHORT};
use crate::support::registry::{Registry, free_address};
use crate::support::scratch::Scratch;
use crate::support::skips::skip;
use crate::support::source::source;

/// A flag, variables, the exit code, and what the message must have in it.
struct Row {
    flag: String,
    variables: Vec<(&'static str, String)>,
    code: i32,
    told: &'static [&'static str],
}

fn row(flag: String, code: i32, told: &'static [&'static str]) -> Row {
    Row { flag, variables: Vec::new(), code, told }
}

/// A repository of one commit, and a file that is no archive.
fn sources() -> Scratch {
    let source = source("FROM scratch\nCOPY file /\n", &[("file", "1\n")]);
    source.file("none.tar.gz", "no archive");
    let script = "git init -q -b main \"$1\"; cd \"$1\"; echo FROM scratch >Dockerfile; git add .
        git -c user.name=a -c user.email=a@example.com commit -qm one";
    let mut git = Command::new("sh");
    process::run(git.args(["-ec", script, "sh"]).arg(source.join("repository")), SHORT).success();
    source
}

fn of_files_and_servers(sources: &str, nobody: &str, secured: &str) -> Vec<Row> {
    const NOBODY: &[&str] = &["no answer: Connection refused", "hint: look at the address and its port", "HTTPS_PROXY"];
    const UNTRUSTED: &[&str] =
        &["UnknownIssuer", "hint: its certificate is not trusted", "--registry-certificate HOST="];
    vec![
        row(format!("--context=file://{sources}/repository#nobranch"), 76, &["Git repository", "nobranch"]),
        row(format!("--context=file://{sources}/nowhere"), 76, &["Git repository", "/nowhere"]),
        row(format!("--context=http://{nobody}/a.git#main:dir"), 75, NOBODY),
        row(format!("--context=https://{secured}/a.git"), 72, &["Git repository", "UnknownIssuer"]),
        row(format!("--context=https://{secured}/c.tar.gz"), 72, UNTRUSTED),
        row(format!("--context=http://{nobody}/c.tar.gz"), 72, &["`http://`", "must come over https://"]),
        row(
            format!("--context=tar://{sources}/none.tar.gz"),
            76,
            &["none.tar.gz is not usable", "hint: --context=tar://"],
        ),
        row(format!("--context=tar://{sources}/nowhere.tar.gz"), 76, &["/nowhere.tar.gz", "hint: look at the path"]),
        row("--context=stdin".to_owned(), 76, &["no build context", "hint: standard input is --context=tar://stdin"]),
        row("--context=s3://".to_owned(), 72, &["`s3://`", "it names no bucket"]),
        row("--context=gs://".to_owned(), 72, &["`gs://`", "it names no bucket"]),
        row("--context=ftp://a/b".to_owned(), 72, &["`ftp://`", "it may be dir, tar, https, git"]),
        row(format!("--destination={secured}/app:1"), 72, &["not trusted", "--registry-certificate", "UnknownIssuer"]),
        row("--registry-certificate=x=/nope.crt".to_owned(), 72, &["/nope.crt", "No such file"]),
    ]
}

fn of_amazon(address: &str, flag: &str, code: i32, told: &'static [&'static str]) -> Row {
    let variables = vec![
        ("S3_ENDPOINT", address.to_owned()),
        ("S3_FORCE_PATH_STYLE", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AK".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "SK".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    Row { flag: flag.to_owned(), variables, code, told }
}

#[test]
fn a_context_that_cannot_be_had_says_where_why_and_what_to_do() {
    if !Isolation::Namespace.allowed("errors: contexts") {
        return;
    }
    let (sources, nobody, secured) = (sources(), free_address(), Registry::secured());
    let mut rows = of_files_and_servers(&sources.path().display().to_string(), &nobody, &secured.address);
    let refused = &["s3://bucket/x.tar.gz", "bucket/x.tar.gz: no answer", "hint: nobody answers there"];
    rows.push(of_amazon(&format!("http://{nobody}"), "--context=s3://bucket/x.tar.gz", 75, refused));
    let (s3, gcs) = (ObjectStore::s3(), ObjectStore::gcs());
    match &s3 {
        Some(s3) => {
            let told = &["s3://nobucket/x.tar.gz", "nobucket/x.tar.gz: the server answered 404", "NoSuchBucket"];
            rows.push(of_amazon(&s3.url, "--context=s3://nobucket/x.tar.gz", 76, told));
        }
        None => skip("errors: contexts of S3", "moto is not installed: see tests/run.sh"),
    }
    match &gcs {
        Some(gcs) => rows.push(Row {
            variables: vec![("STORAGE_EMULATOR_HOST", gcs.url.clone())],
            ..row("--context=gs://nobucket/x.tar.gz".to_owned(), 76, &["gs://nobucket/x.tar.gz", "answered 404"])
        }),
        None => skip("errors: contexts of Google", "fake-gcs-server is not installed: see tests/run.sh"),
    }
    let (next, wrong) = (Mutex::new(rows.iter()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(row) = { next.lock().expect("nobody panics").next() } {
            wrong.lock().expect("nobody panics").extend(provoke(&sources, row));
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().expect("nobody panicked");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Provokes an error, and returns what is missing in it.
fn provoke(sources: &Scratch, row: &Row) -> Option<String> {
    let mut executor = Executor::new(Isolation::Namespace, sources.path());
    if !row.flag.starts_with("--destination=") {
        executor.add(&["--no-push"]);
    }
    executor.add(&["--push-retry=0", &row.flag]);
    for (name, value) in &row.variables {
        executor.env(name, value);
    }
    let build = executor.run();
    let error = build.stderr.find("error: ").map_or("", |start| &build.stderr[start..]);
    let missing: Vec<&str> = row.told.iter().copied().filter(|told| !error.contains(told)).collect();
    // Each try is told once; no loop stands around another one.
    let tries = build.stderr.matches("tried again").count();
    let is_right = build.code == row.code && missing.is_empty() && tries <= 5;
    (!is_right).then(|| {
        format!("{}: {} not {}, no {missing:?}, {tries} tries:\n{}", row.flag, build.code, row.code, build.stderr)
    })
}
