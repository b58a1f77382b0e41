use serde_json::{Value, json};

use super::super::{Form, LayerScan};
use super::*;

/// An image of layers, each a list of files; later ones replace earlier ones, and an empty one removes.
struct Image {
    layers: Vec<LayerFacts>,
    files: BTreeMap<String, ImageFile>,
    directories: Vec<String>,
}

fn image(layers: &[&[(&str, &str)]]) -> Image {
    let mut image = Image { layers: Vec::new(), files: BTreeMap::new(), directories: Vec::new() };
    for (number, layer) in layers.iter().enumerate() {
        let mut scan = LayerScan::default();
        for (entry, (path, content)) in (0..).zip(layer.iter()) {
            if content.is_empty() {
                image.files.remove(*path);
                continue;
            }
            image.files.insert((*path).to_owned(), ImageFile { layer: number, entry });
            scan.begin(entry, path.as_bytes(), content.len() as u64);
            scan.content(content.as_bytes());
            scan.end(None);
        }
        let digest = |text: &str| Digest::of(format!("{text} {number}").as_bytes());
        image.layers.push(LayerFacts {
            digest: digest("layer"),
            diff_id: DiffId(digest("tar")),
            instruction: Some(format!("RUN step {number}")),
            packages: Arc::new(LayerPackages::from_bytes(&scan.finish().to_bytes()).expect("as it was")),
        });
    }
    image
}

impl ImageFiles for Image {
    fn each(&self, act: &mut dyn FnMut(&str, ImageFile)) {
        self.files.iter().for_each(|(path, file)| act(path, *file));
    }

    fn at(&self, path: &str) -> Option<ImageFile> {
        self.files.get(path).copied()
    }

    fn has_directory(&self, path: &str) -> bool {
        self.directories.iter().any(|known| known == path)
    }
}

impl Image {
    fn bill(&self) -> Bill {
        let subject = Subject {
            name: "registry.example.com/team/app".into(),
            digest: Digest::of(b"manifest"),
            platform: "linux/amd64".parse().expect("platform"),
            created: "2024-01-01T00:00:00Z".into(),
            tool_version: "1.0.0",
        };
        Bill::new(subject, self.layers.clone(), self)
    }
}

fn status(packages: &[&str]) -> String {
    let one =
        |name: &&str| format!("Package: {name}\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\n\n");
    packages.iter().map(one).collect()
}

const RELEASE: (&str, &str) = ("usr/lib/os-release", "ID=debian\nVERSION_ID=12\n");
const STATUS: &str = "var/lib/dpkg/status";

fn found(bill: &Bill) -> Vec<(&str, usize)> {
    bill.components.iter().map(|component| (component.package.name.as_str(), component.layer)).collect()
}

#[test]
fn a_package_is_of_the_first_layer_that_has_it() {
    let (base, more, less) = (status(&["bash", "gone"]), status(&["bash", "curl", "gone"]), status(&["bash", "curl"]));
    let image = image(&[&[RELEASE, (STATUS, &base)], &[(STATUS, &more)], &[("other", "x")], &[(STATUS, &less)]]);
    let bill = image.bill();
    assert_eq!(found(&bill), [("bash", 0), ("curl", 1)]);
    assert_eq!(bill.components[0].purl, "pkg:deb/debian/bash@1.0?arch=amd64&distro=debian-12");
}

#[test]
fn what_a_later_layer_removes_is_not_in_the_image() {
    let metadata = "Name: flask\nVersion: 1\n";
    let path = "usr/lib/python3/site-packages/flask-1.dist-info/METADATA";
    let image = image(&[&[(path, metadata)], &[(path, "")]]);
    assert!(image.bill().components.is_empty());
}

#[test]
fn a_lock_counts_where_nothing_is_installed_beside_it() {
    let lock = "semver@^6:\n  version \"6.3.1\"\n";
    let mut image = image(&[&[("app/yarn.lock", lock), ("app/sub/yarn.lock", lock)]]);
    assert_eq!(image.bill().components[0].locations, ["app/sub/yarn.lock", "app/yarn.lock"]);
    image.directories = vec!["app/node_modules".into()];
    let bill = image.bill();
    assert_eq!(bill.components[0].locations, ["app/sub/yarn.lock"]);
    assert!(bill.components[0].package.is_locked_only);
}

#[test]
fn documents_tell_of_packages_their_layers_and_what_is_not_read() {
    let copyright = "Format: https://x\n\nFiles: *\nLicense: GPL-2+\n\nLicense: odd one\n";
    let status = status(&["bash"]);
    let image = image(&[
        &[RELEASE, (STATUS, &status), ("usr/share/doc/bash/copyright", copyright)],
        &[
            ("var/lib/rpm/Packages", "berkeley"),
            ("a/node_modules/@s/b/package.json", r#"{"name":"@s/b","version":"2"}"#),
        ],
    ]);
    let bill = image.bill();
    let (spdx, cyclonedx) = (Form::Spdx.document(&bill), Form::CycloneDx.document(&bill));
    let package = &spdx["packages"][1];
    assert_eq!(package["name"], "bash");
    let declared = package["licenseDeclared"].as_str().expect("a text");
    assert!(declared.starts_with("GPL-2.0-or-later AND LicenseRef-"), "{declared}");
    assert_eq!(spdx["hasExtractedLicensingInfos"][0]["extractedText"], "odd one");
    let source = package["sourceInfo"].as_str().expect("a text");
    assert!(source.contains("/var/lib/dpkg/status") && source.ends_with("; instruction RUN step 0"), "{source}");
    assert_eq!(spdx["annotations"].as_array().map(Vec::len), Some(1));
    let find = |name: &str| {
        let all = cyclonedx["components"].as_array().expect("a list");
        all.iter().find(|component| component["name"] == name).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(
        find("bash")["licenses"],
        json!([{"license": {"id": "GPL-2.0-or-later"}}, {"license": {"name": "odd one"}}])
    );
    assert_eq!(find("b")["group"], "@s");
    assert_eq!(find("b")["properties"][2]["value"], "RUN step 1");
    assert_eq!(find("debian")["type"], "operating-system");
    let unread = cyclonedx["metadata"]["properties"][0]["value"].as_str().expect("a text");
    assert!(unread.starts_with("/var/lib/rpm/Packages: "), "{unread}");
    assert_eq!(cyclonedx["compositions"][0]["aggregate"], "incomplete");
    let again = image.bill();
    assert_eq!(Form::Spdx.document(&again), spdx, "the same image has the same document");
}

#[test]
fn what_was_kept_and_is_damaged_is_not_believed() {
    let mut bytes = LayerPackages::default().to_bytes();
    assert!(LayerPackages::from_bytes(&bytes).is_ok());
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(LayerPackages::from_bytes(&bytes).is_err());
    assert!(LayerPackages::from_bytes(b"yadokari packages 0\n").is_err());
}
