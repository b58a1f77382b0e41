//! Images made to harm: no entry of a layer leaves the root file system.

use crate::support::bases::{self, Layer};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::LONG;
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Pushes busybox with one more layer on it; returns its reference.
fn hostile(name: &str, make: impl FnOnce(&mut Layer)) -> String {
    let scratch = Scratch::new("hostile");
    let mut layer = Layer::default();
    make(&mut layer);
    let config = serde_json::json!({"Env": [bases::PATH]});
    let image = bases::image(scratch.path(), "amd64", &[bases::busybox(), layer.finish()], &config);
    bases::layout(scratch.path(), &[image]);
    bases::push(scratch.path(), &format!("hostile/{name}"))
}

/// Builds on such an image; it may succeed or be refused, but nothing may appear at `outside`.
fn builds_confined(name: &str, make: impl Fn(&mut Layer, &str)) {
    for isolation in Isolation::ALL {
        if !isolation.allowed(&format!("hostile: {name}")) {
            continue;
        }
        let outside = Scratch::new("outside");
        let target = outside.join("escaped").display().to_string();
        let reference = hostile(&format!("{name}-{}", isolation.name()), |layer| make(layer, &target));
        let source = source(&format!("FROM {reference}\nRUN echo ran > /ran\n"), &[]);
        let mut executor = if isolation == Isolation::Namespace {
            Executor::new(isolation, source.path())
        } else {
            let mut pod = Pod::plain();
            pod.mount_writable(outside.path(), &outside.path().display().to_string());
            Executor::in_pod(isolation, pod, source.path())
        };
        let build = executor.only_layout().start().wait(LONG);
        assert!([0, 76].contains(&build.code), "{name} {}: {}\n{}", isolation.name(), build.code, build.stderr);
        let found: Vec<_> = outside.path().read_dir().expect("it is there").flatten().collect();
        assert!(found.is_empty(), "{name} in {} left the root: {found:?}", isolation.name());
    }
}

#[test]
fn names_with_dots_stay_inside() {
    builds_confined("dots", |layer, outside| {
        layer.raw_name(&format!("../../../../../..{outside}"), b"escaped");
    });
}

#[test]
fn absolute_names_stay_inside() {
    builds_confined("absolute", |layer, outside| layer.raw_name(outside, b"escaped"));
}

#[test]
fn links_to_the_outside_are_not_followed_out() {
    builds_confined("links", |layer, outside| {
        let directory = outside.rsplit_once('/').expect("an absolute path").0;
        layer.symlink("evil", &format!("../../../../../..{directory}"));
        layer.raw_name("evil/escaped", b"escaped");
    });
}

#[test]
fn hard_links_to_the_outside_are_not_made() {
    builds_confined("hard-links", |layer, outside| {
        layer.hard_link("stolen", &format!("../../../../../..{outside}"));
    });
}
