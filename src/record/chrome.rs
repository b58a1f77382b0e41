//! The Trace Event Format, which Perfetto and `chrome://tracing` open: a process for each stage and for the transfers, in it
//! a thread for each lane.
//!
//! Source: "Trace Event Format", sections "Duration Events" (complete events, `X`) and "Metadata Events" (`M`). Times are
//! microseconds since the build began.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Record, lanes};

/// Writes a record in the object form of the format.
pub fn chrome_trace(record: &Record) -> Value {
    let lanes = lanes::of(record);
    let mut processes: Vec<&str> = Vec::new();
    let mut threads: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut events = Vec::with_capacity(record.spans.len());
    for (span, lane) in record.spans.iter().zip(&lanes) {
        let process = match processes.iter().position(|known| *known == lane.group) {
            Some(process) => process,
            None => {
                processes.push(&lane.group);
                processes.len() - 1
            }
        };
        threads.insert((process, lane.number));
        let mut facts = span.facts.clone();
        if let Some(error) = &span.error {
            facts.insert("error".to_owned(), error.as_str().into());
        }
        events.push(json!({
            "ph": "X", "name": span.name, "cat": span.kind.name(), "pid": process + 1, "tid": lane.number + 1,
            "ts": microseconds(span.begun), "dur": microseconds(span.elapsed), "args": facts,
        }));
    }
    let mut named: Vec<Value> = Vec::new();
    for (process, name) in processes.iter().enumerate() {
        named.push(json!({ "ph": "M", "name": "process_name", "pid": process + 1, "args": { "name": name } }));
        let order = json!({ "sort_index": process });
        named.push(json!({ "ph": "M", "name": "process_sort_index", "pid": process + 1, "args": order }));
    }
    for (process, lane) in &threads {
        let name = json!({ "name": format!("{} {}", processes[*process], lane + 1) });
        named.push(json!({ "ph": "M", "name": "thread_name", "pid": process + 1, "tid": lane + 1, "args": name }));
    }
    named.extend(events);
    json!({
        "traceEvents": named,
        "displayTimeUnit": "ms",
        "otherData": {
            "builder": concat!("yadokari ", env!("CARGO_PKG_VERSION")),
            "startedAt": format!("{:.6}", record.begun),
            "spansLeftOut": record.left_out,
        },
    })
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
