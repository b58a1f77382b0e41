//! The document in CycloneDX 1.6's JSON.
//!
//! Each component has its URL, the files that record it (`evidence`), and as properties the layer and instruction that
//! brought it. What could not be read are properties of the document, and make what it says of the image incomplete.
//!
//! Source: <https://cyclonedx.org/docs/1.6/json/>.

use serde_json::{Value, json};

use super::bill::{Bill, Component};
use super::licence::Licence;
use super::package::Kind;
use super::spdx::image_purl;
use crate::oci::Digest;

/// Writes the document.
pub(super) fn document(bill: &Bill) -> Value {
    let subject = &bill.subject;
    let image = image_purl(bill);
    let mut components: Vec<Value> = bill.components.iter().map(|one| component(bill, one)).collect();
    components.extend(system(bill));
    let references: Vec<&str> = bill.components.iter().map(|component| component.purl.as_str()).collect();
    let unread: Vec<Value> = bill.remarks.iter().map(|remark| property("unread", &remark.said())).collect();
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&subject.identity()),
        "version": 1,
        "metadata": {
            "timestamp": subject.created,
            "lifecycles": [{ "phase": "build" }],
            "tools": { "components": [{ "type": "application", "name": "yadokari", "version": subject.tool_version }] },
            "component": {
                "bom-ref": image,
                "type": "container",
                "name": subject.name,
                "version": subject.digest.to_string(),
                "hashes": [{ "alg": "SHA-256", "content": subject.digest.hex() }],
                "purl": image,
                "properties": [property("platform", &subject.platform.to_string())],
            },
        },
        "components": components,
        "dependencies": [{ "ref": image, "dependsOn": references }],
        "compositions": [{
            "aggregate": if unread.is_empty() { "unknown" } else { "incomplete" },
            "assemblies": [image],
        }],
    });
    if !unread.is_empty() {
        document["metadata"]["properties"] = unread.into();
    }
    document
}

/// Returns a version 8 UUID that the image decides: the same image has the same document.
///
/// Source: RFC 9562, section 5.8.
fn serial(digest: &Digest) -> String {
    let mut hex: Vec<char> = digest.hex().chars().take(32).collect();
    if hex.len() == 32 {
        hex[12] = '8';
        hex[16] = 'a';
    }
    let text: String = hex.into_iter().collect();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

fn component(bill: &Bill, component: &Component) -> Value {
    let package = &component.package;
    let (group, name) = grouped(component);
    let occurrences = component.locations.iter().map(|path| json!({ "location": format!("/{path}") }));
    let mut value = json!({
        "bom-ref": component.purl,
        "type": "library",
        "name": name,
        "purl": component.purl,
        "evidence": { "occurrences": occurrences.collect::<Vec<_>>() },
        "properties": properties(bill, component),
    });
    if let Some(group) = group {
        value["group"] = group.into();
    }
    if !package.version.is_empty() {
        value["version"] = package.version.clone().into();
    }
    if let Some(supplier) = &package.supplier {
        value["supplier"] = json!({ "name": supplier });
    }
    if !package.licences.is_empty() {
        value["licenses"] = licences(&package.licences);
    }
    value
}

/// Splits what has a group of its own in this form.
fn grouped(component: &Component) -> (Option<&str>, &str) {
    let name = component.package.name.as_str();
    let split = match component.package.kind {
        Kind::Maven => name.rsplit_once(':'),
        Kind::Npm | Kind::Composer => name.split_once('/'),
        _ => None,
    };
    split.map_or((None, name), |(group, name)| (Some(group), name))
}

fn properties(bill: &Bill, component: &Component) -> Vec<Value> {
    let mut properties = Vec::new();
    if let Some(layer) = bill.layers.get(component.layer) {
        properties.push(property("layer:digest", &layer.digest.to_string()));
        properties.push(property("layer:diffId", &layer.diff_id.0.to_string()));
        properties.extend(layer.instruction.iter().map(|text| property("layer:instruction", text)));
    }
    if component.package.is_locked_only {
        properties.push(property("lockOnly", "true"));
    }
    properties
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": format!("yadokari:{name}"), "value": value })
}

/// Returns licences: one expression, or a list of single ones, which is all that the form has.
fn licences(texts: &[String]) -> Value {
    if let [only] = texts
        && let Licence::Expression(text) = Licence::of(only)
    {
        return json!([{ "expression": text }]);
    }
    let one = |text: &String| match Licence::of(text) {
        Licence::Id(id) => json!({ "license": { "id": id } }),
        Licence::Expression(text) | Licence::Named(text) => json!({ "license": { "name": text } }),
    };
    texts.iter().map(one).collect()
}

/// The distribution is a component as well.
fn system(bill: &Bill) -> Option<Value> {
    let distribution = bill.distribution.as_ref()?;
    let mut value = json!({
        "bom-ref": format!("distribution:{}", distribution.id),
        "type": "operating-system",
        "name": distribution.id,
    });
    if !distribution.version.is_empty() {
        value["version"] = distribution.version.clone().into();
    }
    if !distribution.name.is_empty() {
        value["description"] = distribution.name.clone().into();
    }
    Some(value)
}
