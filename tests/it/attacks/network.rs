//! Servers that send us elsewhere: to plain HTTP, to another server with what is secret, to the machine's own services.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::registry::{PASSWORD, USER, base64};
use crate::support::scripted::{Scripted, machine_address};
use crate::support::skips;
use crate::support::source::source;

/// A token that is sent in a request's body.
const REFRESH: &str = "refresh-token-of-the-builder";

/// How a server tries to get what is not for it, and what of us it leads on.
struct Trap {
    name: &'static str,
    /// What the registry or web server at `HERE` answers, which leads to `THERE`.
    rules: Value,
    entry: &'static str,
    /// The Dockerfile, and further flags.
    build: (&'static str, &'static [&'static str]),
}

fn traps() -> Vec<Trap> {
    let basic = json!({"WWW-Authenticate": "Basic realm=\"x\""});
    let bearer = json!({"WWW-Authenticate": "Bearer realm=\"https://HERE/token\",service=\"s\""});
    let to = |path: &str| json!({"Location": format!("THERE{path}")});
    let push: (&str, &[&str]) = ("FROM scratch\nCOPY file /file\n", &["--destination=HERE/app:1"]);
    let password = "\"auth\":\"PASSWORD\"";
    vec![
        Trap {
            name: "the registry's base",
            rules: json!([["GET", "/v2/", 302, to("/v2/"), ""]]),
            entry: password,
            build: push,
        },
        Trap {
            name: "the token server",
            rules: json!([["GET", "/v2/", 401, bearer, ""], ["POST", "/token", 307, to("/token"), ""]]),
            entry: "\"identitytoken\":\"refresh-token-of-the-builder\"",
            build: push,
        },
        Trap {
            name: "an upload",
            rules: json!([["GET", "/v2/", 401, basic, ""], ["POST", "/blobs/uploads/", 202, to("/up"), ""],]),
            entry: password,
            build: push,
        },
        Trap {
            name: "a manifest",
            rules: json!([
                ["GET", "/v2/", 401, basic, ""],
                ["HEAD", "/blobs/", 200, {}, ""],
                ["POST", "/blobs/uploads/", 202, {"Location": "/up"}, ""],
                ["PUT", "/manifests/", 307, to("/m"), ""],
            ]),
            entry: password,
            build: push,
        },
        Trap {
            name: "a file of ADD",
            rules: json!([["GET", "/file", 302, to("/file"), ""]]),
            entry: "",
            build: ("FROM scratch\nADD https://user:hermit-crab-shell@HERE/file /file\n", &["--no-push"]),
        },
        Trap {
            name: "a context",
            rules: json!([["GET", "/c.tar", 302, to("/c.tar"), ""]]),
            entry: "",
            build: ("FROM scratch\n", &["--no-push", "--context=https://user:hermit-crab-shell@HERE/c.tar"]),
        },
        Trap {
            name: "a repository",
            rules: json!([["GET", "/info/refs", 302, to("/r.git/info/refs?service=git-upload-pack"), ""]]),
            entry: "",
            build: ("FROM scratch\n", &["--no-push", "--context=https://user:hermit-crab-shell@HERE/r.git"]),
        },
    ]
}

/// Lets a build meet a trap at `here` that leads to `there`; it trusts both.
fn spring(trap: &Trap, here: &Scripted, there: &str, authorities: &[u8]) -> Build {
    let filled = |text: &str| {
        let text = text.replace("THERE", there).replace("HERE", &here.address);
        text.replace("PASSWORD", &base64(&format!("{USER}:{PASSWORD}")))
    };
    here.answers(&serde_json::from_str(&filled(&trap.rules.to_string())).expect("JSON"));
    let (dockerfile, flags) = trap.build;
    let source = source(&filled(dockerfile), &[("file", "content of a layer\n")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let config = format!("{{\"auths\":{{\"{}\":{{{}}}}}}}", here.address, filled(trap.entry));
    let config = executor.credential("config.json", config);
    executor.env("DOCKER_CONFIG", Path::new(&config).parent().and_then(Path::to_str).expect("a directory"));
    let ca = executor.credential("ca.crt", authorities);
    executor.env("SSL_CERT_FILE", &ca);
    let flags: Vec<String> = flags.iter().map(|flag| filled(flag)).collect();
    executor.add(&flags.iter().map(String::as_str).collect::<Vec<_>>()).run()
}

#[test]
fn no_redirect_lowers_the_scheme() {
    if !Isolation::Namespace.allowed("attacks: plain HTTP after TLS") {
        return;
    }
    let (here, there) = (Scripted::tls(), Scripted::plain());
    for trap in traps() {
        let before = here.requests().len();
        let build = spring(&trap, &here, &format!("http://{}", there.address), &here.ca());
        assert_eq!(build.code, 76, "{}: {}", trap.name, build.stderr);
        assert!(build.stderr.contains("TLS"), "{}: {}", trap.name, build.stderr);
        assert!(here.requests().len() > before, "{}: the trap was not met", trap.name);
        assert_eq!(there.requests(), Vec::<Value>::new(), "{}", trap.name);
    }
}

#[test]
fn no_redirect_carries_what_is_secret_to_another_server() {
    if !Isolation::Namespace.allowed("attacks: another server") {
        return;
    }
    let (here, there) = (Scripted::tls(), Scripted::tls());
    // What it would ask for, if anybody came.
    there.answers(&json!([["GET", "", 401, {"WWW-Authenticate": "Basic realm=\"x\""}, ""]]));
    for trap in traps() {
        let seen = there.requests().len();
        let both = [here.ca(), there.ca()].concat();
        let build = spring(&trap, &here, &format!("https://{}", there.address), &both);
        assert_ne!(build.code, 0, "{}: {}", trap.name, build.stderr);
        for request in &there.requests()[seen..] {
            println!("{}: {request}", trap.name);
            assert_eq!(request["credentials"], json!([]), "{}: {request}", trap.name);
            let body = request["body"].as_str().unwrap_or_default();
            assert!(!body.contains(REFRESH), "{}: {request}", trap.name);
        }
    }
}

/// Builds with these flags, pushing nothing.
fn build(dockerfile: &str, flags: &[&str]) -> Build {
    let source = source(dockerfile, &[("file", "file\n")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(flags).run()
}

#[test]
fn nothing_leads_to_link_local_addresses() {
    if !Isolation::Namespace.allowed("attacks: link-local addresses") {
        return;
    }
    let web = Scripted::plain();
    let location = json!({"Location": "http://169.254.169.254/latest/meta-data/iam"});
    web.answers(&json!([["GET", "/v2/", 302, location, ""], ["GET", "/file", 307, location, ""]]));
    let moved = [format!("ADD http://{}/file /x", web.address), format!("FROM {}/base", web.address)];
    let empty = "FROM scratch\nCOPY file /\n";
    let rows: [(&str, &[&str]); 10] = [
        ("FROM scratch\nADD http://169.254.169.254/latest/meta-data/ /x\n", &["--no-push"]),
        ("FROM scratch\nADD http://2852039166/ /x\n", &["--no-push"]),
        ("FROM scratch\nADD http://[::ffff:169.254.169.254]/ /x\n", &["--no-push"]),
        ("FROM scratch\nADD http://[fd00:ec2::254]/ /x\n", &["--no-push"]),
        ("FROM 169.254.169.254/base\n", &["--no-push", "--insecure-pull"]),
        (empty, &["--destination=169.254.169.254:5000/app:1"]),
        (empty, &["--no-push", "--context=https://169.254.169.254/c.tar"]),
        (empty, &["--no-push", "--context=git://169.254.169.254/repository.git"]),
        (&format!("FROM scratch\n{}\n", moved[0]), &["--no-push"]),
        (&format!("{}\n", moved[1]), &["--no-push", "--insecure-pull"]),
    ];
    for (dockerfile, flags) in rows {
        let build = build(dockerfile, flags);
        assert_eq!(build.code, 76, "{dockerfile} {flags:?}: {}", build.stderr);
        assert!(build.stderr.contains("--allow-link-local"), "{dockerfile} {flags:?}: {}", build.stderr);
    }
    assert_eq!(web.requests().len(), 2, "both redirects were met");
}

#[test]
fn a_server_elsewhere_does_not_lead_to_this_machine() {
    let name = "attacks: redirects to this machine";
    let Some(address) = machine_address().filter(|_| Isolation::Namespace.allowed(name)) else {
        return skips::skip(name, "this machine has no address but loopback");
    };
    let (elsewhere, inner) = (Scripted::at(address), Scripted::plain());
    let secret = "what only this machine may read";
    inner.answers(&json!([["GET", "/secret", 200, {}, secret], ["GET", "/token", 200, {}, "{\"token\":\"t\"}"]]));
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", inner.address);
    elsewhere.answers(&json!([
        ["GET", "/file", 302, {"Location": format!("http://{}/secret", inner.address)}, ""],
        ["GET", "/v2/", 401, {"WWW-Authenticate": realm}, ""],
    ]));
    let add = format!("FROM scratch\nADD http://{}/file /file\n", elsewhere.address);
    let base = format!("FROM {}/base\n", elsewhere.address);
    for (dockerfile, allowed) in [(&add, 0), (&base, 77)] {
        let (flags, seen) = (["--no-push", "--insecure-pull"], inner.requests().len());
        let refused = build(dockerfile, &flags);
        assert_eq!(refused.code, 76, "{dockerfile}: {}", refused.stderr);
        assert!(refused.stderr.contains("--allow-link-local"), "{dockerfile}: {}", refused.stderr);
        assert_eq!(inner.requests().len(), seen, "{dockerfile}");
        let code = build(dockerfile, &[&flags[..], &["--allow-link-local"]].concat()).code;
        assert_eq!(code, allowed, "{dockerfile}: what is allowed");
        assert!(inner.requests().len() > seen, "{dockerfile}: what is allowed goes there");
    }
}
