//! The report: one page of HTML for those who would rather look than read.
//!
//! *Invariant: it needs no script, no network and no other file, and a policy in it forbids them; every text that comes
//! from outside is escaped.*

use std::fmt::Write as _;
use std::time::Duration;

use super::{Kind, Record, Span, lanes};

/// How many spans are drawn of a group; a browser should not have to think about it.
const MOST_DRAWN: usize = 400;

/// What a page says beside the record.
#[derive(Clone, Debug, Default)]
pub struct Heading {
    /// Names and values of what was built and how.
    pub facts: Vec<(&'static str, String)>,
    /// How it failed: the message, and what explains it.
    pub failure: Option<(String, Vec<String>)>,
}

/// Writes a page.
pub fn page(record: &Record, heading: &Heading) -> String {
    let (result, word) = match heading.failure {
        Some(_) => ("✗ failed", "failed"),
        None => ("✓ succeeded", "succeeded"),
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Build {word}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Build <span class=\"{word}\">{result}</span> in {}</h1>\n",
        duration(record.spans.first().map_or(Duration::ZERO, |build| build.elapsed))
    );
    if let Some((message, explanations)) = &heading.failure {
        let more: String = explanations.iter().map(|text| format!("<li>{}</li>", escaped(text))).collect();
        let _ = writeln!(page, "<section class=\"error\"><p>{}</p><ul>{more}</ul></section>", escaped(message));
    }
    page += "<dl>";
    for (name, value) in &heading.facts {
        let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
    }
    page += "</dl>\n";
    timeline(&mut page, record);
    steps(&mut page, record);
    layers(&mut page, record);
    let rows = record.bases.iter().map(|(name, digest)| vec![escaped(name), code(digest)]);
    table(&mut page, "Base images", &["Image", "Digest"], rows.collect(), "No registry was asked for an image.");
    let rows = record.warnings.iter().map(|warned| {
        let line = warned.line.map_or_else(String::new, |line| format!("{line} "));
        let source = warned.source.as_deref().map(code).unwrap_or_default();
        vec![line + &source, code(&warned.rule), escaped(&warned.message)]
    });
    table(&mut page, "Warnings", &["Dockerfile line", "Rule", "What is wrong"], rows.collect(), "None.");
    let rows = record.phases.iter().map(|(phase, time)| vec![phase.name().to_owned(), duration(*time)]);
    table(&mut page, "Where the time went", &["Phase", "Time"], rows.collect(), "Nothing took time.");
    let left_out = match record.left_out {
        0 => String::new(),
        count => format!(" {count} requests and transfers are not shown."),
    };
    let _ = writeln!(
        page,
        "</main>\n<footer>yadokari {}, {:.3}.{left_out}</footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        record.begun
    );
    page
}

/// Draws what happened when: a group for each stage, the transfers, the requests and the waits.
fn timeline(page: &mut String, record: &Record) {
    let whole = record.spans.iter().map(Span::ended).max().unwrap_or_default().as_secs_f64().max(1e-9);
    let lanes = lanes::of(record);
    let mut groups: Vec<&str> = Vec::new();
    for lane in &lanes {
        if !groups.contains(&&*lane.group) {
            groups.push(&lane.group);
        }
    }
    page.push_str("<h2>Timeline</h2>\n<p class=\"key\">");
    let kinds = [Kind::Stage, Kind::Step, Kind::Phase, Kind::Transfer, Kind::Request, Kind::Wait];
    for kind in kinds {
        let _ = write!(page, "<span class=\"bar {0}\"></span>{0} ", kind.name());
    }
    page.push_str("<span class=\"bar step failed\"></span>✗ failed</p>\n");
    for group in groups {
        let mut of_group: Vec<usize> = (0..lanes.len()).filter(|position| lanes[*position].group == group).collect();
        of_group.sort_by_key(|position| (record.spans[*position].begun, lanes[*position].depth));
        let (shown, more) = (of_group.len().min(MOST_DRAWN), of_group.len().saturating_sub(MOST_DRAWN));
        let open = if group == "requests" { "" } else { " open" };
        let _ = write!(
            page,
            "<details{open}><summary>{} ({})</summary><ol class=\"lanes\">",
            escaped(group),
            of_group.len()
        );
        for position in &of_group[..shown] {
            let span = &record.spans[*position];
            let left = span.begun.as_secs_f64() / whole * 100.0;
            let width = (span.elapsed.as_secs_f64() / whole * 100.0).max(0.2).min(100.0 - left.min(99.8));
            let (kind, failed) = (span.kind.name(), if span.error.is_some() { " failed" } else { "" });
            let mark = if span.error.is_some() { "✗ " } else { "" };
            let begun = duration(span.begun);
            let _ = write!(
                page,
                "<li tabindex=\"0\"><span class=\"name d{}\">{mark}{}</span><span class=\"track\"><span class=\"bar \
                 {kind}{failed}\" style=\"left:{:.2}%;width:{width:.2}%\"></span></span><span class=\"time\">{} <small>at \
                 {begun}</small></span></li>",
                lanes[*position].depth.min(3),
                escaped(&span.name),
                left.min(99.8),
                duration(span.elapsed),
            );
        }
        page.push_str("</ol>");
        if more > 0 {
            let _ = write!(page, "<p>and {more} more</p>");
        }
        page.push_str("</details>\n");
    }
}

/// Lists the steps, with what the cache said.
fn steps(page: &mut String, record: &Record) {
    let all = record.spans.iter().filter(|span| span.kind == Kind::Step);
    let rows = all.map(|span| {
        let result = match (&span.error, span.facts.get("result").and_then(|result| result.as_str())) {
            (Some(_), _) => "✗ failed".to_owned(),
            (None, Some("cached")) => "✓ cached".to_owned(),
            (None, Some(result)) => escaped(result),
            (None, None) => "not finished".to_owned(),
        };
        let miss = match text(span, "miss").as_str() {
            "" => String::new(),
            miss => format!("not in the cache: {}", escaped(miss)),
        };
        let number = format!("{} {}/{}", text(span, "stage"), text(span, "step"), text(span, "steps"));
        vec![escaped(&number), code(&span.name), result, miss, duration(span.elapsed)]
    });
    table(
        page,
        "Steps",
        &["Step", "Instruction", "Result", "Why it was done", "Time"],
        rows.collect(),
        "No step began.",
    );
}

/// Lists the layers that steps made, the longest bar for the largest.
fn layers(page: &mut String, record: &Record) {
    let size = |span: &Span| span.facts.get("size").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let all: Vec<&Span> = record.spans.iter().filter(|span| span.facts.contains_key("digest")).collect();
    let largest = all.iter().map(|span| size(span)).max().unwrap_or(0).max(1);
    let rows = all.iter().map(|span| {
        let share = size(span).saturating_mul(100) / largest;
        let bar =
            format!("<span class=\"track\"><span class=\"bar step\" style=\"left:0;width:{share}%\"></span></span>");
        vec![code(&text(span, "digest")), bytes(size(span)), bar, code(&span.name), largest_files(span)]
    });
    let none = "No step made a layer.";
    let heads = ["Digest", "Size", "Compared", "Made by", "Largest files"];
    table(page, "Layers of the steps", &heads, rows.collect(), none);
}

/// Lists the largest files of a layer, folded: they are many.
fn largest_files(span: &Span) -> String {
    let Some((_, size)) = span.largest.first() else { return String::new() };
    let file = |(path, size): &(String, u64)| format!("<li>{} {}</li>", code(path), bytes(*size));
    let files: String = span.largest.iter().map(file).collect();
    format!("<details><summary>up to {}</summary><ul>{files}</ul></details>", bytes(*size))
}

/// Writes a table of cells that are HTML already.
fn table(page: &mut String, title: &str, heads: &[&str], rows: Vec<Vec<String>>, none: &str) {
    let _ = writeln!(page, "<h2>{title}</h2>");
    if rows.is_empty() {
        let _ = writeln!(page, "<p>{none}</p>");
        return;
    }
    page.push_str("<div class=\"wide\"><table><thead><tr>");
    for head in heads {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr tabindex=\"0\">");
        for cell in row {
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn text(span: &Span, fact: &str) -> String {
    match span.facts.get(fact) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// Writes a text so that it is one in HTML, also in a quoted attribute; what cannot be seen or turns the direction of
/// what follows is replaced.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            '\n' | '\t' => shown.push(c),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                shown.push('\u{fffd}');
            }
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds if seconds < 60 => format!("{:.1} s", time.as_secs_f64()),
        seconds if seconds < 3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn bytes(size: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", size / unit, size % unit * 10 / unit);
    match size {
        0..1000 => format!("{size} B"),
        1000..1_000_000 => format!("{} kB", tenths(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// How it looks. Kinds differ by pattern and not by colour alone.
const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--line:#d1d9e0;--a:#1f6feb;--bad:#b3261e;--good:#1a7f37}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;--line:#3d444d;--a:#58a6ff;--bad:#ff7b72;--good:#56d364}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main,footer{max-width:76rem;margin:0 auto;padding:0 1.25rem}
main{padding-top:1.5rem}
h1{font-size:1.6rem;margin:0 0 1rem}
h2{font-size:1.15rem;margin:2rem 0 .5rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
.succeeded{color:var(--good)}h1 .failed{color:var(--bad)}
.error{border:2px solid var(--bad);border-radius:6px;padding:.5rem 1rem;margin-bottom:1rem}
.error p{font-weight:600;margin:.25rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.25rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:13px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}
td .track{min-width:8rem}
summary{cursor:pointer;font-weight:600;padding:.3rem 0}
.lanes{list-style:none;margin:0 0 .75rem;padding:0}
.lanes li{display:grid;grid-template-columns:minmax(9rem,22rem) 1fr 9rem;gap:.75rem;align-items:center;padding:1px 0}
.name{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;font-size:13px}
.d1{padding-left:1rem}.d2{padding-left:2rem}.d3{padding-left:3rem}
li:focus .name{white-space:normal;overflow-wrap:anywhere}
:focus-visible{outline:2px solid var(--a);outline-offset:1px}
.time{font-size:13px;font-variant-numeric:tabular-nums;white-space:nowrap}.time small{color:var(--soft)}
.track{display:block;position:relative;height:14px;background:color-mix(in srgb,var(--line) 35%,transparent);border-radius:3px}
.track .bar{position:absolute;top:0;bottom:0;min-width:2px}
.bar{border:1px solid var(--a);border-radius:3px;background:var(--a)}
.key .bar{display:inline-block;width:2rem;height:.8rem;margin:0 .4rem 0 .9rem;vertical-align:-1px}
.bar.build,.bar.stage{background:transparent}
.bar.step{background:color-mix(in srgb,var(--a) 55%,transparent)}
.bar.phase{background:repeating-linear-gradient(90deg,color-mix(in srgb,var(--a) 45%,transparent) 0 3px,transparent 3px 6px)}
.bar.transfer{background:repeating-linear-gradient(45deg,color-mix(in srgb,var(--a) 55%,transparent) 0 4px,transparent 4px 8px)}
.bar.request{background:transparent;border-style:dotted}
.bar.wait{background:transparent;border-style:dashed}
.bar.failed{border:2px solid var(--bad);background:repeating-linear-gradient(-45deg,color-mix(in srgb,var(--bad) 60%,transparent) 0 3px,transparent 3px 6px)}
footer{color:var(--soft);font-size:13px;padding-top:1.5rem;padding-bottom:2rem}
@media(max-width:45rem){.lanes li{grid-template-columns:1fr auto}.lanes .track{grid-column:1/-1;grid-row:2}}
@media print{main{max-width:none}tr,li{break-inside:avoid}.bar,.track{print-color-adjust:exact;-webkit-print-color-adjust:exact}.name{white-space:normal}}
";
