//! What an image is, for people.

use std::collections::BTreeMap;

use super::super::report::bytes;
use super::super::shown::{WIDTH, add, shown, wrapped};
use crate::attest::{Origin, Packages};
use crate::inspect::{Found, Held, ImageFacts, Inspected, Layer, Settings, SignatureFound, State, StatementFound};

/// How wide the words before values are: a digest fits behind them.
const LABEL: usize = 9;
/// How many lines an instruction may take.
const LONGEST_INSTRUCTION: usize = 6;
const CHECKS: &str =
    "--key FILE checks them, or --certificate-identity with --certificate-oidc-issuer and --trusted-root";

/// Writes all that is known.
pub(super) fn render(inspected: &Inspected) -> String {
    let mut page = String::new();
    field(&mut page, "image", &inspected.name);
    field(&mut page, "digest", inspected.digest.as_str());
    field(&mut page, "type", &inspected.media_type);
    if let Some(found) = &inspected.index {
        let platforms: Vec<&str> = inspected.images.iter().map(|image| &*image.platform).collect();
        field(&mut page, "images", &platforms.join(", "));
        map(&mut page, "annotations", &inspected.annotations);
        claims(&mut page, found);
    }
    for image in &inspected.images {
        if inspected.index.is_some() {
            page.push('\n');
        }
        self::image(&mut page, image, inspected.index.is_some());
    }
    page
}

fn image(page: &mut String, image: &ImageFacts, is_in_index: bool) {
    field(page, "platform", &image.platform);
    if is_in_index {
        field(page, "digest", image.digest.as_str());
        field(page, "type", &image.media_type);
    }
    field(page, "config", image.config_digest.as_str());
    field(page, "created", image.created.as_deref().unwrap_or_default());
    if let Some(base) = &image.base {
        field(page, "base", base.name.as_deref().unwrap_or("(without a name)"));
        field(page, "", base.digest.as_deref().unwrap_or("(without a digest)"));
    }
    settings(page, &image.config);
    map(page, "annotations", &image.annotations);
    let count = image.layers.iter().filter(|layer| layer.digest.is_some()).count();
    field(page, "layers", &format!("{count}, {}", bytes(image.size)));
    for layer in &image.layers {
        self::layer(page, layer);
    }
    claims(page, &image.found);
}

/// Writes a value behind its name; an empty one not at all.
fn field(page: &mut String, label: &str, value: &str) {
    if !value.is_empty() {
        add(page, &format!("{label:LABEL$}"), &shown(value));
    }
}

fn map(page: &mut String, label: &str, pairs: &BTreeMap<String, String>) {
    if pairs.is_empty() {
        return;
    }
    page.push_str(label);
    page.push('\n');
    for (key, value) in pairs {
        add(page, "  ", &shown(&format!("{key}={value}")));
    }
}

fn settings(page: &mut String, settings: &Settings) {
    let words = |words: &Option<Vec<String>>| words.as_ref().and_then(|words| serde_json::to_string(words).ok());
    field(page, "entry", &words(&settings.entrypoint).unwrap_or_default());
    field(page, "cmd", &words(&settings.cmd).unwrap_or_default());
    field(page, "env", &settings.env.join(" "));
    field(page, "user", &settings.user);
    field(page, "workdir", &settings.workdir);
    field(page, "ports", &settings.ports.join(" "));
    field(page, "volumes", &settings.volumes.join(" "));
    map(page, "labels", &settings.labels);
}

fn layer(page: &mut String, layer: &Layer) {
    let digest = layer.digest.as_ref().map_or("", |digest| digest.short());
    let size = layer.size.map_or_else(|| "-".to_owned(), bytes);
    let head = format!("  {digest:19}{size:>10}  ");
    let instruction = shown(layer.created_by.as_deref().unwrap_or("(unknown)"));
    let lines = wrapped(&instruction, WIDTH - head.len());
    for (number, line) in lines.iter().take(LONGEST_INSTRUCTION).enumerate() {
        let more = if number + 1 == LONGEST_INSTRUCTION && lines.len() > LONGEST_INSTRUCTION { " …" } else { "" };
        // A word that is longer than the page has its beginning there.
        let short: String = line.chars().take(WIDTH * 2).collect();
        let head = if number == 0 { head.clone() } else { " ".repeat(head.len()) };
        page.push_str(format!("{head}{short}{more}").trim_end());
        page.push('\n');
    }
}

fn claims(page: &mut String, found: &Found) {
    if !found.statements.is_empty() {
        page.push_str("statements\n");
    }
    for statement in &found.statements {
        self::statement(page, statement);
    }
    if !found.signatures.is_empty() {
        page.push_str("signatures\n");
    }
    let (unchecked, judged): (Vec<_>, Vec<_>) =
        found.signatures.iter().partition(|signature| signature.state == State::NotChecked);
    for signature in judged {
        self::signature(page, signature);
    }
    for signature in &unchecked {
        add(page, "  ", &format!("not checked: {}", what(signature)));
    }
    if !unchecked.is_empty() {
        add(page, "  ", CHECKS);
    }
}

fn statement(page: &mut String, statement: &StatementFound) {
    let kind = match &*statement.summary.predicate_type {
        "" => "a statement",
        kind => kind,
    };
    let signed = if statement.is_signed { "signed" } else { "not signed" };
    let mut text = format!("{kind}, {}, {signed}", place(statement.held));
    if let Some(error) = &statement.error {
        text += &format!(", cannot be read: {error}");
    } else if !statement.is_about_it {
        text += ", about another image";
    }
    add(page, "  ", &shown(&text));
    if let Some(packages) = &statement.summary.packages {
        add(page, "    ", &shown(&counted(packages)));
    }
    if let Some(origin) = &statement.summary.provenance {
        provenance(page, origin);
    }
}

fn counted(packages: &Packages) -> String {
    let kinds: Vec<String> = packages.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let files = if packages.files == 0 { String::new() } else { format!(", {} files", packages.files) };
    format!("{}: {} packages{kinds}{files}", packages.format, packages.total)
}

fn provenance(page: &mut String, origin: &Origin) {
    let line = |page: &mut String, label: &str, value: Option<&str>| {
        if let Some(value) = value {
            add(page, &format!("    {label:LABEL$}"), &shown(value));
        }
    };
    line(page, "builder", origin.builder.as_deref());
    line(page, "type", origin.build_type.as_deref());
    line(page, "source", origin.source.as_deref());
    line(page, "revision", origin.revision.as_deref());
    line(page, "started", origin.started.as_deref());
    line(page, "finished", origin.finished.as_deref());
    for read in &origin.dependencies {
        line(page, "read", Some(&read.uri));
        add(page, "      ", &shown(read.digest.as_deref().unwrap_or("(without a digest)")));
    }
}

fn place(held: Held) -> &'static str {
    match held {
        Held::Index => "in its index",
        Held::Referrer => "in a referrer",
        Held::Bundle => "in a bundle",
        Held::Tag => "under a tag",
    }
}

/// Says what is signed, and where.
fn what(signature: &SignatureFound) -> String {
    let of = signature
        .predicate_type
        .as_ref()
        .map_or_else(|| "the image".to_owned(), |kind| format!("the statement {}", shown(kind)));
    format!("{of}, {}", place(signature.held))
}

fn signature(page: &mut String, signature: &SignatureFound) {
    let text = match &signature.state {
        State::Holds { by, name: Some(name) } => format!("holds: {}, by {by}, as {name}", what(signature)),
        State::Holds { by, name: None } => format!("holds: {}, by {by}", what(signature)),
        State::Refused { reason } => format!("DOES NOT HOLD: {}: {reason}", what(signature)),
        State::NotChecked => return,
    };
    add(page, "  ", &shown(&text));
}
