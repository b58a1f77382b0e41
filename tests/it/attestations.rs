//! What is said about an image: where it is found, and that it is what happened.

use std::fs;

use serde_json::{Value, json};

use crate::context_archive::sources;
use crate::context_git::repository;
use crate::support::attested::{document, raw, referrers, validate};
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::{PASSWORD, Registry};
use crate::support::scratch::Scratch;
use crate::support::signatures::openssl;
use crate::support::source::{one_file, source};
use crate::support::web::Web;

const SCHEMA: Option<&str> = Some("slsa-provenance-v1.json");
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// A build of everything that provenance can name.
const EVERYTHING: &str = "FROM $BASE AS tools
ARG COLOUR
ARG API_TOKEN
RUN --mount=type=cache,id=pip,target=/c --mount=type=secret,id=key,env=KEY true
FROM scratch
COPY --from=tools /etc/passwd /passwd
COPY --from=extra file /extra
COPY file /file
ADD https://$WEB/files/note.txt /note
ADD https://$WEB/git/repo.git#main /git
";

fn statement(build: &Build, name: &str) -> Value {
    let statement = build.result(&format!("said/{name}")).expect("it is written");
    serde_json::from_str(&statement).expect("JSON")
}

fn digest(build: &Build) -> String {
    build.result("digest").expect("it was pushed")
}

/// A build that pushes to `app:1`, and says something about it.
fn attesting(source: &Scratch, registry: &Registry, arguments: &[&str]) -> Executor {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(registry, "team/app:1").add(arguments);
    executor.output("--digest-file", "digest").output("--attestations-dir", "said");
    executor
}

#[test]
fn provenance_tells_what_was_used_and_no_secret() {
    if !Isolation::Namespace.allowed("attestations: provenance") {
        return;
    }
    let (kept, web, registry) = (sources(), Web::start(), Registry::plain());
    let commit = repository(&kept, &web);
    web.scratch.file("root/note.txt", "a note\n");
    let dockerfile = EVERYTHING.replace("$WEB", &web.address);
    let (source, extra) = (source(&dockerfile, &[("file", "content\n")]), Scratch::new("extra"));
    extra.file("file", "extra\n");
    let login = format!("REGISTRY_URL=https://u:{PASSWORD}@registry.example.com/");
    let mut executor = attesting(&source, &registry, &["--provenance=max", "--build-arg=COLOUR=blue"]);
    let ca = executor.credential("ca.crt", web.ca());
    executor.env("SSL_CERT_FILE", &ca).env("KEY", PASSWORD);
    executor.env("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    executor.add(&["--secret=id=key,env=KEY", &format!("--build-context=extra={}", extra.path().display())]);
    executor.add(&[&format!("--build-arg=API_TOKEN={PASSWORD}"), &format!("--build-arg={login}")]);
    executor.output("--metadata-file", "metadata.json").output("--attestations-file", "attestations");
    executor.output("--tekton-results-dir", "results");
    let build = executor.run().expect(0);
    let statement = statement(&build, "provenance.json");
    validate(&statement, SCHEMA);
    let digest = digest(&build);
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest["sha256:".len()..]);
    let name = statement["subject"][0]["name"].as_str().expect("a name");
    assert!(name.starts_with(&format!("pkg:docker/{}/team/app@1?platform=linux%2F", registry.address)), "{name}");

    let definition = &statement["predicate"]["buildDefinition"];
    let dependencies: Vec<&Value> = definition["resolvedDependencies"].as_array().expect("a list").iter().collect();
    let find =
        |start: &str| dependencies.iter().find(|one| one["uri"].as_str().is_some_and(|uri| uri.starts_with(start)));
    assert!(find("pkg:docker/127.0.0.1").expect("the base")["digest"]["sha256"].is_string(), "{dependencies:?}");
    let note_url = format!("https://{}/files/note.txt", web.address);
    let note = process::run(std::process::Command::new("sha256sum").arg(web.scratch.join("root/note.txt")), SHORT);
    assert_eq!(find(&note_url).expect("the file")["digest"]["sha256"], note.success()[..64]);
    let git = find(&format!("https://{}/git/repo.git#main", web.address)).expect("the repository");
    assert_eq!(git["digest"]["sha1"], commit);
    assert_eq!(find("cache-mount:pip").expect("marked")["annotations"]["mutable"], "true");

    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:COLOUR"], "blue");
    assert_eq!(request["args"]["build-arg:API_TOKEN"], "***");
    assert_eq!(request["args"]["context:extra"], "local:extra");
    assert_eq!(request["secrets"], json!([{"id": "key", "optional": true}]));
    assert_eq!(request["locals"], json!([{"name": "context"}, {"name": "dockerfile"}, {"name": "extra"}]));
    let text = fs::read(source.path().join("Dockerfile")).expect("it is there");
    assert_eq!(definition["externalParameters"]["dockerfile"]["digest"]["sha256"], sha256(&text));
    let details = &statement["predicate"]["runDetails"];
    assert_eq!(details["metadata"]["invocationId"], "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331");
    assert_eq!(details["metadata"]["buildkit_completeness"], json!({"request": true, "resolvedDependencies": false}));
    let source = &details["metadata"]["buildkit_metadata"]["source"]["infos"][0]["data"];
    assert_eq!(
        source.as_str().map(str::to_owned),
        Some(crate::support::registry::base64(&String::from_utf8_lossy(&text)))
    );

    // The registry has the same bytes, found by the image's digest; results name its manifest.
    let listed = referrers(&registry, "team/app", &digest);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["annotations"]["in-toto.io/predicate-type"], PROVENANCE);
    let manifest = listed[0]["digest"].as_str().expect("a digest");
    assert_eq!(document(&registry, "team/app", manifest), statement);
    let artifact = raw(&registry, "team/app", manifest).expect("it is there");
    assert_eq!(
        (&artifact["subject"]["digest"], &artifact["artifactType"]),
        (&json!(digest), &json!("application/vnd.in-toto+json"))
    );
    let named = format!("{}/team/app@{manifest}", registry.address);
    assert_eq!(build.result("attestations"), Some(named.clone()));
    assert_eq!(build.result("results/ATTESTATIONS"), Some(named));
    let metadata: Value = serde_json::from_str(&build.result("metadata.json").expect("written")).expect("JSON");
    assert_eq!(metadata["attestations"][0]["digest"], manifest);
    assert_eq!(metadata["attestations"][0]["predicateTypes"], json!([PROVENANCE]));
}

fn sha256(bytes: &[u8]) -> String {
    crate::support::image::sha256(&mut &*bytes).trim_start_matches("sha256:").to_owned()
}

#[test]
fn without_being_asked_nothing_is_said() {
    if !Isolation::Namespace.allowed("attestations: off") {
        return;
    }
    let (source, registry) = (one_file(), Registry::plain());
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    // Images of the two builds differ otherwise, where a second ends between them.
    let epoch = ("SOURCE_DATE_EPOCH", "1700000000");
    executor.env(epoch.0, epoch.1);
    let build = executor.push_plain(&registry, "team/app:1").output("--digest-file", "digest").run().expect(0);
    assert!(referrers(&registry, "team/app", &digest(&build)).is_empty());
    let mut executor = attesting(&source, &registry, &["--provenance=min", "--build-arg=COLOUR=blue"]);
    let min = executor.env(epoch.0, epoch.1).run().expect(0);
    assert_eq!(digest(&min), digest(&build), "a referrer does not change the image");
    let statement = statement(&min, "provenance.json");
    validate(&statement, SCHEMA);
    assert!(!statement.to_string().contains("blue"), "{statement}");
    let completeness = &statement["predicate"]["runDetails"]["metadata"]["buildkit_completeness"];
    assert_eq!(completeness["request"], false);
}

#[test]
fn an_index_has_attestations_beside_its_images_as_buildkit_puts_them() {
    if !Isolation::Namespace.allowed("attestations: index") {
        return;
    }
    let (source, registry) = (one_file(), Registry::plain());
    let arguments = ["--provenance=min", "--attestation-format=index", "--custom-platform=linux/amd64,linux/arm64"];
    let mut executor = attesting(&source, &registry, &arguments);
    let build = executor.output("--oci-layout-path", "layout").run().expect(0);
    let index = raw(&registry, "team/app", "1").expect("it is there");
    let manifests = index["manifests"].as_array().expect("an index");
    let platforms: Vec<String> = manifests
        .iter()
        .map(|one| {
            format!("{}/{}", one["platform"]["os"].as_str().unwrap(), one["platform"]["architecture"].as_str().unwrap())
        })
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "unknown/unknown", "unknown/unknown"]);
    for (image, beside) in manifests[..2].iter().zip(&manifests[2..]) {
        assert_eq!(beside["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
        assert_eq!(beside["annotations"]["vnd.docker.reference.digest"], image["digest"]);
        let digest = beside["digest"].as_str().expect("a digest");
        let manifest = raw(&registry, "team/app", digest).expect("it is there");
        assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.in-toto+json");
        assert_eq!(manifest["layers"][0]["annotations"]["in-toto.io/predicate-type"], PROVENANCE);
        let statement = document(&registry, "team/app", digest);
        validate(&statement, SCHEMA);
        let image = image["digest"].as_str().expect("a digest");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], image["sha256:".len()..]);
    }
    assert!(build.result("said/linux_arm64/provenance.json").is_some(), "{:?}", build.results());
    // Readers that know nothing of it take the image for their platform.
    let scratch = Scratch::new("pulled");
    registry.pull("team/app:1", scratch.path());
    let layout: Value = serde_json::from_str(&build.result("layout/index.json").expect("a layout")).expect("JSON");
    assert_eq!(layout["manifests"][0]["digest"], digest(&build));
    let blob = manifests[2]["digest"].as_str().expect("a digest").replace(':', "/");
    assert!(build.path("layout/blobs").join(blob).exists(), "the layout has the attestations");
}

/// What `docker buildx imagetools inspect --format '{{ json .SBOM }}'` and `.Provenance` go by: which manifests an index
/// names, by which annotation they belong to an image, which media type and predicate type their layers have, and the
/// predicate in a layer's document.
///
/// Source: buildx, `util/imagetools/loader.go`: `fetch`, `scanSBOM`, `scanProvenance`.
fn as_imagetools(registry: &Registry, repository: &str, tag: &str) -> Value {
    let index = raw(registry, repository, tag).expect("it is there");
    let of = |one: &Value| {
        let names = ["com.docker.reference.digest", "vnd.docker.reference.digest"];
        names.iter().find_map(|name| one["annotations"][*name].as_str().map(str::to_owned))
    };
    let mut found = json!({});
    let manifests = index["manifests"].as_array().expect("an index");
    for image in manifests.iter().filter(|one| of(one).is_none()) {
        let platform = format!("{}/{}", image["platform"]["os"], image["platform"]["architecture"]).replace('"', "");
        for beside in manifests.iter().filter(|one| of(one).as_deref() == image["digest"].as_str()) {
            assert_eq!(beside["mediaType"], "application/vnd.oci.image.manifest.v1+json");
            let manifest =
                raw(registry, repository, beside["digest"].as_str().expect("a digest")).expect("it is there");
            for layer in manifest["layers"].as_array().expect("a list") {
                let kind = layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap_or_default();
                if layer["mediaType"] != "application/vnd.in-toto+json" {
                    continue;
                }
                let text =
                    crate::support::attested::blob(registry, repository, layer["digest"].as_str().expect("a digest"));
                let document: Value = serde_json::from_str(&text).expect("JSON");
                if kind == "https://spdx.dev/Document" {
                    found[&platform]["SBOM"]["SPDX"] = document["predicate"].clone();
                } else if kind.starts_with("https://slsa.dev/provenance/") {
                    found[&platform]["Provenance"]["SLSA"] = document["predicate"].clone();
                }
            }
        }
    }
    found
}

#[test]
fn the_readers_of_buildx_find_provenance_and_packages_of_each_platform() {
    if !Isolation::Namespace.allowed("attestations: imagetools") {
        return;
    }
    let (source, registry) = (one_file(), Registry::plain());
    let arguments =
        ["--provenance=min", "--sbom=spdx", "--attestation-format=index", "--custom-platform=linux/amd64,linux/arm64"];
    attesting(&source, &registry, &arguments).run().expect(0);
    let found = as_imagetools(&registry, "team/app", "1");
    for platform in ["linux/amd64", "linux/arm64"] {
        let (sbom, provenance) = (&found[platform]["SBOM"]["SPDX"], &found[platform]["Provenance"]["SLSA"]);
        assert_eq!(
            (&sbom["SPDXID"], &sbom["spdxVersion"]),
            (&json!("SPDXRef-DOCUMENT"), &json!("SPDX-2.3")),
            "{found:#}"
        );
        assert!(provenance["buildDefinition"]["buildType"].is_string(), "{found:#}");
        assert!(provenance["runDetails"]["builder"]["id"].is_string(), "{found:#}");
    }
}

#[test]
fn archives_and_layouts_have_what_is_said_and_are_pushed_with_it() {
    if !Isolation::Namespace.allowed("attestations: archives") {
        return;
    }
    let registry = Registry::plain();
    for format in ["referrer", "index"] {
        let source = one_file();
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.add(&["--no-push", "--provenance=min", &format!("--attestation-format={format}")]);
        executor.add(&[&format!("--destination={}/packed/{format}:1", registry.address)]);
        let out = executor.output_directory("archive");
        let build = executor.add(&[&format!("--output=type=oci,dest={out}/image.tar")]).run().expect(0);
        let archive = build.path("archive/image.tar").display().to_string();
        let mut push = std::process::Command::new(crate::support::pod::EXECUTOR);
        push.args(["push", &archive, &format!("--destination={}/packed/{format}:1", registry.address)]).env_clear();
        process::run(&mut push, SHORT).success();
        let pushed = raw(&registry, &format!("packed/{format}"), "1").expect("pushed");
        if format == "index" {
            assert_eq!(pushed["manifests"][1]["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
        } else {
            let digest = registry.digest("packed/referrer:1").expect("pushed");
            assert_eq!(referrers(&registry, "packed/referrer", &digest).len(), 1, "{pushed}");
        }
    }
}

#[test]
fn with_an_epoch_an_index_has_the_same_digest_again() {
    if !Isolation::Namespace.allowed("attestations: reproducible") {
        return;
    }
    let (source, registry) = (one_file(), Registry::plain());
    let digests = [0, 1].map(|number| {
        let arguments = ["--provenance=max", "--attestation-format=index", "--reproducible"];
        let trace = format!("00-0af7651916cd43dd8448eb211c8031{number:02}-b7ad6b7169203331-01");
        let build = attesting(&source, &registry, &arguments).env("TRACEPARENT", &trace).run().expect(0);
        let statement = statement(&build, "provenance.json");
        validate(&statement, SCHEMA);
        let metadata = &statement["predicate"]["runDetails"]["metadata"];
        assert_eq!((&metadata["buildkit_reproducible"], &metadata["startedOn"]), (&json!(true), &Value::Null));
        crate::support::steps::next_second();
        digest(&build)
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn the_commit_of_a_git_context_is_told() {
    if !Isolation::Namespace.allowed("attestations: Git") {
        return;
    }
    let (kept, web, registry) = (sources(), Web::start(), Registry::plain());
    let commit = repository(&kept, &web);
    let source = one_file();
    let mut executor = attesting(&source, &registry, &["--provenance=min"]);
    let ca = executor.credential("ca.crt", web.ca());
    let url = format!("--context=git://{}/git/repo.git#refs/heads/main", web.address);
    let build = executor.env("SSL_CERT_FILE", &ca).add(&[&url, "--dockerfile=Dockerfile"]).run().expect(0);
    let statement = statement(&build, "provenance.json");
    validate(&statement, SCHEMA);
    let definition = &statement["predicate"]["buildDefinition"];
    let config = &definition["externalParameters"]["configSource"];
    assert_eq!((&config["digest"]["sha1"], &config["path"]), (&json!(commit), &json!("Dockerfile")));
    assert_eq!(definition["resolvedDependencies"][0]["digest"]["sha1"], commit);
    let metadata = &statement["predicate"]["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_completeness"]["resolvedDependencies"], true, "{statement}");
    assert_eq!(metadata["buildkit_hermetic"], true, "there is no RUN");
}

#[test]
fn what_no_format_holds_is_refused_or_told() {
    if !Isolation::Namespace.allowed("attestations: refused") {
        return;
    }
    let (source, registry) = (one_file(), Registry::plain());
    let arguments = ["--provenance=min", "--attestation-format=index", "--image-format=docker"];
    let refused = attesting(&source, &registry, &arguments).run().expect(72);
    assert!(refused.stderr.contains("--attestation-format=referrer"), "{}", refused.stderr);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(&["--no-push", "--provenance=min", "--destination=registry.example.com/app"]);
    let build = executor.output("--tar-path", "image.tar").run().expect(0);
    assert!(build.stderr.contains("has no place for attestations"), "{}", build.stderr);
}

/// Builds by Docker's words: a layout, and `app:1` at a registry.
fn by_dockers_words(registry: &str, arguments: &[&str]) -> (Scratch, process::Finished) {
    let scratch = Scratch::new("docker");
    scratch.file("context/Dockerfile", "FROM scratch\nCOPY file /file\n");
    scratch.file("context/file", "x");
    let mut command = std::process::Command::new(crate::support::pod::EXECUTOR);
    command.args(["build", "--push", "-t", &format!("{registry}/app:1")]).args(arguments);
    for (flag, name) in [("--digest-file", "digest"), ("--metadata-file", "metadata.json"), ("--state-dir", "state")] {
        command.arg(flag).arg(scratch.join(name));
    }
    command.arg(format!("--output=type=oci,tar=false,dest={}", scratch.join("layout").display()));
    command.arg(format!("--attestations-file={}", scratch.join("attestations").display()));
    command.arg(format!("--insecure-registry={registry}")).arg(scratch.join("context"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("SOURCE_DATE_EPOCH", "1700000000");
    let finished = process::run(&mut command, SHORT);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    (scratch, finished)
}

fn json_of(scratch: &Scratch, name: &str) -> Value {
    serde_json::from_slice(&fs::read(scratch.join(name)).expect("it is there")).expect("JSON")
}

#[test]
fn by_dockers_words_registries_are_offered_provenance_and_may_refuse_it() {
    if !Isolation::Namespace.allowed("attestations: offered") {
        return;
    }
    let registry = Registry::plain();
    let (off, told) = by_dockers_words(&registry.address, &["--provenance=false"]);
    let digest = fs::read_to_string(off.join("digest")).expect("it is there");
    assert!(referrers(&registry, "app", &digest).is_empty(), "{}", told.stderr);

    // Who may push images, and no list of what refers to them, or what is signed of it.
    let key = off.join("release.key").display().to_string();
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]);
    for (refused, signs) in [("/manifests/sha256-", None), (".att", Some(format!("--sign-key={key}")))] {
        let rules = [Rule::new("PUT", refused, Fault::Status(403, ""), usize::MAX)];
        let proxy = Proxy::start(&registry.address, &rules);
        let arguments: Vec<&str> = signs.as_deref().into_iter().collect();
        let (refused, told) = by_dockers_words(&proxy.address, &arguments);
        assert_eq!(told.stderr.matches("pushed without provenance").count(), 1, "{}", told.stderr);
        assert!(told.stderr.contains("--provenance=off"), "{}", told.stderr);
        assert_eq!(json_of(&refused, "metadata.json")["attestations"], json!([]));
        assert!(!refused.join("attestations").exists(), "nothing is named that was refused");
    }

    let (offered, told) = by_dockers_words(&registry.address, &[]);
    assert_eq!(fs::read_to_string(offered.join("digest")).expect("it is there"), digest, "the image stays what it was");
    assert_eq!(registry.digest("app:1").as_deref(), Some(&*digest));
    assert!(!told.stderr.contains("warning"), "{}", told.stderr);
    let listed = referrers(&registry, "app", &digest);
    let provenance = listed.iter().find(|one| one["annotations"]["in-toto.io/predicate-type"] == PROVENANCE);
    let manifest = provenance.expect("it was taken")["digest"].as_str().expect("a digest");
    let statement = document(&registry, "app", manifest);
    validate(&statement, SCHEMA);
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest["sha256:".len()..]);
    assert_eq!(json_of(&offered, "metadata.json")["attestations"][0]["digest"], manifest);
    let named = fs::read_to_string(offered.join("attestations")).expect("it is there");
    assert_eq!(named, format!("{}/app@{manifest}", registry.address));
    let (several, _) = by_dockers_words(&registry.address, &["--platform=linux/amd64,linux/arm64"]);
    assert_eq!(json_of(&several, "metadata.json")["attestations"].as_array().map(Vec::len), Some(2));
    // Who takes the only image of a layout still finds it alone.
    for built in [offered, several] {
        let layout = json_of(&built, "layout/index.json");
        assert_eq!(layout["manifests"].as_array().map(Vec::len), Some(1), "{layout}");
    }
}
