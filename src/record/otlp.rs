//! Spans as OpenTelemetry's protocol has them, in both of its forms: protobuf and JSON.
//!
//! Source: opentelemetry-proto 1.x, `opentelemetry/proto/trace/v1/trace.proto`, `common/v1/common.proto`,
//! `resource/v1/resource.proto`, `collector/trace/v1/trace_service.proto`; "OTLP/HTTP", section "JSON Protobuf Encoding".

use std::time::Duration;

use serde_json::{Value, json};

use super::{Kind, Record, Span};

/// How many spans go into one request: what OpenTelemetry's own exporters take by default.
const BATCH: usize = 512;
/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u64 = 1;
/// `SPAN_KIND_CLIENT`.
const CLIENT: u64 = 3;
/// `STATUS_CODE_UNSET`: nothing failed. `STATUS_CODE_OK` is for who judges a span, and not for who records it.
const UNSET: u64 = 0;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// Whose spans they are, and which trace they belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What tells of itself, `service.name` among it.
    pub resource: Vec<(String, String)>,
    /// The trace.
    pub trace: [u8; 16],
    /// The caller's span, if there is one.
    pub parent: Option<[u8; 8]>,
    /// What the caller's tracing systems add, as `tracestate` has it.
    pub state: String,
    /// Random bits; ids of spans are made of them.
    pub seed: u64,
}

impl Origin {
    /// Returns the id of the span at a position: never zero, and different for each.
    fn id(&self, position: usize) -> [u8; 8] {
        let id = self.seed.wrapping_add(position as u64);
        if id == 0 { u64::MAX.to_be_bytes() } else { id.to_be_bytes() }
    }

    fn parent_of(&self, span: &Span) -> Option<[u8; 8]> {
        span.parent.map(|parent| self.id(parent)).or(self.parent)
    }
}

/// Writes the requests that bring a record to a collector, as protobuf.
pub fn protobuf<'a>(record: &'a Record, origin: &'a Origin) -> impl Iterator<Item = Vec<u8>> + 'a {
    batches(record).map(move |batch| {
        let mut resource = Message::default();
        for (name, value) in &origin.resource {
            resource.message(1, &attribute(name, &value.as_str().into()));
        }
        let mut scope = Message::default();
        scope.text(1, env!("CARGO_PKG_NAME"));
        scope.text(2, env!("CARGO_PKG_VERSION"));
        let mut spans = Message::default();
        spans.message(1, &scope);
        for position in batch {
            spans.message(2, &span(record, position, origin));
        }
        let (mut of_resource, mut request) = (Message::default(), Message::default());
        of_resource.message(1, &resource);
        of_resource.message(2, &spans);
        request.message(1, &of_resource);
        request.0
    })
}

/// Writes the same as JSON.
pub fn json<'a>(record: &'a Record, origin: &'a Origin) -> impl Iterator<Item = Vec<u8>> + 'a {
    batches(record).map(move |batch| {
        let resource: Vec<Value> =
            origin.resource.iter().map(|(name, value)| attribute_json(name, &value.as_str().into())).collect();
        let spans: Vec<Value> = batch.map(|position| span_json(record, position, origin)).collect();
        let scope = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
        json!({ "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": scope, "spans": spans }],
        }] })
        .to_string()
        .into_bytes()
    })
}

fn batches(record: &Record) -> impl Iterator<Item = std::ops::Range<usize>> {
    let all = record.spans.len();
    (0..all).step_by(BATCH).map(move |begin| begin..all.min(begin + BATCH))
}

fn span(record: &Record, position: usize, origin: &Origin) -> Message {
    let span = &record.spans[position];
    let (begun, ended) = times(record, span);
    let mut message = Message::default();
    message.bytes(1, &origin.trace);
    message.bytes(2, &origin.id(position));
    message.text(3, &origin.state);
    if let Some(parent) = origin.parent_of(span) {
        message.bytes(4, &parent);
    }
    message.text(5, &span.name);
    message.number(6, kind(span));
    message.fixed(7, begun);
    message.fixed(8, ended);
    for (name, value) in attributes(span) {
        message.message(9, &attribute(&name, &value));
    }
    let mut status = Message::default();
    status.text(2, span.error.as_deref().unwrap_or_default());
    status.number(3, status_of(span));
    message.message(15, &status);
    message
}

fn span_json(record: &Record, position: usize, origin: &Origin) -> Value {
    let span = &record.spans[position];
    let (begun, ended) = times(record, span);
    let attributes: Vec<Value> = attributes(span).iter().map(|(name, value)| attribute_json(name, value)).collect();
    let mut status = json!({ "code": status_of(span) });
    if let Some(error) = &span.error {
        status["message"] = error.as_str().into();
    }
    json!({
        "traceId": hex::encode(origin.trace),
        "spanId": hex::encode(origin.id(position)),
        "traceState": origin.state,
        "parentSpanId": origin.parent_of(span).map(hex::encode).unwrap_or_default(),
        "name": span.name,
        "kind": kind(span),
        "startTimeUnixNano": begun.to_string(),
        "endTimeUnixNano": ended.to_string(),
        "attributes": attributes,
        "status": status,
    })
}

fn kind(span: &Span) -> u64 {
    match span.kind {
        Kind::Request | Kind::Transfer => CLIENT,
        Kind::Build | Kind::Stage | Kind::Step | Kind::Phase | Kind::Wait => INTERNAL,
    }
}

fn status_of(span: &Span) -> u64 {
    if span.error.is_some() { ERROR } else { UNSET }
}

/// Returns the facts under names that nobody else has; those of OpenTelemetry's conventions keep theirs.
fn attributes(span: &Span) -> Vec<(String, Value)> {
    let name = |name: &str| if name.contains('.') { name.to_owned() } else { format!("yadokari.{name}") };
    let facts = span.facts.iter().map(|(fact, value)| (name(fact), value.clone()));
    std::iter::once(("yadokari.kind".to_owned(), span.kind.name().into())).chain(facts).collect()
}

/// Returns begin and end in nanoseconds since 1970.
fn times(record: &Record, span: &Span) -> (u64, u64) {
    let begun = u64::try_from(record.begun.as_nanosecond()).unwrap_or_default();
    let at = |time: Duration| begun.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    (at(span.begun), at(span.ended()))
}

fn attribute(name: &str, value: &Value) -> Message {
    let (mut any, mut message) = (Message::default(), Message::default());
    match value {
        Value::Bool(value) => any.present(2, u64::from(*value)),
        Value::Number(number) if number.is_u64() => any.present(3, number.as_u64().unwrap_or_default()),
        Value::String(text) => any.bytes(1, text.as_bytes()),
        other => any.bytes(1, other.to_string().as_bytes()),
    }
    message.text(1, name);
    message.message(2, &any);
    message
}

fn attribute_json(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(value) => json!({ "boolValue": value }),
        Value::Number(number) if number.is_u64() => json!({ "intValue": number.to_string() }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": name, "value": value })
}

/// A message of protobuf in its wire form. Source: "Protocol Buffers, Encoding".
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// Adds a number; zero is what a field that is not there has.
    fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.present(field, value);
        }
    }

    /// Adds a number of a field that is one of several, so that it must be there.
    fn present(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn fixed(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn text(&mut self, field: u64, value: &str) {
        if !value.is_empty() {
            self.bytes(field, value.as_bytes());
        }
    }

    fn message(&mut self, field: u64, value: &Message) {
        self.bytes(field, &value.0);
    }
}
