//! Bases that other builders left: for other platforms, with more or fewer lines of history than layers, with `null` for
//! nothing, with bytes behind their layers, in indexes that do not say what their images are for.

use std::io::Write as _;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::support::bases::{self, Image};
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::scratch::Scratch;
use crate::support::source::source;

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Writes an image of busybox whose configuration is changed.
fn changed(directory: &Path, layers: &[Vec<u8>], change: impl Fn(&mut Value)) -> Image {
    bases::image_with(directory, layers, |config| {
        config["config"] = json!({"Env": [bases::PATH]});
        change(config);
    })
}

/// Makes a layout with the images and a source beside it that is built with it as `base`.
fn made(dockerfile: &str, images: impl FnOnce(&Path) -> Vec<Image>) -> Scratch {
    let source = source(dockerfile, &[("file", "x\n")]);
    let directory = source.directory("layout");
    let images = images(&directory);
    bases::layout(&directory, &images);
    source
}

fn built(source: &Scratch, isolation: Isolation, arguments: &[&str]) -> Build {
    let mut executor = Executor::new(isolation, source.path());
    let layout = format!("--build-context=base=oci-layout://{}/layout", executor.sources());
    executor.only_layout().add(&[&layout]).add(arguments).run()
}

#[test]
fn an_image_is_for_what_its_base_is_for_unless_asked_otherwise() {
    if !Isolation::Namespace.allowed("bases: platforms") {
        return;
    }
    let text = "FROM base\nCOPY file /file\n";
    for (platform, arguments, expected) in [
        (json!({"architecture": "arm64"}), &[][..], json!(["linux", "arm64", null, null])),
        (json!({"architecture": "386"}), &[], json!(["linux", "386", null, null])),
        (json!({"architecture": "arm", "variant": "v6"}), &[], json!(["linux", "arm", "v6", null])),
        (json!({"architecture": "arm64", "variant": "v8"}), &[], json!(["linux", "arm64", null, null])),
        (json!({"architecture": "arm64"}), &["--custom-platform=linux/amd64"], json!(["linux", "amd64", null, null])),
        (json!({"variant": "v3"}), &["--custom-platform=linux/amd64"], json!(["linux", "amd64", "v3", null])),
        (json!({"os.version": "6.1"}), &[], json!(["linux", "amd64", null, "6.1"])),
        (json!({}), &["--custom-platform=linux(7.0)/amd64"], json!(["linux", "amd64", null, "7.0"])),
    ] {
        let source = made(text, |directory| {
            let change = |config: &mut Value| {
                let fields = platform.as_object().expect("an object");
                fields.iter().for_each(|(name, value)| config[name] = value.clone());
            };
            vec![changed(directory, &[bases::busybox()], change)]
        });
        let build = built(&source, Isolation::Namespace, arguments).expect(0);
        let image = build.image();
        image.verify();
        let fields = ["os", "architecture", "variant", "os.version"].map(|field| image.config[field].clone());
        assert_eq!(json!(fields), expected, "{platform} {arguments:?}");
    }
}

#[test]
fn a_base_for_windows_gets_a_configuration_and_no_files() {
    if !Isolation::Namespace.allowed("bases: Windows") {
        return;
    }
    let windows = |directory: &Path| {
        let change = |config: &mut Value| {
            config["os"] = "windows".into();
            config["os.version"] = "10.0.20348.1".into();
            config["config"] = json!({});
        };
        vec![changed(directory, &[bases::busybox()], change)]
    };
    let source = made("FROM base\nLABEL a=b\nCMD dir c:\n", windows);
    let image = built(&source, Isolation::Namespace, &[]).expect(0).image();
    assert_eq!(json!([image.config["os"], image.config["os.version"]]), json!(["windows", "10.0.20348.1"]));
    assert_eq!(image.config["config"]["Cmd"], json!(["cmd", "/S", "/C", "dir c:"]));
    assert_eq!(image.config["config"]["Env"], Value::Null);
    let build = built(&made("FROM base\nCOPY file /file\n", windows), Isolation::Namespace, &[]).expect(76);
    assert!(build.stderr.contains("Dockerfile:2") && build.stderr.contains("for Windows"), "{}", build.stderr);
}

#[test]
fn a_history_tells_of_as_many_layers_as_there_are() {
    if !Isolation::Namespace.allowed("bases: history") {
        return;
    }
    let lines = |text: &str| -> Value {
        text.chars().map(|c| json!({"created_by": c.to_string(), "empty_layer": c == 'e'})).collect()
    };
    for (history, expected) in [
        (Value::Null, ["layer", "layer", "new"].join(" ")),
        (lines("ea"), ["empty", "layer", "layer", "new"].join(" ")),
        (lines("abcd"), ["layer", "layer", "empty", "empty", "new"].join(" ")),
    ] {
        let source = made("FROM base\nCOPY file /file\n", |directory| {
            let mut more = bases::Layer::default();
            more.file("more", 0o644, (0, 0), b"more");
            vec![changed(directory, &[bases::busybox(), more.finish()], |config| config["history"] = history.clone())]
        });
        let build = built(&source, Isolation::Namespace, &[]).expect(0);
        let image = build.image();
        image.verify();
        let told = image.config["history"].as_array().expect("a list").iter().map(|line| {
            let is_new = line["created_by"].as_str().is_some_and(|text| text.starts_with("COPY"));
            if is_new {
                "new"
            } else if line["empty_layer"] == true {
                "empty"
            } else {
                "layer"
            }
        });
        assert_eq!(told.collect::<Vec<_>>().join(" "), expected, "{history}");
    }
}

/// `null` for nothing, variables that are none, and bytes behind the gzip streams of layers, in every isolation.
#[test]
fn what_other_builders_left_is_taken() {
    let source = made("FROM base\nENV B=2\nRUN echo ran $B > /ran\n", |directory| {
        let mut more = bases::Layer::default();
        more.file("more", 0o644, (0, 0), b"more");
        let layers = [bases::busybox(), more.finish()];
        let mut image = changed(directory, &layers, |config| {
            config["config"] = json!({"Env": ["A", "", bases::PATH, "=x"], "Cmd": null, "Labels": null});
            config["history"] = Value::Null;
        });
        let packed = layers.iter().zip([&[0; 700][..], b"junk"]).map(|(layer, behind)| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(layer).expect("memory");
            bases::blob(directory, &[&encoder.finish().expect("memory")[..], behind].concat(), OCI_LAYER)
        });
        let layers: Vec<_> = packed.collect();
        bases::replace_layers(directory, &mut image, &layers);
        vec![image]
    });
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("bases: odd ones")) {
        let build = built(&source, isolation, &[]).expect(0);
        let image = build.image();
        let environment = &image.config["config"]["Env"];
        assert_eq!(*environment, json!(["A", "", bases::PATH, "=x", "B=2"]), "{}", isolation.name());
        assert!(Listing::of(&image).0["/ran"].text.ends_with("\"ran 2\\n\""), "{}", isolation.name());
    }
    let nothing = made("FROM base\nCOPY file /file\n", |directory| {
        vec![changed(directory, &[], |config| {
            config["config"] = Value::Null;
            config["rootfs"] = Value::Null;
        })]
    });
    if Isolation::Namespace.allowed("bases: null") {
        assert_eq!(built(&nothing, Isolation::Namespace, &[]).expect(0).image().layers.len(), 1);
    }
}

/// Of the images in an index that do not say what they are for, their configurations do.
#[test]
fn an_index_need_not_say_what_its_images_are_for() {
    if !Isolation::Namespace.allowed("bases: index") {
        return;
    }
    let images = |directory: &Path| -> Vec<Image> {
        let marked = |architecture: &str| {
            let mut marker = bases::Layer::default();
            marker.file("marker", 0o644, (0, 0), architecture.as_bytes());
            let mut image =
                changed(directory, &[marker.finish()], |config| config["architecture"] = architecture.into());
            image.descriptor.as_object_mut().expect("a descriptor").remove("platform");
            image
        };
        vec![marked("arm64"), marked("amd64")]
    };
    let marker = |build: &Build| Listing::of(&build.image()).0["/marker"].text.clone();
    let source = made("FROM base\nCOPY file /file\n", images);
    assert!(
        marker(&built(&source, Isolation::Namespace, &["--custom-platform=linux/amd64"]).expect(0)).contains("amd64")
    );
    assert!(
        marker(&built(&source, Isolation::Namespace, &["--custom-platform=linux/arm64"]).expect(0)).contains("arm64")
    );
    let build = built(&source, Isolation::Namespace, &["--custom-platform=linux/s390x"]).expect(76);
    assert!(build.stderr.contains("none for linux/s390x"), "{}", build.stderr);
    // The same from a registry.
    let scratch = Scratch::new("index");
    let pushed = images(scratch.path());
    bases::layout(scratch.path(), &pushed);
    let reference = bases::push(scratch.path(), "odd/unlabelled");
    let source = crate::support::source::source(&format!("FROM {reference}\nCOPY file /file\n"), &[("file", "x\n")]);
    let run = |platform: &str| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&[&format!("--custom-platform={platform}")]).run()
    };
    assert!(marker(&run("linux/arm64").expect(0)).contains("arm64"));
    assert_ne!(run("linux/s390x").code, 0);
}

/// A digest behind `oci-layout://` names anything in the layout, also what only an index within it has.
#[test]
fn a_digest_of_a_layout_may_be_of_what_an_index_in_it_has() {
    if !Isolation::Namespace.allowed("bases: nested") {
        return;
    }
    let source = source("FROM base\nCOPY file /file\n", &[("file", "x\n")]);
    let directory = source.directory("layout");
    let marked = |architecture: &str| {
        let mut marker = bases::Layer::default();
        marker.file("marker", 0o644, (0, 0), architecture.as_bytes());
        changed(&directory, &[marker.finish()], |config| config["architecture"] = architecture.into())
    };
    let images = [marked("arm64"), marked("amd64")];
    let index = bases::layout(&directory, &images);
    for (digest, expected) in [
        (images[0].descriptor["digest"].as_str().expect("a digest"), "arm64"),
        (images[1].descriptor["digest"].as_str().expect("a digest"), "amd64"),
        (&*index, "amd64"),
    ] {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let context = format!("--build-context=base=oci-layout://{}/layout@{digest}", executor.sources());
        let build = executor.only_layout().add(&[&context]).run().expect(0);
        let marker = Listing::of(&build.image()).0["/marker"].text.clone();
        assert!(marker.contains(expected), "{digest}: {marker}");
        assert_eq!(build.image().config["architecture"], expected);
    }
}

/// `docker-image://scratch` is nothing, as `scratch` is.
#[test]
fn a_named_context_may_be_scratch() {
    if !Isolation::Namespace.allowed("bases: scratch") {
        return;
    }
    let run = |text: &str| {
        let source = source(text, &[("file", "x\n")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        executor.only_layout().add(&["--build-context=base=docker-image://scratch"]).run()
    };
    let build = run("FROM base\nCOPY file /file\nCOPY --from=base . /empty/\n").expect(0);
    let paths: Vec<String> = Listing::of(&build.image()).0.into_keys().collect();
    assert_eq!(paths, ["/empty", "/file"]);
    let build = run("FROM scratch\nCOPY --from=base file /file\n").expect(76);
    assert!(build.stderr.contains("`file` is not in the build context"), "{}", build.stderr);
}
