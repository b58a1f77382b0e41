//! Shapes of command lines that people have for kaniko, in the words that a pipeline passes. Each is taken.

use std::ffi::OsString;

use super::{Resolved, resolve};
use crate::cli::args::{Invocation, read};
use crate::cli::env::{Environment, Moment};

fn resolved(words: &[&str]) -> Resolved {
    let all = ["executor"].iter().chain(words).map(OsString::from).collect();
    let args = match read(all).1 {
        Ok(Invocation::Build(args)) => args,
        other => panic!("{words:?}: {other:?}"),
    };
    let moment = Moment { now: 0, token: "token".to_owned() };
    let environment = Environment::new([], "/work".into(), moment, false);
    resolve(&args, &environment).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

#[test]
fn command_lines_that_people_have_are_taken() {
    let rows: &[&[&str]] = &[
        &["", "--dockerfile=Dockerfile", "-d=r.io/a"],
        &["--dockerfile", "./Dockerfile", "--context", "dir://workspace", "--destination", "r.io/a"],
        &["--context=dir:///workspace/", "--destination=r.io/a", "--cache", "true", "--cache-ttl", "6h"],
        &["--destination=r.io/a", "--cache=true", "--cache-dir=/cache", "--cache-repo=oci:/cache/repo"],
        &["--no-push", "--digest-file=/dev/stdout", "--metadata-file=/dev/stdout"],
        &[
            "--destination=r.io/a",
            "--digest-file=/dev/termination-log",
            "--image-name-with-digest-file=/dev/termination-log",
        ],
        &["--destination=r.io/a", "--build-arg X=y", "--build-arg", "Z"],
        &["--destination=r.io/a", "--build-arg=JSON={\"a\": \"b, c\"}", "--build-arg", "EMPTY=", "--build-arg="],
        &["--destination=r.io/a", "--target", "", "--custom-platform=", "--label", "", "--cache-repo="],
        &["--destination=r.io/a", "--destination="],
        &["-f=Dockerfile", "-c=.", "-v=info", "-d=r.io/a"],
        &["--destination=r.io/a", "--verbosity=Debug", "--log-format=text", "--log-timestamp=false"],
        &["--destination=r.io/a", "--cache=True", "--reproducible=FALSE", "--single-snapshot=1"],
        &[
            "--destination=r.io/a",
            "--snapshotMode=redo",
            "--whitelist-var-run",
            "--use-new-run",
            "--compressed-caching=false",
        ],
        &[
            "--destination=r.io/a",
            "--registry-mirror=mirror.gcr.io",
            "--insecure-registry=registry:5000",
            "--skip-tls-verify-registry",
            "q:1",
        ],
        &[
            "--destination=r.io/a",
            "--git",
            "branch=main,single-branch=true",
            "--context=git://git.example.com/team/app",
        ],
        &[
            "--context=git://git.example.com/team/app.git#refs/heads/main#0123456789abcdef0123456789abcdef01234567",
            "-d",
            "r.io/a",
        ],
        &["--destination=r.io/a", "--ignore-path=/product_uuid", "--ignore-path", "/var/run", "--ignore-path="],
        &["--no-push", "--destination=image", "--tarPath=image.tar"],
        &["--destination=r.io/a", "--customPlatform=linux/arm64", "--force", "--cleanup"],
        &["--destination=r.io/a:1", "--destination=r.io/a:latest", "--image-name-tag-with-digest-file=/tmp/i"],
        &["--context", "/workspace", "--context-sub-path", "./app", "--dockerfile", "app/Dockerfile", "-d", "r.io/a"],
        &[
            "--destination=r.io/a",
            "--kaniko-dir=/kaniko",
            "--image-fs-extract-retry",
            "3",
            "--push-retry=3",
            "--image-download-retry=2",
        ],
        &["--destination=r.io/a", "--target=a,b"],
    ];
    for words in rows {
        resolved(words);
    }
}

#[test]
fn what_they_say_is_what_is_meant() {
    let request = resolved(&[
        "-d=r.io/a",
        "--build-arg X=y z",
        "--build-arg=E=",
        "--label=l=\"m\"",
        "--cache-repo=",
        "--cache true",
    ])
    .request;
    assert_eq!(format!("{:?}", request.build_args), r#"{"E": "", "X": "y z"}"#);
    assert_eq!(format!("{:?}", request.labels), r#"{"l": "\"m\""}"#);
    assert_eq!(request.cache.repository.map(|name| name.name()).as_deref(), Some("r.io/a/cache"));
    let keeps = |context: &str| match resolved(&["--no-push", "-c", context]).request.context {
        crate::request::ContextSource::Git(source) => source.keep_git_directory,
        other => panic!("{other:?}"),
    };
    assert_eq!(["git://h/a", "https://h/a.git", "git@h:a"].map(keeps), [true, false, false], "kaniko keeps .git");
    let without = resolved(&["--no-push", "-c=git://h/a", "--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=0"]);
    assert!(
        matches!(without.request.context, crate::request::ContextSource::Git(source) if !source.keep_git_directory)
    );
}
