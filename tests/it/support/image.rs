//! Images on disk, as a builder left them: an OCI layout, or the `dir:` form of skopeo and buildah.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// One image whose blobs lie in a directory.
#[derive(Debug)]
pub(crate) struct Image {
    /// The manifest as JSON.
    pub(crate) manifest: Value,
    /// The digest of the manifest's bytes.
    pub(crate) digest: String,
    /// The config blob as JSON.
    pub(crate) config: Value,
    /// The files of the layers, lowest first.
    pub(crate) layers: Vec<PathBuf>,
}

impl Image {
    /// Reads the only image of an OCI layout.
    pub(crate) fn from_layout(directory: &Path) -> Self {
        let index = json_file(&directory.join("index.json"));
        let manifests = index["manifests"].as_array().expect("an index lists manifests");
        assert_eq!(manifests.len(), 1, "one image in {}: {index}", directory.display());
        let digest = text(&manifests[0]["digest"]);
        Self::read(digest, |digest| directory.join("blobs").join(digest.replace(':', "/")))
    }

    /// Reads an image in the `dir:` form, which also holds Docker's own media types.
    pub(crate) fn from_directory(directory: &Path) -> Self {
        let bytes = fs::read(directory.join("manifest.json")).expect("a `dir:` image has a manifest");
        let digest = sha256(&mut bytes.as_slice());
        fs::write(directory.join(&digest["sha256:".len()..]), bytes).expect("scratch is writable");
        Self::read(&digest, |digest| directory.join(&digest["sha256:".len()..]))
    }

    fn read(digest: &str, blob: impl Fn(&str) -> PathBuf) -> Self {
        let manifest = json_file(&blob(digest));
        let config = json_file(&blob(text(&manifest["config"]["digest"])));
        let descriptors = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let layers = descriptors.iter().map(|layer| blob(text(&layer["digest"]))).collect();
        Self { digest: digest.to_owned(), manifest, config, layers }
    }

    /// Returns the digests of the uncompressed layers as the config tells them.
    pub(crate) fn diff_ids(&self) -> Vec<String> {
        // An image without layers may say null.
        let ids = self.config["rootfs"]["diff_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        ids.iter().map(|id| text(id).to_owned()).collect()
    }

    /// Opens a layer as the tar stream it holds, compressed or not.
    pub(crate) fn open(&self, layer: usize) -> Box<dyn Read> {
        let mut file = File::open(&self.layers[layer]).expect("a layer that the manifest names is there");
        let mut magic = [0; 4];
        let count = file.read(&mut magic).expect("a layer is readable");
        file.rewind().expect("a file can be rewound");
        let file = BufReader::new(file);
        match magic[..count] {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
            [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(file).expect("a zstd layer")),
            _ => Box::new(file),
        }
    }

    /// Panics unless every digest, size and diff_id is true and the history has one entry for each layer.
    pub(crate) fn verify(&self) {
        let descriptors = self.manifest["layers"].as_array().expect("a manifest lists layers");
        let diff_ids = self.diff_ids();
        assert_eq!(descriptors.len(), diff_ids.len(), "layers and diff_ids");
        for (number, (descriptor, diff_id)) in descriptors.iter().zip(&diff_ids).enumerate() {
            let path = &self.layers[number];
            let mut file = File::open(path).expect("a layer that the manifest names is there");
            assert_eq!(sha256(&mut file), text(&descriptor["digest"]), "digest of layer {number}");
            assert_eq!(Some(path.metadata().expect("it is there").len()), descriptor["size"].as_u64(), "size");
            assert_eq!(sha256(&mut self.open(number)), *diff_id, "diff_id of layer {number}");
        }
        let history = self.config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let filled = history.iter().filter(|entry| entry["empty_layer"] != Value::Bool(true)).count();
        assert_eq!(filled, diff_ids.len(), "history entries with a layer: {history:?}");
    }

    /// Returns what the config says about running a container, in a form in which equal meaning is equal text:
    /// what is empty is left out, and what only one builder writes (its own label) too.
    pub(crate) fn runtime_config(&self) -> Value {
        const FIELDS: [&str; 13] = [
            "User",
            "Env",
            "Entrypoint",
            "Cmd",
            "WorkingDir",
            "Labels",
            "ExposedPorts",
            "Volumes",
            "StopSignal",
            "Healthcheck",
            "Shell",
            "OnBuild",
            "Hostname",
        ];
        let config = &self.config["config"];
        let mut told = Map::new();
        for field in FIELDS {
            let mut value = config[field].clone();
            if let Some(labels) = value.as_object_mut().filter(|_| field == "Labels") {
                labels.remove("io.buildah.version");
                labels.sort_keys();
            }
            // `/` is what an absent working directory means, and a host's name is no property of an image.
            let empty = matches!(&value, Value::Null | Value::Bool(false))
                || [json!(""), json!([]), json!({})].contains(&value)
                || (field == "WorkingDir" && value == "/")
                || (field == "Hostname");
            if !empty {
                told.insert(field.to_owned(), value);
            }
        }
        for field in ["architecture", "os", "variant", "author"] {
            if let Some(value) = self.config[field].as_str().filter(|value| !value.is_empty()) {
                told.insert(field.to_owned(), json!(value));
            }
        }
        Value::Object(told)
    }
}

/// Returns `sha256:<hex>` of a stream.
pub(crate) fn sha256(stream: &mut dyn Read) -> String {
    let mut hasher = Sha256::new();
    let mut buffer = [0; 65536];
    loop {
        let count = stream.read(&mut buffer).expect("the stream is readable");
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Reads a whole file as JSON.
pub(crate) fn json_file(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error: io::Error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}
