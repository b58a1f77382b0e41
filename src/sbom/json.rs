//! What the JSON of several package managers has alike.

use serde_json::Value;

use super::text::stated;

/// Returns licences: a text, an object with a type or a name, or a list of these.
pub(super) fn licences(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().filter_map(one).collect(),
        other => one(other).into_iter().collect(),
    }
}

fn one(value: &Value) -> Option<String> {
    stated(value.as_str().or_else(|| value["type"].as_str()).or_else(|| value["name"].as_str())?)
}

/// Returns the name of a person: a text `Name <mail> (url)`, or an object with a name.
pub(super) fn name_of(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value["name"].as_str())?;
    stated(text.split(['<', '(']).next().unwrap_or_default())
}
