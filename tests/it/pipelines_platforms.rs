//! Several platforms in one call, pushes without a tag, pushes that end half way, and contexts that are clones.

use serde_json::Value;

use crate::support::executor::Executor;
use crate::support::git;
use crate::support::image::json_file;
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::{one_file, source};

fn raw(registry: &Registry, name: &str) -> Value {
    let reference = format!("docker://{}/{name}", registry.address);
    let mut skopeo = std::process::Command::new("skopeo");
    let inspected = process::run(skopeo.args(["inspect", "--raw", "--tls-verify=false", &reference]), SHORT);
    serde_json::from_str(&inspected.success()).expect("JSON")
}

fn tags(registry: &Registry, repository: &str) -> Vec<String> {
    let reference = format!("docker://{}/{repository}", registry.address);
    let mut skopeo = std::process::Command::new("skopeo");
    let listed = process::run(skopeo.args(["list-tags", "--tls-verify=false", &reference]), SHORT);
    let listed: Value = serde_json::from_str(&listed.success()).expect("JSON");
    let tags = listed["Tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut tags: Vec<String> = tags.map(str::to_owned).collect();
    tags.sort();
    tags
}

#[test]
fn several_platforms_are_one_index_and_no_tag_but_its_own() {
    if !Isolation::Namespace.allowed("platforms: index") {
        return;
    }
    let registry = Registry::plain();
    let text = "FROM scratch AS one\nARG TARGETARCH\nCOPY $TARGETARCH /arch\nFROM one\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n";
    let source = source(text, &[("amd64", "a\n"), ("arm64", "b\n")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1").push_plain(&registry, "app:latest").push_plain(&registry, "other/app:1");
    executor.add(&["--platforms", "linux/arm64", "linux/amd64", "linux/arm64", "--end-lists", "--reproducible"]);
    executor.output("--tekton-results-dir", "results").output("--metadata-file", "metadata.json");
    executor.output("--oci-layout-path", "layout");
    let build = executor.run().expect(0);
    let digest = registry.digest("app:1").expect("pushed");
    let result = |name: &str| build.result(&format!("results/{name}"));
    assert_eq!(result("IMAGE_DIGEST"), Some(digest.clone()));
    assert_eq!(result("IMAGE_URL"), Some(registry.repository("app:1")));
    assert_eq!(result("IMAGES").expect("pushed").lines().count(), 3);
    for other in ["app:latest", "other/app:1"] {
        assert_eq!(registry.digest(other), Some(digest.clone()), "{other}");
    }
    assert_eq!(tags(&registry, "app"), ["1", "latest"], "the images have none");
    let index = raw(&registry, "app:1");
    let platform = |image: &Value| image["platform"]["architecture"].as_str().expect("text").to_owned();
    let images = index["manifests"].as_array().expect("an index");
    assert_eq!(images.iter().map(platform).collect::<Vec<_>>(), ["amd64", "arm64"]);
    for image in images {
        let by_digest = format!("app@{}", image["digest"].as_str().expect("text"));
        let place = Scratch::new("layout");
        registry.pull(&by_digest, &place.join("layout"));
        let pulled = crate::support::image::Image::from_layout(&place.join("layout"));
        assert_eq!(pulled.runtime_config()["Labels"]["arch"], platform(image).as_str());
    }
    let layout = json_file(&build.path("layout/index.json"));
    assert_eq!(layout["manifests"][0]["digest"], digest.as_str(), "the layout points to the index");
    let metadata: Value = serde_json::from_str(&build.result("metadata.json").expect("told")).expect("JSON");
    assert_eq!(metadata["images"].as_array().map(Vec::len), Some(2));
    assert!(metadata["steps"].to_string().contains("linux/arm64 one"), "each step says its platform: {metadata}");
    // The same again, the other way round: nothing of it depends on the order.
    let mut again = Executor::new(Isolation::Namespace, source.path());
    again
        .push_plain(&registry, "app:2")
        .add(&["--custom-platform=linux/amd64,linux/arm64", "--reproducible"])
        .run()
        .expect(0);
    assert_eq!(registry.digest("app:2"), Some(digest));
}

#[test]
fn each_platform_begins_with_its_own_files() {
    let registry = Registry::plain();
    let source = source("FROM $BASE\nRUN test ! -e /ran && echo ran > /ran\n", &[]);
    for isolation in [Isolation::Namespace, Isolation::Container] {
        if !isolation.allowed("platforms: files") {
            continue;
        }
        // The base is for amd64 alone, and its programs run for both.
        let mut executor = Executor::new(isolation, source.path());
        executor.push_plain(&registry, "app:1").add(&["--custom-platform=linux/amd64,linux/386"]).run().expect(0);
        let index = raw(&registry, "app:1");
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index}");
    }
}

#[test]
fn a_platform_that_fails_leaves_no_tag_and_no_layout() {
    if !Isolation::Namespace.allowed("platforms: failure") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n", &[("amd64", "a\n")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1").add(&["--custom-platform=linux/amd64,linux/arm64"]);
    executor.output("--oci-layout-path", "layout").output("--digest-file", "digest");
    let build = executor.run().expect(76);
    assert_eq!((registry.digest("app:1"), build.result("digest")), (None, None));
    assert!(build.result("layout/index.json").is_none(), "half a layout");
    assert!(build.stderr.contains("linux/arm64"), "{}", build.stderr);
    let mut archive = Executor::new(Isolation::Namespace, source.path());
    archive.add(&["--custom-platform=linux/amd64,linux/arm64", "--no-push"]).output("--tar-path", "image.tar");
    assert!(archive.run().expect(72).stderr.contains("the image of one platform"));
}

#[test]
fn an_image_for_an_index_gets_no_tag() {
    if !Isolation::Namespace.allowed("platforms: by digest") {
        return;
    }
    let (registry, source) = (Registry::plain(), one_file());
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1").add(&["--push-by-digest"]);
    executor.output("--image-ref-file", "ref").output("--image-url-file", "url");
    let build = executor.run().expect(0);
    let reference = build.result("ref").expect("pushed");
    assert_eq!(registry.digest("app:1"), None);
    assert_eq!(build.result("url"), Some(registry.repository("app")));
    let name = reference.strip_prefix(&format!("{}/", registry.address)).expect("this registry");
    assert_eq!(registry.digest(name).as_deref(), reference.split_once('@').map(|(_, digest)| digest));
    assert!(build.stderr.contains(&format!("Pushed {reference}\n")), "{}", build.stderr);
}

#[test]
fn a_refused_second_destination_says_what_was_pushed() {
    if !Isolation::Namespace.allowed("platforms: second refused") {
        return;
    }
    let (registry, source) = (Registry::plain(), one_file());
    let proxy =
        Proxy::start(&registry.address, &[Rule::new("PUT", "/manifests/2", Fault::Status(403, ""), usize::MAX)]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1").output("--tekton-results-dir", "results");
    executor.add(&[&format!("--destination={}/app:2", proxy.address)]);
    executor.add(&[&format!("--insecure-registry={}", proxy.address), "--skip-push-permission-check"]);
    let build = executor.run().expect(77);
    let told = format!("the image was pushed to {}, and then no further", registry.repository("app:1"));
    assert!(build.stderr.contains(&told), "{}", build.stderr);
    assert!(registry.digest("app:1").is_some());
    assert_eq!(build.result("results/IMAGE_URL"), None, "what is not everywhere is told nowhere");
    assert_eq!(build.result("results/ERROR_KIND").as_deref(), Some("denied"));
}

#[test]
fn a_clone_in_the_workspace_tells_its_commit() {
    if !Isolation::Namespace.allowed("platforms: clone") {
        return;
    }
    let (registry, source) = (Registry::plain(), one_file());
    let made = "git init -q -b main context && cd context && git add . && git commit -qm one && \
                git remote add origin https://user:password@git.example.com/team/app.git && git rev-parse HEAD";
    let commit = git::script(source.path(), made);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.push_plain(&registry, "app:1").output("--tekton-results-dir", "results");
    let build = executor.run().expect(0);
    assert_eq!(build.result("results/CHAINS-GIT_COMMIT"), Some(commit));
    assert_eq!(build.result("results/CHAINS-GIT_URL").as_deref(), Some("https://git.example.com/team/app.git"));
}

#[test]
fn a_context_that_is_not_there_matters_only_where_it_is_read() {
    if !Isolation::Namespace.allowed("platforms: no context") {
        return;
    }
    let source = one_file();
    source.file("Dockerfile", "FROM scratch\nCOPY <<EOF /file\ntext\nEOF\n");
    let run = |source: &Scratch| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.add(&["--context=dir://no/such/workspace", "--no-push"]).run()
    };
    run(&source).expect(0);
    source.file("Dockerfile", "FROM scratch\nCOPY . /\n");
    let build = run(&source).expect(76);
    assert!(build.stderr.contains("no/such/workspace"), "{}", build.stderr);
}
