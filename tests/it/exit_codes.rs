//! One cause, one code: each line of the table in `docs/errors.md` is provoked, by everybody who can meet it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::executor::{Build, Executor};
use crate::support::image::sha256;
use crate::support::isolation::Isolation;
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{Registry, free_address};
use crate::support::scratch::Scratch;
use crate::support::scripted::{Scripted, machine_address};
use crate::support::skips;
use crate::support::source::source;

/// What was done, and how it ended.
type Ends = Vec<(String, Build)>;

/// How a line of the table is proven.
enum Proof {
    /// By running this.
    Here(fn() -> Ends),
    /// By a test of a file below the repository's root.
    In(&'static str, &'static str),
}

use Proof::{Here, In};

const ONE_FILE: &str = "FROM scratch\nCOPY file /file\n";

/// The causes, as the table has them, and how they are provoked.
const CAUSES: &[(&str, Proof)] = &[
    (
        "the server's certificate is not trusted",
        Here(|| {
            let server = Scripted::tls();
            everybody("https", &server.address, &[])
        }),
    ),
    ("the server speaks plain HTTP, and TLS was asked for", Here(plain_http)),
    ("there is no such host", Here(|| everybody("https", "host.invalid", &[]))),
    ("nobody listens there", Here(|| everybody("https", &free_address(), &[]))),
    (
        "the server answers 503, after all retries",
        Here(|| answered(&json!(["GET", "", 503, {}, ""]), &["push", "result", "context"])),
    ),
    ("the server never answers", In("src/http/testing.rs", "a_silent_server_is_given_up_in_the_time_of_the_series")),
    (
        "credentials are refused",
        Here(|| {
            answered(
                &json!(["GET", "", 401, {"WWW-Authenticate": "Basic realm=\"x\""}, ""]),
                &["push", "result", "context"],
            )
        }),
    ),
    (
        "an image does not meet the rules of `--verify-base`",
        In("tests/it/signing.rs", "bases_that_do_not_meet_the_policy_end_the_build_before_anything_runs"),
    ),
    ("a link-local address, or a redirect to this machine", Here(|| everybody("https", "169.254.169.254", &[]))),
    ("a redirect to plain HTTP", In("tests/it/attacks/network.rs", "no_redirect_lowers_the_scheme")),
    // A push and a result are refused by a server that does not know the place: that is another cause.
    (
        "there is no such image, file, repository or branch",
        Here(|| answered(&json!(["GET", "/nowhere", 404, {}, ""]), &["push", "result", "context"])),
    ),
    ("the image is for other platforms only", Here(|| unfit(&["platform"]))),
    (
        "what is named as an image is none: a chart, schema 1, a malformed configuration",
        Here(|| unfit(&["chart", "schema 1", "configuration"])),
    ),
    ("content of a registry has another digest than its name", Here(damaged)),
    ("an archive, or a layer, is cut off or no archive", Here(cut_off)),
    ("a registry does not take what is pushed", Here(read_only)),
    ("an output or a result file cannot be written", Here(outputs)),
    (
        "the state directory cannot be written",
        Here(|| vec![run("state", ONE_FILE, &["--no-push", "--state-dir=/proc/state"])]),
    ),
    ("the Dockerfile is not there, malformed, or copies what is not there", Here(dockerfiles)),
    ("a mount has an impossible target", Here(mounts)),
    (
        "a flag is unknown, or has no such value",
        Here(|| vec![run("unknown", ONE_FILE, &["--no-such-flag"]), run("value", ONE_FILE, &["--compression=lzw"])]),
    ),
    ("RUN ended with 42", Here(|| vec![run("RUN", "FROM $BASE\nRUN exit 42\n", &["--no-push"])])),
    ("RUN was killed by signal 9", Here(|| vec![run("RUN", "FROM $BASE\nRUN kill -9 $$\n", &["--no-push"])])),
    (
        "the time of `--timeout` is over",
        Here(|| vec![run("RUN", "FROM $BASE\nRUN sleep 60\n", &["--no-push", "--timeout=2s"])]),
    ),
];

/// Builds a Dockerfile with these flags.
fn run(name: &str, dockerfile: &str, flags: &[&str]) -> (String, Build) {
    let source = source(dockerfile, &[("file", "file\n")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    (name.to_owned(), executor.add(flags).run())
}

/// Lets everybody who speaks to servers meet one; those that are named are left out.
fn everybody(scheme: &str, address: &str, but: &[&str]) -> Ends {
    let url = |path: &str| format!("{scheme}://{address}/nowhere/{path}");
    let plain: &[&str] = if scheme == "http" { &["--insecure", "--insecure-pull"] } else { &[] };
    let (from, copy) = (format!("FROM {address}/app:1\n"), format!("FROM scratch\nCOPY --from={address}/app:1 / /\n"));
    let rows: [(&str, &str, &[&str]); 8] = [
        ("base", &from, &["--no-push"]),
        ("COPY --from", &copy, &["--no-push"]),
        ("push", ONE_FILE, &[&format!("--destination={address}/app:1")]),
        (
            "push without a question",
            ONE_FILE,
            &[&format!("--destination={address}/app:1"), "--skip-push-permission-check"],
        ),
        ("Git", ONE_FILE, &["--no-push", &format!("--context={}", url("repository.git"))]),
        ("context", ONE_FILE, &["--no-push", &format!("--context={}", url("c.tar.gz"))]),
        ("ADD", &format!("FROM scratch\nADD {} /file\n", url("file")), &["--no-push"]),
        ("result", ONE_FILE, &["--no-push", &format!("--digest-file={}", url("digest"))]),
    ];
    let rows = rows.into_iter().filter(|(name, ..)| !but.iter().any(|but| name.starts_with(but)));
    // Most of the time is spent with waiting between attempts.
    std::thread::scope(|scope| {
        let started: Vec<_> = rows
            .map(|(name, dockerfile, flags)| scope.spawn(move || run(name, dockerfile, &[flags, plain].concat())))
            .collect();
        started.into_iter().map(|build| build.join().expect("it ran")).collect()
    })
}

/// Lets everybody meet a server that answers each GET so; contexts never come by plain HTTP.
fn answered(rule: &Value, but: &[&str]) -> Ends {
    let server = Scripted::plain();
    server.answers(&json!([rule]));
    everybody("http", &server.address, but)
}

fn plain_http() -> Ends {
    let Some(address) = machine_address() else {
        skips::skip("exit codes: plain HTTP elsewhere", "this machine has no address but loopback");
        return Vec::new();
    };
    let server = Scripted::at(address);
    everybody("https", &server.address, &[])
}

/// Returns a descriptor of a text.
fn described(text: &str, media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": sha256(&mut text.as_bytes()), "size": text.len()})
}

/// Serves one image whose configuration and layers are these texts.
fn serve(registry: &Scripted, config: (&str, &str), layers: &[&str]) {
    let layer = |text: &&str| described(text, "application/vnd.oci.image.layer.v1.tar");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described(config.0, config.1), "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    let kind = json!({"Content-Type": "application/vnd.oci.image.manifest.v1+json"});
    let mut rules = vec![json!(["GET", "/manifests/", 200, kind, manifest.to_string()])];
    let blobs = layers.iter().copied().chain([config.0]);
    rules.extend(blobs.map(|text| json!(["GET", sha256(&mut text.as_bytes()), 200, {}, text])));
    rules.push(json!(["GET", "/v2/", 200, {}, ""]));
    registry.answers(&rules.into());
}

fn unfit(kinds: &[&str]) -> Ends {
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    let registry = Scripted::plain();
    let mut ends = Vec::new();
    for kind in kinds {
        match *kind {
            "chart" => serve(
                &registry,
                ("{\"name\":\"c\",\"version\":\"1\"}", "application/vnd.cncf.helm.config.v1+json"),
                &[],
            ),
            "configuration" => serve(&registry, ("[]", CONFIG), &[]),
            "platform" => {
                let index = json!({"schemaVersion": 2, "manifests": [{
                    "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2, "digest": sha256(&mut &b"{}"[..]),
                    "platform": {"os": "linux", "architecture": "s390x"},
                }]});
                let kind = json!({"Content-Type": "application/vnd.oci.image.index.v1+json"});
                registry
                    .answers(&json!([["GET", "/manifests/", 200, kind, index.to_string()], ["GET", "", 200, {}, ""]]));
            }
            _ => {
                let kind = json!({"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"});
                let manifest = "{\"schemaVersion\":1,\"name\":\"app\",\"tag\":\"1\",\"fsLayers\":[]}";
                registry.answers(&json!([["GET", "/manifests/", 200, kind, manifest], ["GET", "", 200, {}, ""]]));
            }
        }
        let name = format!("{}/app:1", registry.address);
        ends.push(run(kind, &format!("FROM {name}\nCOPY file /\n"), &["--no-push"]));
        ends.push(run(kind, &format!("FROM scratch\nCOPY --from={name} /x /\n"), &["--no-push"]));
    }
    ends
}

fn damaged() -> Ends {
    let base = crate::support::bases::base("BASE");
    let shared = &crate::support::registry::shared().address;
    let proxy = Proxy::start(shared, &[Rule::new("GET", "/blobs/", Fault::Corrupt, usize::MAX)]);
    let through = base.reference.replace(shared.as_str(), &proxy.address);
    vec![
        run("base", &format!("FROM {through}\nRUN true\n"), &["--no-push"]),
        run("COPY --from", &format!("FROM scratch\nCOPY --from={through} /bin /bin\n"), &["--no-push"]),
    ]
}

fn cut_off() -> Ends {
    let sources = Scratch::new("cut");
    let whole = crate::support::git::script(
        sources.path(),
        "mkdir d; head -c 100000 /dev/urandom >d/f; tar -czf w d; head -c 50000 w >cut.tar.gz; head -c 50000 d/f >none.tar; pwd",
    );
    println!("archives in {whole}");
    let context = |name: &str| format!("--context=tar://{}", sources.join(name).display());
    let mut ends = Vec::new();
    for name in ["cut.tar.gz", "none.tar"] {
        ends.push(run(&format!("context {name}"), ONE_FILE, &["--no-push", &context(name)]));
    }
    let add = source("FROM scratch\nADD cut.tar.gz /\n", &[]);
    add.file("context/cut.tar.gz", fs::read(sources.join("cut.tar.gz")).expect("it is made"));
    ends.push(("ADD".to_owned(), Executor::new(Isolation::Namespace, add.path()).add(&["--no-push"]).run()));
    let registry = Scripted::plain();
    let text = "no archive, whatever the manifest says".repeat(40);
    let diff_id = sha256(&mut text.as_bytes());
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    serve(&registry, (&config.to_string(), "application/vnd.oci.image.config.v1+json"), &[&text]);
    let name = format!("{}/app:1", registry.address);
    for (what, lines) in [("RUN", "RUN true"), ("COPY", "COPY file /d/")] {
        ends.push(run(what, &format!("FROM --platform=linux/amd64 {name}\n{lines}\n"), &["--no-push"]));
    }
    ends.push(run("COPY --from", &format!("FROM scratch\nCOPY --from={name} /x /\n"), &["--no-push"]));
    ends
}

fn read_only() -> Ends {
    let registry = Registry::read_only();
    let destination = format!("--destination={}/app:1", registry.address);
    vec![
        run("push", ONE_FILE, &[&destination]),
        run("push without a question", ONE_FILE, &[&destination, "--skip-push-permission-check"]),
    ]
}

fn outputs() -> Ends {
    let flags =
        ["--oci-layout-path", "--tar-path", "--digest-file", "--metadata-file", "--image-name-with-digest-file"];
    let built = |flag: &&str| {
        let mut flags = vec!["--no-push".to_owned(), "--destination=registry.example.com/app:1".to_owned()];
        flags.push(format!("{flag}=/proc/nowhere/file"));
        run(flag, ONE_FILE, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    };
    flags.iter().map(built).collect()
}

fn dockerfiles() -> Ends {
    vec![
        run("no Dockerfile", ONE_FILE, &["--no-push", "--dockerfile=nowhere"]),
        run("malformed", "FROM scratch\nNONSENSE\n", &["--no-push"]),
        run("COPY", "FROM scratch\nCOPY nowhere /\n", &["--no-push"]),
    ]
}

fn mounts() -> Ends {
    let mounts = [
        "type=tmpfs,target=/bin/busybox/below",
        "type=bind,target=/bin/busybox/below",
        "type=cache,target=/bin/busybox/below",
        "type=bind,source=file,target=/bin",
    ];
    let built = |mount: &&str| run(mount, &format!("FROM $BASE\nRUN --mount={mount} true\n"), &["--no-push"]);
    mounts.iter().map(built).collect()
}

/// Reads the table of `docs/errors.md`: causes with their codes.
fn table() -> BTreeMap<String, i32> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md")).expect("it is there");
    let start = text.find("## One cause, one code").expect("the section is there");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text[start..].lines().map(cells).filter(|cells| cells.len() == 4);
    rows.filter_map(|cells| Some((cells[1].clone(), cells[2].parse().ok()?))).collect()
}

#[test]
fn each_cause_of_the_table_has_its_code_whoever_meets_it() {
    let table = table();
    assert!(
        table
            .keys()
            .map(String::as_str)
            .eq(CAUSES.iter().map(|(cause, _)| *cause).collect::<std::collections::BTreeSet<_>>())
    );
    if !Isolation::Namespace.allowed("exit codes") {
        return;
    }
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> =
            CAUSES.iter().map(|(cause, proof)| scope.spawn(|| prove(cause, table[*cause], proof))).collect();
        started.into_iter().flat_map(|proven| proven.join().expect("it ran")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns what ends otherwise than with the code.
fn prove(cause: &str, code: i32, proof: &Proof) -> Vec<String> {
    match proof {
        In(file, test) => {
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
            let is_there = text.contains(&format!("fn {test}() {{"));
            if is_there { Vec::new() } else { vec![format!("{cause}: there is no {test} in {file}")] }
        }
        Here(provoke) => {
            let ends = provoke();
            let wrong = ends.into_iter().filter(|(_, build)| build.code != code);
            wrong
                .map(|(name, build)| format!("{cause}: {name}: {} instead of {code}\n{}", build.code, build.stderr))
                .collect()
        }
    }
}
