//! What a release is made of: signatures and what they say, SBOMs, Tekton's bundle, packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::pipelines_images::document;
use crate::release::{Release, release};
use crate::support::image::{Image, json_file};
use crate::support::process::{self, Finished, SHORT};
use crate::support::scratch::Scratch;
use crate::support::signatures::{ecdsa, openssl, path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Lists the images that a release says are its own, by reference with tag and digest.
fn images(release: &Release) -> Vec<String> {
    let text = fs::read_to_string(release.file("images.txt")).expect("they are listed");
    text.lines().map(str::to_owned).collect()
}

fn verify(release: &Release, image: &str, key: &str, more: &[&str]) -> Finished {
    let insecure = format!("--insecure-registry={}", release.registry.address);
    crate::signing::run(&release.registry, &[&["verify", image, "--key", key, &insecure], more].concat(), &[])
}

#[test]
fn images_statements_and_checksums_of_a_release_are_signed() {
    let Some(release) = release("release: signatures") else { return };
    let scratch = Scratch::new("signed");
    let public = release.file("yadokari.pub").display().to_string();
    let (_, others) = ecdsa(&scratch, "others");
    let images = images(release);
    let listed: Vec<&str> =
        images.iter().filter_map(|image| image.split("/tools/").nth(1)?.split('@').next()).collect();
    let of = |suffix: &str| format!("executor:{VERSION}{suffix}");
    assert_eq!(listed, [of(""), of("-debug"), of("-ci"), format!("tekton:{VERSION}")]);
    for image in &images {
        verify(release, image, &public, &[]).success();
    }
    assert_eq!(verify(release, &images[0], &others, &[]).code, 78, "another key will do, too");

    // The image of a platform, which the index leads to, is signed and described, too.
    let platform = release.registry.repository(&format!("tools/executor:{VERSION}-amd64"));
    verify(release, &platform, &public, &[]).success();
    for (kind, word) in
        [("https://spdx.dev/Document", "pkg:cargo/git2@0.21.0"), ("https://slsa.dev/provenance/v1", "Containerfile")]
    {
        let said = verify(release, &platform, &public, &["--predicate-type", kind, "--json"]).success();
        assert!(said.contains(word), "{word} is not in\n{said}");
    }
    let list = json_file(&release.file(&format!("yadokari-{VERSION}-linux-amd64.spdx.json")));
    let packages = list["packages"].as_array().expect("it lists packages");
    assert!(packages.iter().any(|package| package["name"] == "git2"), "{list}");

    let sums = release.file("SHA256SUMS").display().to_string();
    let encoded = release.file("SHA256SUMS.sig").display().to_string();
    let signature = path(&scratch, "signature");
    openssl(&["base64", "-d", "-A", "-in", &encoded, "-out", &signature]);
    openssl(&["dgst", "-sha256", "-verify", &public, "-signature", &signature, &sums]);
    let all = fs::read_to_string(sums).expect("it is there");
    for file in fs::read_dir(release.file("")).expect("a directory").flatten() {
        let name = file.file_name().into_string().expect("it is text");
        assert!(name.starts_with("SHA256SUMS") || all.contains(&format!("  {name}\n")), "{name} is not in\n{all}");
    }
}

#[test]
fn the_index_of_a_release_has_what_artifact_hub_wants() {
    let Some(release) = release("release: index") else { return };
    let reference = release.reference("");
    let mut command = Command::new("skopeo");
    command
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}", reference.replace(&format!(":{VERSION}"), "")));
    let index: Value = serde_json::from_str(&process::run(&mut command, SHORT).success()).expect("JSON");
    let annotations = &index["annotations"];
    for name in [
        "io.artifacthub.package.readme-url",
        "org.opencontainers.image.created",
        "org.opencontainers.image.description",
    ] {
        assert!(annotations[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {index}");
    }
    let readme = annotations["io.artifacthub.package.readme-url"].as_str().unwrap_or_default();
    let (_, inside) = readme.split_once(&format!("/v{VERSION}/")).expect("of this version");
    assert!(Path::new(ROOT).join(inside).exists(), "{readme} is no file of ours");
    assert_eq!(index["manifests"][0]["platform"]["architecture"], "amd64");
}

/// Source: Artifact Hub's documentation, "Argo templates repositories" and the fields of artifacthub-pkg.yml.
#[test]
fn the_templates_for_argo_have_what_artifact_hub_wants() {
    let Some(package) = document("argo/artifacthub-pkg.yml") else { return };
    for field in ["version", "name", "displayName", "createdAt", "description"] {
        assert!(package[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {package}");
    }
    assert_eq!((&package["version"], &package["appVersion"]), (&VERSION.into(), &VERSION.into()), "{package}");
    let argo = Path::new(ROOT).join("argo");
    let read = |name: &str| fs::read_to_string(argo.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read("manifests.yaml"), read("workflowtemplate.yaml"), "Artifact Hub shows manifests.yaml");
    let image = package["containersImages"][0]["image"].as_str().expect("it names the image");
    assert!(read("workflowtemplate.yaml").contains(image), "{image} is not what the templates use");
}

#[test]
fn the_bundle_for_tekton_keeps_its_contract() {
    let Some(release) = release("release: bundle") else { return };
    let scratch = Scratch::new("bundle");
    release.registry.pull(&format!("tools/tekton:{VERSION}"), scratch.path());
    let image = Image::from_layout(scratch.path());
    image.verify();
    let layers = image.manifest["layers"].as_array().expect("it has layers").clone();
    let find =
        process::run(
            Command::new("find")
                .current_dir(ROOT)
                .args(["tekton/task", "tekton/stepaction", "tekton/pipeline"])
                .args(["-path", "*/0.1/*.yaml", "-not", "-path", "*/0.1/*/*"]),
            SHORT,
        );
    assert_eq!(layers.len(), find.success().lines().count(), "a layer for each resource");
    let mut seen = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let text = |name: &str| {
            layer["annotations"][format!("dev.tekton.image.{name}")].as_str().expect("it says so").to_owned()
        };
        let identity = (text("apiVersion"), text("kind"), text("name"));
        let mut archive = tar::Archive::new(image.open(number));
        let mut entries = archive.entries().expect("a tar");
        let mut entry = entries.next().expect("one file").expect("it can be read");
        assert_eq!(entry.path().expect("a path").to_str(), Some(identity.2.as_str()));
        let mut content = String::new();
        std::io::Read::read_to_string(&mut entry, &mut content).expect("text");
        assert!(entries.next().is_none(), "{identity:?}: more than one file");
        assert!(content.contains("@sha256:") && !content.contains(&"0".repeat(64)), "{content}");
        let Some(resource) = document(&scratch.file("resource.yaml", &content).display().to_string()) else { return };
        let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = of(&resource["kind"]).to_lowercase();
        assert_eq!(identity, (of(&resource["apiVersion"]), kind, of(&resource["metadata"]["name"])));
        assert!(!seen.contains(&identity), "{identity:?} is there twice");
        seen.push(identity);
    }
}

/// The files that each package installs; completions for zsh are elsewhere in each.
const INSTALLED: [&str; 5] = [
    "usr/bin/yadokari",
    "usr/share/man/man1/yadokari.1.gz",
    "usr/share/bash-completion/completions/yadokari",
    "usr/share/fish/vendor_completions.d/yadokari.fish",
    "usr/share/doc/yadokari/copyright",
];

/// Checks what a package has installed below a root.
fn check_installed(root: &Path, zsh: &str) {
    for file in INSTALLED.iter().copied().chain([zsh]) {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    let said = process::run(Command::new(root.join(INSTALLED[0])).arg("version"), SHORT).success();
    assert_eq!(said, format!("yadokari {VERSION}\n"));
}

#[test]
fn the_package_for_debian_installs_into_a_root() {
    let Some(release) = release("release: deb") else { return };
    let root = Scratch::new("debian");
    for directory in ["updates", "info"] {
        root.directory(&format!("var/lib/dpkg/{directory}"));
    }
    root.file("var/lib/dpkg/status", "");
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.path().display())).args(["--force-not-root", "--install"]);
    process::run(dpkg.arg(release.file(&format!("yadokari_{VERSION}_amd64.deb"))), SHORT).success();
    check_installed(root.path(), "usr/share/zsh/vendor-completions/_yadokari");
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).expect("it is kept");
    assert!(status.contains("Status: install ok installed") && status.contains("Architecture: amd64"), "{status}");
}

#[test]
fn the_package_for_fedora_installs_into_a_root() {
    let Some(release) = release("release: rpm") else { return };
    let root = Scratch::new("fedora");
    let package = release.file(&format!("yadokari-{VERSION}-1.x86_64.rpm"));
    let rpm = |words: &[&str]| {
        let mut command = Command::new("rpm");
        command.arg(format!("--root={}", root.path().display())).args(words);
        process::run(&mut command, SHORT).success()
    };
    let needs = rpm(&["--query", "--package", "--requires", &package.display().to_string()]);
    assert!(needs.lines().all(|need| need.starts_with("rpmlib(")), "it needs {needs}");
    rpm(&["--initdb"]);
    rpm(&["--install", "--nodeps", "--ignorearch", &package.display().to_string()]);
    check_installed(root.path(), "usr/share/zsh/site-functions/_yadokari");
    assert_eq!(rpm(&["--query", "--all"]).trim(), format!("yadokari-{VERSION}-1.x86_64"));
    // The binary is the one that is in the archive.
    let unpacked = release.unpack(&root);
    let [one, other] =
        [root.join(INSTALLED[0]), unpacked.join("bin/yadokari")].map(|path| fs::read(path).expect("a file"));
    assert!(one == other, "rpmbuild has changed the binary");
}

#[test]
fn a_release_for_a_machine_that_cannot_be_compiled_for_says_what_is_missing() {
    let libraries = process::run(
        Command::new("rustc").args(["--print", "target-libdir", "--target", "aarch64-unknown-linux-gnu"]),
        SHORT,
    );
    if Path::new(libraries.success().trim()).exists() {
        return;
    }
    let output = Scratch::new("output");
    let mut command = Command::new("bash");
    command.arg(Path::new(ROOT).join("release/release.sh")).args(["build", "arm64"]).env("OUTPUT", output.path());
    let refused = process::run(&mut command, SHORT);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("rustup target add aarch64-unknown-linux-gnu"), "{}", refused.stderr);
}
