//! What differs of manifests and configurations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Area, FieldDifference, Side};
use crate::http::{MASKED, redact_within};
use crate::oci::media_type;
use crate::plan::looks_secret;

/// Annotations and labels that say when something was made.
const CREATED: [&str; 2] = ["org.opencontainers.image.created", "org.label-schema.build-date"];

/// Lists what differs, apart from layers.
pub(super) fn of(a: &Side, b: &Side) -> Vec<FieldDifference> {
    let mut fields = annotations("annotations", &a.manifest.annotations, &b.manifest.annotations);
    fields.extend(annotations("descriptor.annotations", &a.descriptor.annotations, &b.descriptor.annotations));
    fields.extend(value("mediaType", Area::Manifest, &a.manifest.media_type, &b.manifest.media_type));
    // A form of Docker's has configurations of Docker's: that is told once.
    let media_type = |side: &Side| media_type::to_oci(&side.manifest.config.media_type).to_owned();
    fields.extend(value("config.mediaType", Area::Manifest, &media_type(a), &media_type(b)));
    let (left, right) = (document(a), document(b));
    fields.extend(configurations(&left, &right));
    fields.extend(histories(&left, &right));
    let is_config = |field: &FieldDifference| !matches!(field.area, Area::Annotations | Area::Manifest);
    let same_layers = a.config.rootfs == b.config.rootfs;
    let (left, right) = (&a.manifest.config.digest, &b.manifest.config.digest);
    if left != right && same_layers && !fields.iter().any(is_config) {
        // The same is said in other bytes.
        fields.extend(value("config digest", Area::Config, left.as_str(), right.as_str()));
    }
    fields
}

/// Compares one field.
pub(super) fn value(name: &str, area: Area, a: &str, b: &str) -> Option<FieldDifference> {
    (a != b).then(|| difference(area, name.to_owned(), Some(&a.into()), Some(&b.into())))
}

/// Compares annotations.
pub(super) fn annotations(
    name: &str,
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
) -> Vec<FieldDifference> {
    let map = |texts: &BTreeMap<String, String>| {
        texts.iter().map(|(key, text)| (key.clone(), text.as_str().into())).collect()
    };
    maps(name, &map(a), &map(b), &|key| if CREATED.contains(&key) { Area::Created } else { Area::Annotations })
}

fn configurations(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<FieldDifference> {
    let area = |key: &str| if key == "created" { Area::Created } else { Area::Config };
    let is_whole = |key: &String| !matches!(key.as_str(), "config" | "rootfs" | "history");
    let whole = |map: &Map<String, Value>| map.iter().filter(|(key, _)| is_whole(key)).map(owned).collect();
    let mut fields = maps("", &whole(a), &whole(b), &area);
    let (a, b) = (inner(a, "config"), inner(b, "config"));
    let is_whole = |key: &String| !matches!(key.as_str(), "Env" | "Labels");
    let whole = |map: &Map<String, Value>| map.iter().filter(|(key, _)| is_whole(key)).map(owned).collect();
    fields.extend(maps("config", &whole(&a), &whole(&b), &|_| Area::Config));
    let label = |key: &str| if CREATED.contains(&key) { Area::Created } else { Area::Labels };
    fields.extend(maps("config.Labels", &inner(&a, "Labels"), &inner(&b, "Labels"), &label));
    let (a, b) = (a.get("Env"), b.get("Env"));
    if a != b {
        let variables = maps("config.Env", &variables(a), &variables(b), &|_| Area::Config);
        let is_same_set = variables.is_empty();
        fields.extend(variables);
        if is_same_set {
            fields.push(difference(Area::Config, "config.Env order".to_owned(), names(a).as_ref(), names(b).as_ref()));
        }
    }
    fields
}

fn histories(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<FieldDifference> {
    let lines = |map: &Map<String, Value>| map.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let (a, b) = (lines(a), lines(b));
    let mut fields = Vec::new();
    let area = |key: &str| if key == "created" { Area::Created } else { Area::History };
    for number in 0..a.len().max(b.len()) {
        let name = format!("history[{number}]");
        match (a.get(number), b.get(number)) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => fields.extend(maps(&name, a, b, &area)),
            (a, b) => fields.push(difference(Area::History, name, a, b)),
        }
    }
    fields
}

/// Returns the configuration as JSON.
fn document(side: &Side) -> Map<String, Value> {
    match serde_json::to_value(&side.config) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn inner(map: &Map<String, Value>, key: &str) -> Map<String, Value> {
    map.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// Takes `NAME=value` apart; values of secrets are not told, but that they differ is.
fn variables(list: Option<&Value>) -> Map<String, Value> {
    let texts = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    texts
        .map(|text| text.split_once('=').unwrap_or((text, "")))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

fn names(list: Option<&Value>) -> Option<Value> {
    let texts = list?.as_array()?.iter().filter_map(Value::as_str);
    Some(texts.map(|text| text.split('=').next().unwrap_or_default()).collect())
}

/// Compares what stands under each key.
fn maps(
    name: &str,
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    area: &dyn Fn(&str) -> Area,
) -> Vec<FieldDifference> {
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differing = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
    let field = |key: &String| {
        let full = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        let mut field = difference(area(key), full, a.get(key), b.get(key));
        if name == "config.Env" && looks_secret(key) {
            let masked = |value: Option<Value>| value.map(|_| MASKED.into());
            field = FieldDifference { a: masked(field.a), b: masked(field.b), ..field };
        }
        field
    };
    differing.map(field).collect()
}

fn difference(area: Area, field: String, a: Option<&Value>, b: Option<&Value>) -> FieldDifference {
    FieldDifference { area, field, a: a.map(told), b: b.map(told) }
}

/// Hides logins in a text.
fn told(value: &Value) -> Value {
    match value {
        Value::String(text) => redact_within(text).into(),
        Value::Array(list) => list.iter().map(told).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), told(value))).collect()),
        other => other.clone(),
    }
}
