//! JSON lines: kaniko's `level`, `msg` and `time`, then `event` and its facts; the names of a trace are those of
//! OpenTelemetry's log records.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::line::{Line, Look};
use super::text::level;
use crate::http::redact_within;
use crate::request::TraceContext;

/// Writes a line as one JSON object and a newline.
pub(super) fn render(line: &Line, time: Timestamp, trace: Option<TraceContext>) -> String {
    let message = if line.look == Look::Verbatim { line.message.clone() } else { redact_within(&line.message) };
    let mut object = Map::new();
    object.insert("time".to_owned(), format!("{time:.3}").into());
    object.insert("level".to_owned(), level(line.level).into());
    object.insert("msg".to_owned(), message.into());
    object.insert("event".to_owned(), line.event.into());
    if let Some(trace) = trace {
        object.insert("trace_id".to_owned(), trace.trace_id().into());
        object.insert("span_id".to_owned(), trace.span_id().into());
    }
    object.extend(line.facts.iter().map(|(name, value)| (name.clone(), redacted(value))));
    format!("{}\n", Value::Object(object))
}

fn redacted(value: &Value) -> Value {
    match value {
        Value::String(text) => redact_within(text).into(),
        Value::Array(values) => values.iter().map(redacted).collect(),
        Value::Object(object) => object.iter().map(|(name, value)| (name.clone(), redacted(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
