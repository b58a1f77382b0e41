//! What is installed in an image: the document has what the managers in the image list, none missing and none more, keeps to
//! the schemas, and comes out of every way to an image.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Command;

use serde_json::Value;

use crate::debian;
use crate::pipelines_files::python;
use crate::support::executor::{Build, Executor};
use crate::support::image::Image;
use crate::support::isolation::Isolation;
use crate::support::process::{self, LONG, SHORT};
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::skips::skip;
use crate::support::source::source;

pub(crate) type Names = BTreeSet<(String, String)>;

/// Reads a document that a build wrote, after checking it against its schema.
pub(crate) fn document(build: &Build, name: &str) -> Value {
    let text = build.result(name).unwrap_or_else(|| panic!("no {name}: {}", build.stderr));
    if let Some(python) = python("sbom: schemas") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas/sbom/check.py");
        process::run(Command::new(python).arg(script).arg(build.path(name)), SHORT).success();
    }
    serde_json::from_str(&text).expect("a document is JSON")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns names and versions of the packages whose URL has this type, in either form of a document.
pub(crate) fn packages(document: &Value, kind: &str) -> Names {
    let prefix = format!("pkg:{kind}/");
    if document["bomFormat"] == "CycloneDX" {
        let all = document["components"].as_array().expect("a list").iter();
        let some = all.filter(|one| text(&one["purl"]).starts_with(&prefix));
        let name = |one: &Value| match one["group"].as_str() {
            Some(group) => format!("{group}/{}", text(&one["name"])),
            None => text(&one["name"]),
        };
        return some.map(|one| (name(one), text(&one["version"]))).collect();
    }
    let all = document["packages"].as_array().expect("a list").iter();
    let some = all.filter(|one| text(&one["externalRefs"][0]["referenceLocator"]).starts_with(&prefix));
    some.map(|one| (text(&one["name"]), text(&one["versionInfo"]))).collect()
}

/// Returns the content of a file that one of the image's layers has.
fn file(image: &Image, path: &str) -> String {
    for layer in (0..image.layers.len()).rev() {
        let mut archive = tar::Archive::new(image.open(layer));
        for entry in archive.entries().expect("a layer") {
            let mut entry = entry.expect("a layer");
            if entry.path().expect("a path").to_str() == Some(path) {
                let mut content = String::new();
                entry.read_to_string(&mut content).expect("text");
                return content;
            }
        }
    }
    panic!("{path} is in no layer")
}

pub(crate) fn listed(text: &str, between: char) -> Names {
    let pair = |line: &str| line.split_once(between).map(|(name, version)| (name.trim().into(), version.trim().into()));
    text.lines().filter_map(pair).collect()
}

/// Returns what `npm ls` says is installed below a directory.
fn installed_by_npm(directory: &std::path::Path) -> Names {
    fn collect(value: &Value, names: &mut Names) {
        for (name, one) in value["dependencies"].as_object().into_iter().flatten() {
            names.insert((name.clone(), text(&one["version"])));
            collect(one, names);
        }
    }
    let listed = process::run(Command::new("npm").args(["ls", "--all", "--json"]).current_dir(directory), SHORT);
    let mut names = Names::new();
    collect(&serde_json::from_str(&listed.stdout).expect("npm writes JSON"), &mut names);
    names
}

/// Returns what `gem list` says: `name (2.0, default: 1.1.1)`.
fn listed_by_gem(text: &str) -> Names {
    let of = |line: &str| {
        let (name, versions) = line.trim_end_matches(')').split_once(" (")?;
        let versions = versions.split(", ").map(|version| version.trim_start_matches("default: "));
        Some(versions.map(|version| (name.to_owned(), version.to_owned())).collect::<Vec<_>>())
    };
    text.lines().filter_map(of).flatten().collect()
}

/// What `gem` makes a gem of.
const GEM: &str = "Gem::Specification.new do |s|
  s.name, s.version, s.summary, s.authors, s.license = 'knot', '0.3.1.pre', 'Ties', ['A'], 'MIT'
  s.files = []
end
";

/// Makes the context: packages of npm, installed, and packages of Python to be installed.
fn context(scratch: &Scratch) -> Result<(), String> {
    let (app, wheels) = (scratch.directory("context/app"), scratch.directory("context/wheels"));
    std::fs::write(app.join("package.json"), r#"{"name": "app", "version": "1.0.0"}"#).expect("scratch is writable");
    let npm = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "express@4.18.2", "@sindresorhus/is@4.6.0"];
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "six==1.16.0", "attrs==23.2.0", "idna==3.7"];
    for (program, arguments, directory) in [("npm", &npm[..], &app), ("python3", &pip, &wheels)] {
        let finished = process::run(Command::new(program).args(arguments).current_dir(directory), LONG);
        if finished.code != 0 {
            return Err(format!("{program}: {}", finished.stderr.lines().last().unwrap_or_default()));
        }
    }
    Ok(())
}

#[test]
fn a_debian_image_with_python_ruby_and_npm_has_what_their_managers_list() {
    let what = "sbom: Debian, Python, Ruby, npm";
    if !Isolation::Namespace.allowed(what) {
        return;
    }
    let base = match debian::base() {
        Ok(base) => base,
        Err(reason) => return skip(what, &reason),
    };
    let source = source(
        &format!(
            "FROM {base}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends hello python3-pip ruby && rm -rf /var/lib/apt/lists/*
COPY wheels /wheels
RUN pip install --quiet --break-system-packages --no-index --find-links /wheels six attrs idna && rm -r /wheels
COPY app /app
COPY knot.gemspec /knot/
RUN cd /knot && gem build --quiet knot.gemspec && gem install --quiet --local --no-document knot-*.gem
RUN apt-get purge -y -qq hello && mkdir /lists && cd /lists && \\
    dpkg-query -W -f '${{db:Status-Status}} ${{Package}} ${{Version}}\\n' | sed -n 's/^installed //p' > dpkg && \\
    pip list --format=freeze > pip && gem list --quiet > gem
"
        ),
        &[("knot.gemspec", GEM)],
    );
    if let Err(reason) = context(&source) {
        return skip(what, &reason);
    }
    let kept = Scratch::new("cache");
    let run = |form: &str| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.add(&debian::proxies().iter().map(String::as_str).collect::<Vec<_>>());
        let cache = format!("--cache-repo=oci:{}", kept.path().display());
        executor
            .add(&["--cache", &cache, &format!("--sbom={form}"), "--sbom-attach=false"])
            .output("--sbom-path", "sbom.json");
        let build = executor.only_layout().run().expect(0);
        (document(&build, "sbom.json"), build)
    };
    let (cyclonedx, build) = run("cyclonedx");
    let image = build.image();
    let expected = [
        ("deb", listed(&file(&image, "lists/dpkg"), ' ')),
        ("pypi", listed(&file(&image, "lists/pip").replace("==", " "), ' ')),
        ("gem", listed_by_gem(&file(&image, "lists/gem"))),
        ("npm", installed_by_npm(&source.join("context/app"))),
    ];
    // The second build does nothing, in a state directory of its own: what it knows of layers comes from the cache.
    let (spdx, again) = run("spdx");
    assert_eq!(again.image().digest, image.digest);
    for (kind, expected) in expected {
        assert!(expected.len() > 3, "{kind}: {expected:?}");
        assert_eq!(packages(&cyclonedx, kind), expected, "{kind} in CycloneDX");
        assert_eq!(packages(&spdx, kind), expected, "{kind} in SPDX");
    }
    assert!(!packages(&cyclonedx, "deb").iter().any(|(name, _)| name == "hello"), "it was removed");
    let instruction = |name: &str| {
        let all = cyclonedx["components"].as_array().expect("a list");
        let properties = all.iter().find(|one| one["name"] == name).expect("it is there")["properties"].clone();
        let all = properties.as_array().expect("a list").clone();
        all.iter().find(|one| one["name"] == "yadokari:layer:instruction").map(|one| text(&one["value"]))
    };
    assert!(!instruction("bash").unwrap_or_default().contains("apt-get"), "the base has it");
    assert!(instruction("python3-pip").is_some_and(|text| text.contains("apt-get install")));
    assert!(instruction("knot").is_some_and(|text| text.contains("gem install")));
    assert!(instruction("six").is_some_and(|text| text.contains("pip install")));
    assert!(instruction("express").is_some_and(|text| text.starts_with("COPY app")));
}

const STATUS: &str = "Package: base-files\nStatus: install ok installed\nVersion: 12\nArchitecture: all\n\n";
const RECORDS: [(&str, &str); 3] =
    [("status", STATUS), ("METADATA", "Name: one\nVersion: 1.0\n"), ("Packages", "a database in Berkeley DB's form")];
/// COPY, RUN that adds to a list, RUN that removes, and a database that is not read.
const DOCKERFILE: &str = "FROM $BASE
COPY status /var/lib/dpkg/status
COPY METADATA /lib/one-1.0.dist-info/METADATA
COPY METADATA /lib/gone-1.0.dist-info/METADATA
COPY Packages /var/lib/rpm/Packages
RUN printf 'Package: more\\nStatus: install ok installed\\nVersion: 2\\n' >> /var/lib/dpkg/status && rm -r /lib/gone-1.0.dist-info
RUN mkdir -p /store /z/node_modules/x && printf '{\"name\":\"x\",\"version\":\"1\"}' > /store/blob && ln /store/blob /z/node_modules/x/package.json
";

#[test]
fn the_document_is_the_same_in_every_isolation_and_with_one_snapshot() {
    let source = source(DOCKERFILE, &RECORDS);
    let expected = [("base-files", "12"), ("more", "2")].map(|(name, version)| (name.to_owned(), version.to_owned()));
    for isolation in Isolation::ALL {
        if !isolation.allowed("sbom: every isolation") {
            continue;
        }
        for flags in [&[][..], &["--single-snapshot"]] {
            let mut executor = Executor::new(isolation, source.path());
            executor
                .only_layout()
                .add(flags)
                .add(&["--sbom=cyclonedx", "--sbom-attach=false"])
                .output("--sbom-path", "sbom.json");
            let build = executor.run().expect(0);
            let document = document(&build, "sbom.json");
            let name = isolation.name();
            assert_eq!(packages(&document, "deb"), BTreeSet::from(expected.clone()), "{name} {flags:?}");
            assert_eq!(packages(&document, "pypi").len(), 1, "{name} {flags:?}");
            assert_eq!(packages(&document, "npm").len(), 1, "a hard link to what another name says nothing of");
            let unread = text(&document["metadata"]["properties"][0]["value"]);
            assert!(unread.starts_with("/var/lib/rpm/Packages: "), "{name} {flags:?}: {unread}");
            let digest = text(&document["metadata"]["component"]["version"]);
            assert_eq!(digest, build.image().digest, "{name} {flags:?}");
        }
    }
}

#[test]
fn an_image_that_is_found_and_those_of_platforms_have_documents_too() {
    if !Isolation::Namespace.allowed("sbom: found images, platforms") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM scratch\nCOPY status /var/lib/dpkg/status\n", &RECORDS[..1]);
    let run = |name: &str, flags: &[&str]| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.push_plain(&registry, name).add(flags).add(&["--sbom=spdx"]);
        executor.env("SOURCE_DATE_EPOCH", "1700000000").output("--sbom-path", "sbom.json").run().expect(0)
    };
    let built = run("app:1", &["--skip-existing"]);
    let found = run("app:2", &["--skip-existing"]);
    assert!(found.stderr.contains("already built"), "{}", found.stderr);
    assert_eq!(document(&found, "sbom.json"), document(&built, "sbom.json"));
    assert_eq!(document(&built, "sbom.json")["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    let several = run("app:3", &["--custom-platform=linux/amd64,linux/arm64"]);
    for platform in ["linux-amd64", "linux-arm64"] {
        let document = document(&several, &format!("sbom.{platform}.json"));
        assert_eq!(packages(&document, "deb").len(), 1, "{platform}");
        assert_eq!(document["packages"][0]["comment"], format!("platform {}", platform.replace('-', "/")));
    }
    assert_eq!(several.result("sbom.json"), None);
}

#[test]
fn the_document_refers_to_the_image_and_no_file_of_the_build_is_a_secret_of_it() {
    let what = "sbom: attached";
    if !Isolation::Namespace.allowed(what) {
        return;
    }
    let registry = Registry::plain();
    let source = source(
        "FROM $BASE\nCOPY status /var/lib/dpkg/status\nRUN --mount=type=secret,id=token test -s /run/secrets/token\n",
        &RECORDS[..1],
    );
    for (tag, form, kind) in
        [("a", "spdx", "https://spdx.dev/Document"), ("b", "cyclonedx", "https://cyclonedx.org/bom")]
    {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let secret = executor.credential("token", PASSWORD);
        executor.push_plain(&registry, &format!("app:{tag}")).add(&[&format!("--secret=id=token,src={secret}")]);
        executor.add(&[&format!("--sbom={form}")]).output("--sbom-path", "sbom.json");
        let build = executor.output("--digest-file", "digest").output("--attestations-dir", "said").run().expect(0);
        let said = build.path("said").join(format!("sbom.{form}.json"));
        let statement: Value = serde_json::from_slice(&std::fs::read(said).expect("it is written")).expect("JSON");
        let document = document(&build, "sbom.json");
        assert_eq!(statement["predicate"], document);
        assert_eq!(statement["predicateType"], kind);
        let digest = build.result("digest").expect("a digest");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], digest["sha256:".len()..]);
        // That registry has no list of what refers to an image: a tag leads there.
        let referrers = format!("{}/app:{}", registry.address, digest.replace(':', "-"));
        let inspect = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{referrers}")];
        let index = process::run(Command::new("skopeo").args(inspect), SHORT).success();
        assert!(index.contains(kind), "{index}");
        assert!(!document.to_string().contains(PASSWORD));
    }
}
