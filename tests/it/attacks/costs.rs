//! What a Dockerfile or a base can make large: it costs what it is worth, or is refused. How cost grows with size is shown
//! by `benches/growth.sh`.

use serde_json::{Value, json};

use crate::support::bases;
use crate::support::executor::{Build, Executor};
use crate::support::isolation::Isolation;
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// What documents of a base may cost, in bytes of memory.
const MOST_MEMORY: u64 = 128 << 20;

/// Makes the layout `base` of an image of very many layers, all the same.
fn base(source: &Scratch, layers: usize, change: impl FnOnce(&mut Value)) {
    let directory = source.directory("base");
    let layer = vec![0; 1024];
    let descriptor = bases::blob(&directory, &layer, "application/vnd.oci.image.layer.v1.tar");
    let mut image = bases::image_with(&directory, &[layer], |document| {
        document["rootfs"]["diff_ids"] = vec![descriptor["digest"].clone(); layers].into();
        document["history"] = vec![json!({"created_by": "layer"}); layers].into();
        change(document);
    });
    bases::replace_layers(&directory, &mut image, &vec![descriptor; layers]);
    bases::layout(&directory, &[image]);
}

fn build(source: &Scratch) -> Build {
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let base = format!("--build-context=base=oci-layout://{}/base", executor.sources());
    executor.add(&["--no-push", &base]).measured().run()
}

#[test]
fn the_largest_documents_of_a_base_cost_little_memory() {
    if !Isolation::Namespace.allowed("attacks: large documents") {
        return;
    }
    let peak = |layers: usize, labels: usize| {
        let source = source("FROM base\nLABEL a=b\n", &[]);
        base(&source, layers, |document| {
            let labels = (0..labels).map(|number| (format!("label{number}"), Value::from("x".repeat(80))));
            document["config"]["Labels"] = Value::Object(labels.collect());
        });
        build(&source).expect(0).peak_memory()
    };
    // An executor that is built for tests is large itself.
    let cost = peak(10_000, 69_000).saturating_sub(peak(1, 1));
    assert!(cost < MOST_MEMORY, "{} MiB", cost >> 20);
}

#[test]
fn documents_of_a_base_that_would_cost_more_are_refused() {
    if !Isolation::Namespace.allowed("attacks: documents that are too large") {
        return;
    }
    type Change = fn(&mut Value);
    let rows: [(Change, &str); 3] = [
        (|document| document["extra"] = vec![json!({"a": 0}); 60_000].into(), "more than 100000 values"),
        (|document| document["author"] = "x".repeat(8 << 20).into(), "larger than 8388608 bytes"),
        (|document| document["config"]["OnBuild"] = vec!["LABEL a=b"; 10_001].into(), "10001 ONBUILD triggers"),
    ];
    for (change, reason) in rows {
        let source = source("FROM base\nLABEL a=b\n", &[]);
        base(&source, 1, change);
        let build = build(&source).expect(76);
        assert!(build.stderr.contains(reason), "{reason}: {}", build.stderr);
        assert!(build.peak_memory() < MOST_MEMORY, "{reason}: {} MiB", build.peak_memory() >> 20);
    }
}

#[test]
fn a_value_that_grows_with_each_line_is_refused_by_its_line() {
    if !Isolation::Namespace.allowed("attacks: values that grow") {
        return;
    }
    let text = format!("FROM scratch\nENV A=0123456789\n{}", "ENV A=$A$A$A$A$A$A$A$A$A$A\n".repeat(13));
    let source = source(&text, &[]);
    let build = Executor::new(Isolation::Namespace, source.path()).add(&["--no-push"]).measured().run().expect(76);
    assert!(build.stderr.contains("Dockerfile:8") && build.stderr.contains("longer than 1 MiB"), "{}", build.stderr);
    assert!(build.peak_memory() < MOST_MEMORY, "{} MiB", build.peak_memory() >> 20);
}
