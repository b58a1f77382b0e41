//! The base images of the corpus: made here entry by entry, so that their digests never change, and pushed once.
//!
//! A Dockerfile names one by `ARG BASE` (or `ARG BASE_ONBUILD` …) and gets it as a build argument.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::image::sha256;
use super::process::{self, SHORT};
use super::registry;
use super::scratch::Scratch;

/// What every base sets, as the images of distributions do.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const NAMES: [&str; 6] = ["BASE", "BASE_CONFIG", "BASE_INDEX", "BASE_LAYERS", "BASE_ONBUILD", "BASE_VOLUME"];
const OLD: u64 = 1_500_000_000;
/// The times of directories and links, a day later, so that a mix-up shows.
const OLDER: u64 = OLD - 86_400;

/// A base in the shared registry.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// `127.0.0.1:<port>/base/<name>:latest`.
    pub(crate) reference: String,
    /// The digest of its manifest or index.
    pub(crate) digest: String,
    /// The diff_ids of its image, or of each image of its index.
    pub(crate) diff_ids: Vec<Vec<String>>,
}

/// Returns the bases whose build arguments the Dockerfile declares, by the name of the argument.
pub(crate) fn used_by(dockerfile: &str) -> BTreeMap<&'static str, Base> {
    let declares = |name: &str| {
        let mut words = dockerfile.lines().map(|line| line.trim().split_once(' ').unwrap_or_default());
        words.any(|(word, rest)| word.eq_ignore_ascii_case("arg") && rest.trim() == name)
    };
    NAMES.into_iter().filter(|name| declares(name)).map(|name| (name, base(name))).collect()
}

/// Returns the base of that name, after pushing it when this is its first use.
pub(crate) fn base(name: &'static str) -> Base {
    static PUSHED: OnceLock<Mutex<BTreeMap<&str, Base>>> = OnceLock::new();
    let mut pushed = PUSHED.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(base) = pushed.get(name) {
        return base.clone();
    }
    let scratch = Scratch::new("base");
    let images = images(name, scratch.path());
    let digest = layout(scratch.path(), &images);
    let reference = push(scratch.path(), &format!("base/{}", name.to_lowercase()));
    let base = Base { reference, digest, diff_ids: images.into_iter().map(|image| image.diff_ids).collect() };
    pushed.insert(name, base.clone());
    base
}

/// Returns a base by a name that is known only when the test runs.
pub(crate) fn named(name: &str) -> Base {
    base(NAMES.into_iter().find(|known| *known == name).unwrap_or_else(|| panic!("no base {name}")))
}

/// Pushes the OCI layout `directory` to the shared registry; returns the reference.
pub(crate) fn push(directory: &Path, repository: &str) -> String {
    let reference = format!("{}:latest", registry::shared().repository(repository));
    process::run(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"])
            .arg(format!("oci:{}", directory.display()))
            .arg(format!("docker://{reference}")),
        SHORT,
    )
    .success();
    reference
}

/// Writes the blobs of the base `name`; returns its image, or those of its index.
fn images(name: &str, directory: &Path) -> Vec<Image> {
    let plain = json!({"Env": [PATH], "Cmd": ["sh"]});
    let with = |field: &str, value: Value| {
        let mut config = plain.clone();
        config[field] = value;
        config
    };
    let amd64 = |layers: &[Vec<u8>], config: &Value| vec![image(directory, "amd64", layers, config)];
    match name {
        "BASE" => amd64(&[busybox()], &plain),
        "BASE_CONFIG" => amd64(&[busybox()], &everything()),
        "BASE_LAYERS" => amd64(&layers(), &plain),
        "BASE_INDEX" => {
            let marked = |architecture: &str| {
                let mut marker = Layer::default();
                marker.file("etc/architecture", 0o644, (0, 0), architecture.as_bytes());
                image(directory, architecture, &[busybox(), marker.finish()], &plain)
            };
            vec![marked("arm64"), marked("amd64")]
        }
        "BASE_ONBUILD" => {
            let triggers = json!([
                "ENV TRIGGERED=yes",
                "WORKDIR /onbuild",
                "COPY trigger.txt copied/",
                "RUN echo \"$TRIGGERED\" > ran",
            ]);
            amd64(&[busybox()], &with("OnBuild", triggers))
        }
        "BASE_VOLUME" => {
            let mut data = Layer::default();
            data.directory("data", 0o755, (0, 0));
            data.file("data/old", 0o644, (0, 0), b"old\n");
            amd64(&[busybox(), data.finish()], &with("Volumes", json!({"/data": {}})))
        }
        other => panic!("no base {other}"),
    }
}

/// A config in which every field is set, to see what a build keeps.
fn everything() -> Value {
    json!({
        "User": "alice:staff", "WorkingDir": "/home/alice", "Env": [PATH, "FROM_BASE=yes"],
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo base"], "Labels": {"base": "yes", "who": "base"},
        "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/old": {}}, "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000_i64},
        "Shell": ["/bin/sh", "-ec"],
    })
}

/// Layers in which each upper one changes the kind of something below.
fn layers() -> Vec<Vec<u8>> {
    let mut lower = Layer::default();
    for directory in ["a", "a/deep", "b", "b/deep", "c", "d", "opaque", "opaque/old", "gone"] {
        lower.directory(directory, 0o755, (0, 0));
        lower.file(&format!("{directory}/file"), 0o644, (0, 0), directory.as_bytes());
    }
    lower.symlink("link", "c");
    lower.file("one", 0o644, (0, 0), b"one");
    lower.hard_link("two", "one");
    lower.file("special/setuid", 0o4755, (0, 0), b"s");
    lower.file("special/sticky", 0o1644, (1000, 50), b"t");
    lower.node("special/fifo", EntryType::Fifo, (0, 0));
    lower.node("special/null", EntryType::Char, (1, 3));
    lower.file(&format!("long/{}", "n".repeat(200)), 0o644, (0, 0), b"long");
    lower.xattr("special/attribute", "user.shell", "borrowed");
    let mut upper = Layer::default();
    upper.symlink("a", "c");
    upper.file("b", 0o600, (0, 0), b"a file now");
    upper.file("link", 0o644, (0, 0), b"no link any more");
    upper.file(".wh.gone", 0, (0, 0), b"");
    upper.directory("opaque", 0o700, (0, 0));
    upper.file("opaque/.wh..wh..opq", 0, (0, 0), b"");
    upper.file("opaque/new", 0o644, (0, 0), b"new");
    upper.file("one", 0o644, (0, 0), b"one, changed; two is not");
    let mut top = Layer::default();
    top.directory("gone", 0o711, (0, 0));
    top.file("gone/back", 0o644, (0, 0), b"back");
    top.file("d/.wh.file", 0, (0, 0), b"");
    vec![busybox(), lower.finish(), upper.finish(), top.finish()]
}

/// Returns the layer of the busybox base.
pub(crate) fn busybox() -> Vec<u8> {
    static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let mut layer = Layer::default();
        for directory in ["bin", "dev", "etc", "home", "proc", "run", "sys", "usr", "usr/bin", "usr/share", "var"] {
            layer.directory(directory, 0o755, (0, 0));
        }
        layer.directory("root", 0o700, (0, 0));
        layer.directory("tmp", 0o1777, (0, 0));
        layer.directory("home/alice", 0o750, (1000, 1000));
        layer.symlink("var/run", "/run");
        layer.symlink("link", "usr/share");
        layer.file("etc/passwd", 0o644, (0, 0), PASSWD);
        layer.file("etc/group", 0o644, (0, 0), GROUP);
        for name in ["hostname", "hosts", "resolv.conf"] {
            layer.file(&format!("etc/{name}"), 0o644, (0, 0), b"");
        }
        let program = fs::read("/bin/busybox").expect("busybox-static is installed");
        layer.file("bin/busybox", 0o755, (0, 0), &program);
        let applets = process::run(Command::new("/bin/busybox").arg("--list"), SHORT).success();
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            layer.symlink(&format!("bin/{applet}"), "busybox");
        }
        layer.finish()
    };
    LAYER.get_or_init(make).clone()
}

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n\
    bob:x:1001:50::/home/bob:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:alice\nalice:x:1000:\naudio:x:29:alice,bob\nnogroup:x:65534:\n";

/// A layer in the making; parents appear by themselves.
#[derive(Default)]
pub(crate) struct Layer {
    builder: Option<tar::Builder<Vec<u8>>>,
    directories: Vec<String>,
}

impl Layer {
    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str, mode: u32, owner: (u64, u64)) {
        self.directories.push(path.to_owned());
        self.append(path, header(EntryType::Directory, mode, owner), b"");
    }

    /// Adds a regular file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) {
        self.parents(path);
        let mut header = header(EntryType::Regular, mode, owner);
        header.set_size(u64::try_from(content.len()).expect("a size fits"));
        self.append(path, header, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.link(path, target, EntryType::Symlink);
    }

    /// Adds a second name of a file that is there.
    pub(crate) fn hard_link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.link(path, target, EntryType::Link);
    }

    /// Adds a FIFO or a device.
    pub(crate) fn node(&mut self, path: &str, kind: EntryType, device: (u32, u32)) {
        self.parents(path);
        let mut header = header(kind, 0o600, (0, 0));
        header.set_device_major(device.0).expect("a ustar header has devices");
        header.set_device_minor(device.1).expect("a ustar header has devices");
        self.append(path, header, b"");
    }

    /// Adds an empty file with an extended attribute.
    pub(crate) fn xattr(&mut self, path: &str, name: &str, value: &str) {
        self.parents(path);
        let key = format!("SCHILY.xattr.{name}");
        self.builder().append_pax_extensions([(key.as_str(), value.as_bytes())]).expect("memory");
        self.file(path, 0o644, (0, 0), b"");
    }

    /// Adds an entry under a name that a well-behaved builder would not write.
    pub(crate) fn raw_name(&mut self, name: &str, content: &[u8]) {
        let mut header = header(EntryType::Regular, 0o644, (0, 0));
        header.set_size(u64::try_from(content.len()).expect("a size fits"));
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.builder().append(&header, content).expect("memory");
    }

    /// Returns the tar stream.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.builder();
        self.builder.take().expect("it was just made").into_inner().expect("memory")
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            if !self.directories.iter().any(|known| known == &path[..at]) && !path.contains(".wh.") {
                self.directory(&path[..at], 0o755, (0, 0));
            }
        }
    }

    fn link(&mut self, path: &str, target: &str, kind: EntryType) {
        let mut header = header(kind, 0o777, (0, 0));
        self.builder().append_link(&mut header, path, target).expect("memory");
    }

    fn append(&mut self, path: &str, mut header: Header, content: &[u8]) {
        self.builder().append_data(&mut header, path, content).expect("memory");
    }

    fn builder(&mut self) -> &mut tar::Builder<Vec<u8>> {
        self.builder.get_or_insert_with(|| tar::Builder::new(Vec::new()))
    }
}

fn header(kind: EntryType, mode: u32, owner: (u64, u64)) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_size(0);
    header.set_mtime(if kind == EntryType::Regular { OLD } else { OLDER });
    header
}

/// An image whose blobs are written.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The descriptor of its manifest.
    pub(crate) descriptor: Value,
    /// The digests of its uncompressed layers.
    pub(crate) diff_ids: Vec<String>,
}

/// Writes an image's blobs below `directory`.
pub(crate) fn image(directory: &Path, architecture: &str, layers: &[Vec<u8>], config: &Value) -> Image {
    image_with(directory, layers, |document| {
        document["architecture"] = architecture.into();
        document["config"] = config.clone();
    })
}

/// Writes an image's blobs below `directory`; `change` is given its configuration, which is for linux/amd64.
pub(crate) fn image_with(directory: &Path, layers: &[Vec<u8>], change: impl FnOnce(&mut Value)) -> Image {
    let mut descriptors = Vec::new();
    let mut history = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(layer).expect("memory");
        let packed = encoder.finish().expect("memory");
        descriptors.push(blob(directory, &packed, "application/vnd.oci.image.layer.v1.tar+gzip"));
        history.push(json!({"created": "2017-07-14T02:40:00Z", "created_by": format!("layer {number}")}));
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| sha256(&mut layer.as_slice())).collect();
    let mut document = json!({
        "created": "2017-07-14T02:40:00Z", "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    change(&mut document);
    let config = blob(directory, document.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let mut descriptor = manifest(directory, &config, &descriptors);
    descriptor["platform"] = json!({"architecture": document["architecture"], "os": document["os"]});
    Image { descriptor, diff_ids }
}

/// Gives an image other blobs for its layers.
pub(crate) fn replace_layers(directory: &Path, image: &mut Image, layers: &[Value]) {
    let digest = image.descriptor["digest"].as_str().expect("a digest").replace(':', "/");
    let text = fs::read_to_string(directory.join("blobs").join(digest)).expect("it was written");
    let old: Value = serde_json::from_str(&text).expect("JSON");
    let platform = image.descriptor["platform"].clone();
    image.descriptor = manifest(directory, &old["config"], layers);
    image.descriptor["platform"] = platform;
}

fn manifest(directory: &Path, config: &Value, layers: &[Value]) -> Value {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}).to_string();
    blob(directory, manifest.as_bytes(), media_type)
}

/// Finishes an OCI layout: of one image, or of an index when there are several; returns the digest it names.
pub(crate) fn layout(directory: &Path, images: &[Image]) -> String {
    let index_type = "application/vnd.oci.image.index.v1+json";
    let top = match images {
        [image] => {
            let mut image = image.descriptor.clone();
            image.as_object_mut().expect("a descriptor is an object").remove("platform");
            image
        }
        several => {
            let several: Vec<_> = several.iter().map(|image| &image.descriptor).collect();
            let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": several}).to_string();
            blob(directory, index.as_bytes(), index_type)
        }
    };
    let index = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
    fs::write(directory.join("index.json"), index).expect("scratch is writable");
    fs::write(directory.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").expect("scratch is writable");
    top["digest"].as_str().expect("a descriptor has a digest").to_owned()
}

/// Writes a blob; returns its descriptor.
pub(crate) fn blob(directory: &Path, bytes: &[u8], media_type: &str) -> Value {
    let digest = sha256(&mut &bytes[..]);
    let path = directory.join("blobs").join(digest.replace(':', "/"));
    fs::create_dir_all(path.parent().expect("a blob has a parent")).expect("scratch is writable");
    fs::write(path, bytes).expect("scratch is writable");
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}
