//! What is installed, where its manager is not run in the image: what the manager lists of the same files is what the
//! document has, none missing and none more.

use std::path::Path;
use std::process::Command;

use crate::sbom::{document, listed, packages};
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::scratch::Scratch;
use crate::support::source::source;

const SPEC: &str = "Name: hermit-%{kind}
Version: 1.2~rc1
Release: 3
%{?age}
Summary: A file
License: MIT
%description
%install
mkdir -p %{buildroot}/usr/share
echo x > %{buildroot}/usr/share/%{name}
%files
/usr/share/%{name}
";

/// Builds an image of what is in `context`, and both forms of its document.
fn build(source: &Path) -> [serde_json::Value; 2] {
    ["cyclonedx", "spdx"].map(|form| {
        let mut executor = Executor::new(Isolation::Namespace, source);
        executor.only_layout().add(&[&format!("--sbom={form}"), "--sbom-attach=false"]);
        let build: Build = executor.output("--sbom-path", "sbom.json").run().expect(0);
        document(&build, "sbom.json")
    })
}

/// Runs rpm on the root that is to be an image; Debian's rpm has its own database elsewhere.
fn rpm(root: &Path, words: &[&str]) -> String {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root).args(["--define", "_db_backend sqlite", "--define", "_dbpath /var/lib/rpm"]);
    process::run(command.args(words), SHORT).success()
}

#[test]
fn an_image_of_rpm_packages_has_what_rpm_lists() {
    if !Isolation::Namespace.allowed("sbom: rpm") {
        return;
    }
    let (source, made) =
        (source("FROM scratch\nCOPY root /\n", &[("root/etc/os-release", "ID=fedora\n")]), Scratch::new("rpm"));
    let (spec, root) = (made.file("hermit.spec", SPEC), source.join("context/root"));
    let (top, packages_made) =
        (format!("_topdir {}", made.path().display()), format!("_rpmdir {}", made.join("rpms").display()));
    for (kind, target) in
        [("kind native", &[][..]), ("kind plain", &["--target", "noarch", "--define", "age Epoch: 4"])]
    {
        let mut command = Command::new("rpmbuild");
        command.args(["-bb", "--quiet", "--define", &top, "--define", &packages_made, "--define", kind]).args(target);
        process::run(command.arg(&spec), SHORT).success();
    }
    let find = process::run(Command::new("find").arg(made.join("rpms")).args(["-name", "*.rpm"]), SHORT).success();
    let mut install = vec!["--install", "--nodeps"];
    install.extend(find.lines());
    rpm(&root, &install);
    let list = |format: &str| listed(&rpm(&root, &["-qa", "--queryformat", format]), ' ');
    let expected = list("%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n");
    assert_eq!(expected.len(), 2, "{expected:?}");
    assert!(expected.contains(&("hermit-plain".to_owned(), "4:1.2~rc1-3".to_owned())), "{expected:?}");
    for document in build(source.path()) {
        assert_eq!(packages(&document, "rpm"), expected);
        // The architecture is told in the URL.
        for (name, architecture) in list("%{NAME} %{ARCH}\n") {
            let text = document.to_string();
            let is_told = text.split('"').any(|word| {
                word.starts_with(&format!("pkg:rpm/fedora/{name}@")) && word.contains(&format!("arch={architecture}"))
            });
            assert!(is_told, "{name} {architecture}");
        }
    }
}

/// What `cargo auditable` notes in a program: `autocfg` only helped to build it.
const CRATES: &str = r#"{"packages":[{"name":"autocfg","version":"1.1.0","source":"crates.io","kind":"build"},{"name":"itoa","version":"1.0.9","source":"crates.io"},{"name":"serde_json","version":"1.0.108","source":"crates.io","dependencies":[1]},{"name":"crab","version":"0.3.0-beta.1","source":"local","dependencies":[0,2],"root":true}]}"#;

#[test]
fn an_image_with_an_auditable_program_has_the_crates_of_its_section() {
    if !Isolation::Namespace.allowed("sbom: cargo auditable") {
        return;
    }
    let source = source("FROM scratch\nCOPY crab plain /bin/\n", &[("plain", "")]);
    let made = Scratch::new("auditable");
    let (crates, list, program) =
        (made.file("crates.json", CRATES), made.join("crates.zlib"), source.join("context/crab"));
    let script = "import sys, zlib; open(sys.argv[2], 'wb').write(zlib.compress(open(sys.argv[1], 'rb').read()))";
    process::run(Command::new("python3").args(["-c", script]).arg(&crates).arg(&list), SHORT).success();
    let section = format!(".dep-v0={}", list.display());
    let mut objcopy = Command::new("objcopy");
    process::run(objcopy.args(["--add-section", &section, "/bin/true"]).arg(&program), SHORT).success();
    std::fs::copy("/bin/true", source.join("context/plain")).expect("scratch is writable");
    // What the section of the program that is in the image has, as one of another maker reads it.
    let script = "import json, subprocess, sys, zlib
subprocess.run(['objcopy', '-O', 'binary', '--set-section-flags', '.dep-v0=alloc', '--only-section', '.dep-v0', sys.argv[1], sys.argv[2]], check=True)
for one in json.loads(zlib.decompress(open(sys.argv[2], 'rb').read()))['packages']:
    if one.get('kind') != 'build': print(one['name'], one['version'])";
    let mut dump = Command::new("python3");
    let told = process::run(dump.args(["-c", script]).arg(&program).arg(made.join("dumped")), SHORT).success();
    let expected = listed(&told, ' ');
    assert_eq!(expected.len(), 3, "{told}");
    for document in build(source.path()) {
        assert_eq!(packages(&document, "cargo"), expected);
        assert_eq!(document["annotations"], serde_json::Value::Null, "nothing is unread");
        assert_eq!(document["metadata"]["properties"], serde_json::Value::Null, "nothing is unread");
    }
}
