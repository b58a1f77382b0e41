//! Everything as JSON, for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::http::redact_within;
use crate::oci::{Descriptor, Platform, Reference};
use crate::outcome::{Attested, BuildOutcome, Circumstances, IndexOutcome, PushOutcome, StepDone};
use crate::progress::StepResult;

/// Tells all about an image.
pub(super) fn image(outcome: &BuildOutcome) -> Value {
    json!({
        "schemaVersion": 1,
        "status": "succeeded",
        "digest": outcome.manifest.digest,
        "mediaType": outcome.manifest.media_type,
        "configDigest": outcome.config.digest,
        "size": outcome.size,
        "platform": outcome.platform.to_string(),
        "references": outcome.pushed.iter().map(Reference::to_string).collect::<Vec<_>>(),
        "baseImages": outcome.bases.iter().map(|base| json!({
            "name": base.name.to_string(),
            "digest": base.digest,
        })).collect::<Vec<_>>(),
        "context": outcome.context.as_ref().map(|context| json!({
            "digest": context.content,
            "url": context.url,
            "commit": context.source.as_ref().map(|source| &source.commit),
        })),
        "steps": outcome.steps.iter().map(step).collect::<Vec<_>>(),
        "images": images(&outcome.images),
        "attestations": outcome.attested.iter().map(attested).collect::<Vec<_>>(),
        "build": build(&outcome.circumstances),
    })
}

fn build(circumstances: &Circumstances) -> Value {
    let Circumstances { began, elapsed, isolation, phases } = circumstances;
    let phases: Map<String, Value> =
        phases.iter().map(|(phase, time)| (phase.name().to_owned(), milliseconds(*time).into())).collect();
    json!({
        "startedAt": format!("{began:.3}"),
        "finishedAt": format!("{:.3}", *began + *elapsed),
        "milliseconds": milliseconds(*elapsed),
        "isolation": isolation,
        "phases": phases,
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Tells of what was said about an image.
fn attested(one: &Attested) -> Value {
    json!({
        "digest": one.manifest.digest,
        "subject": one.subject,
        "form": if one.is_in_index { "index" } else { "referrer" },
        "predicateTypes": one.documents.iter().map(|document| &document.predicate_type).collect::<Vec<_>>(),
    })
}

/// Tells of the images of an index.
fn images(images: &[Descriptor]) -> Vec<Value> {
    let one = |image: &Descriptor| {
        json!({
            "platform": image.platform.as_ref().map(Platform::to_string),
            "digest": image.digest,
            "mediaType": image.media_type,
            "size": image.size,
        })
    };
    images.iter().map(one).collect()
}

/// Tells all about an index.
pub(super) fn index(outcome: &IndexOutcome) -> Value {
    json!({
        "schemaVersion": 1,
        "status": "succeeded",
        "digest": outcome.index.digest,
        "mediaType": outcome.index.media_type,
        "size": outcome.index.size,
        "references": outcome.pushed.iter().map(Reference::to_string).collect::<Vec<_>>(),
        "images": images(&outcome.images),
    })
}

/// Tells all about an image that was pushed as it was.
pub(super) fn pushed(outcome: &PushOutcome) -> Value {
    json!({
        "schemaVersion": 1,
        "status": "succeeded",
        "digest": outcome.image.digest,
        "mediaType": outcome.image.media_type,
        "references": outcome.pushed.iter().map(Reference::to_string).collect::<Vec<_>>(),
    })
}

fn step(done: &StepDone) -> Value {
    let (cache, layer) = match &done.result {
        StepResult::Layer { digest, size } => ("built", Some((digest, size))),
        StepResult::Cached { digest, size } => ("cached", Some((digest, size))),
        StepResult::CachedNoLayer => ("cached", None),
        StepResult::Alike { step: _, layer } => ("shared", layer.as_ref().map(|(digest, size)| (digest, size))),
        StepResult::NoLayer | StepResult::Configured => ("none", None),
    };
    let mut value = json!({
        "stage": done.step.stage,
        "step": done.step.number,
        "line": done.line,
        "instruction": redact_within(&done.text),
        "startedAt": format!("{:.3}", done.began),
        "milliseconds": milliseconds(done.elapsed),
        "cache": cache,
    });
    if let Some(miss) = &done.miss {
        value["miss"] = json!({ "because": miss.because, "since": miss.since });
    }
    if let Some((digest, size)) = layer {
        value["layer"] = json!({ "digest": digest, "size": size });
    }
    value
}
