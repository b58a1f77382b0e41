//! Contexts and Dockerfiles behind HTTPS: honest servers, cuts, busy servers, logins, checksums.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::context_archive::{built, expected, sources};
use crate::support::executor::Executor;
use crate::support::image::sha256;
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::registry::{PASSWORD, USER};
use crate::support::scratch::Scratch;
use crate::support::web::Web;

fn executor(isolation: Isolation, sources: &Scratch, web: &Web) -> Executor {
    let mut executor = Executor::new(isolation, sources.path());
    let ca = executor.credential("ca.crt", web.ca());
    executor.env("SSL_CERT_FILE", &ca);
    executor
}

fn served(sources: &Scratch) -> Web {
    let web = Web::start();
    fs::copy(sources.join("c.tar.gz"), web.scratch.join("root/c.tgz")).expect("scratch is writable");
    web
}

#[test]
fn archives_come_from_good_and_bad_servers() {
    let sources = sources();
    let web = served(&sources);
    let digest = sha256(&mut fs::File::open(sources.join("c.tar.gz")).expect("it is made")).replace(':', "=");
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("context: https")) {
        let image = expected(&sources);
        for way in ["files", "plain", "cut", "busy", "moved"] {
            let mut executor = executor(isolation, &sources, &web);
            executor.output("--metadata-file", "metadata.json");
            let url = format!("https://{}/{way}/c.tgz", web.address);
            assert_eq!(built(&mut executor, &format!("{url}#{digest}")), image, "{way} in {}", isolation.name());
        }
    }
}

/// As where a directory of certificates is closed to the pod's user.
#[test]
fn that_no_authority_could_be_read_is_told() {
    if !Isolation::Namespace.allowed("context: no authorities") {
        return;
    }
    let sources = sources();
    let web = served(&sources);
    let mut executor = executor(Isolation::Namespace, &sources, &web);
    executor.env("SSL_CERT_FILE", "/dev/null").add(&[
        "--no-push",
        "--context",
        &format!("https://{}/files/c.tgz", web.address),
    ]);
    let build = executor.run().expect(72);
    assert!(build.stderr.contains("no certificate of any authority could be read"), "{}", build.stderr);
}

#[test]
fn logins_come_from_the_environment_the_url_and_netrc() {
    if !Isolation::Namespace.allowed("context: https logins") {
        return;
    }
    let sources = sources();
    let (web, image) = (served(&sources), expected(&sources));
    let url = format!("https://{}/auth/c.tgz", web.address);
    for variables in
        [&[("CONTEXT_BEARER_TOKEN", PASSWORD)][..], &[("CONTEXT_USERNAME", USER), ("CONTEXT_PASSWORD", PASSWORD)]]
    {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        for (name, value) in variables {
            executor.env(name, value);
        }
        assert_eq!(built(&mut executor, &url), image);
    }
    let mut with_netrc = executor(Isolation::Namespace, &sources, &web);
    with_netrc.credential(".netrc", format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n"));
    assert_eq!(built(with_netrc.at_home(), &url), image);
    let with_user = url.replace("https://", &format!("https://{USER}:{PASSWORD}@"));
    assert_eq!(built(&mut executor(Isolation::Namespace, &sources, &web), &with_user), image);
}

#[test]
fn failures_have_their_exit_codes() {
    if !Isolation::Namespace.allowed("context: https failures") {
        return;
    }
    let sources = sources();
    let web = served(&sources);
    let address = &web.address;
    let wrong = "0".repeat(64);
    for (context, code, text) in [
        (format!("https://{address}/auth/c.tgz"), 77, "without credentials"),
        (format!("https://{address}/files/none"), 76, "404"),
        (format!("https://{address}/files/c.tgz#sha256={wrong}"), 76, "was asked for"),
        ("https://nowhere.invalid/c.tgz".to_owned(), 76, "nowhere.invalid"),
    ] {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        executor.only_layout().add(&[&format!("--context={context}")]).output("--metadata-file", "metadata.json");
        let build = executor.run().expect(code);
        assert!(build.stderr.contains(text), "{context}: {}", build.stderr);
    }
}

#[test]
fn a_remote_dockerfile_has_its_own_ignore_file() {
    if !Isolation::Namespace.allowed("context: remote Dockerfile") {
        return;
    }
    let sources = sources();
    let web = Web::start();
    web.scratch.file("root/Dockerfile", "FROM scratch\nCOPY . /\n");
    let digest = |web: &Web| {
        let mut executor = executor(Isolation::Namespace, &sources, web);
        let context = sources.join("context").display().to_string();
        let url = format!("--dockerfile=https://{}/files/Dockerfile", web.address);
        executor.only_layout().add(&[&format!("--context={context}"), &url, "--reproducible"]);
        executor.run().expect(0).image().digest
    };
    let without = digest(&web);
    assert_eq!(without, expected(&sources), "the context's own ignore file holds");
    web.scratch.file("root/Dockerfile.dockerignore", "d\n");
    assert_ne!(digest(&web), without, "its own goes before");
}

#[test]
fn the_metadata_tells_what_the_context_was() {
    if !Isolation::Namespace.allowed("context: metadata") {
        return;
    }
    let sources = sources();
    let web = served(&sources);
    let mut executor = executor(Isolation::Namespace, &sources, &web);
    executor.only_layout().output("--metadata-file", "metadata.json");
    executor.add(&[&format!("--context=https://{}/files/c.tgz?token=secret", web.address), "--dockerfile=Dockerfile"]);
    let build = executor.run().expect(0);
    let text = build.result("metadata.json").expect("asked for");
    let metadata: Value = serde_json::from_str(&text).expect("JSON");
    assert!(metadata["context"]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{text}");
    assert!(metadata["context"]["url"].as_str().is_some_and(|url| url.contains("c.tgz")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

/// What the server says of all files: `Last-Modified`.
const MODIFIED: &str = "1994-11-06T08:49:37Z";

/// The time of an image may be a default of the Dockerfile, or that of the context or of what one stage adds.
#[test]
fn source_date_epoch_may_be_a_name() {
    if !Isolation::Namespace.allowed("context: SOURCE_DATE_EPOCH") {
        return;
    }
    let (sources, web) = (sources(), Web::start());
    let script = "echo a > a; touch -d @999999999 a; tar -cf c.tar a; cp c.tar here.tar; mkdir here; mv a here";
    process::run(Command::new("sh").args(["-euc", script]).current_dir(web.scratch.join("root")), SHORT).success();
    let url = format!("https://{}/files/c.tar", web.address);
    let archive = format!("tar://{}", web.scratch.join("root/here.tar").display());
    let here = web.scratch.join("root/here").display().to_string();
    let added = format!("ARG NAME=c.tar\nFROM scratch AS when\nARG NAME\nADD {} /\n", url.replace("c.tar", "$NAME"));
    let build = |before: &str, context: &str, argument: &str, code: i32| {
        let dockerfile = sources.file("Dockerfile.epoch", format!("{before}FROM scratch\nCOPY a /\n"));
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        executor.only_layout().add(&[
            &format!("--context={context}"),
            &format!("--dockerfile={}", dockerfile.display()),
            argument,
        ]);
        executor.run().expect(code)
    };
    let created = |before: &str, context: &str, argument: &str| {
        build(before, context, argument, 0).image().config["created"].as_str().unwrap_or_default().to_owned()
    };
    let default = "ARG SOURCE_DATE_EPOCH=1704067200\n";
    let of_stage = "--build-arg=SOURCE_DATE_EPOCH=when";
    let of_context = "--build-arg=SOURCE_DATE_EPOCH=context";
    assert_eq!(created(default, &here, "--offline"), "2024-01-01T00:00:00Z");
    assert_eq!(created(default, &here, "--build-arg=SOURCE_DATE_EPOCH=1"), "1970-01-01T00:00:01Z");
    assert_eq!(created("", &archive, of_context), "2001-09-09T01:46:39Z", "the newest file");
    assert_eq!(created("ARG SOURCE_DATE_EPOCH=context\n", &url, "--reproducible"), MODIFIED);
    assert_eq!(created(&added, &here, of_stage), MODIFIED);
    let unset = build("", &here, of_context, 0);
    assert!(unset.stderr.contains("SOURCE_DATE_EPOCH stays unset"), "{}", unset.stderr);
    let unknown = build("", &here, "--build-arg=SOURCE_DATE_EPOCH=other", 76);
    assert!(unknown.stderr.contains("SOURCE_DATE_EPOCH is `other`"), "{}", unknown.stderr);
    let more = build(&added.replace("ADD", "WORKDIR /x\nADD"), &here, of_stage, 76);
    assert!(more.stderr.contains("names the stage `when`"), "{}", more.stderr);
}
