//! The document in SPDX 2.3's JSON.
//!
//! Each package has a URL, the file that records it and the layer and instruction that brought it (`sourceInfo`); what could
//! not be read are annotations of the document.
//!
//! Source: <https://spdx.github.io/spdx-spec/v2.3/>.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::bill::{Bill, Component};
use super::licence::Licence;
use crate::oci::Digest;
use crate::oci::purl::encoded;

const NONE: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// Writes the document.
pub(super) fn document(bill: &Bill) -> Value {
    let subject = &bill.subject;
    let mut named = BTreeMap::new();
    let mut packages = vec![image(bill)];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for component in &bill.components {
        let id = id(component);
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
        packages.push(package(bill, component, &id, &mut named));
    }
    let annotations: Vec<Value> = bill.remarks.iter().map(|remark| annotation(bill, &remark.said())).collect();
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("https://yadokari.build/sbom/spdx/{}", bill.subject.identity().hex()),
        "creationInfo": {
            "created": subject.created,
            "creators": [creator(bill)],
            "licenseListVersion": list_version(),
        },
        "packages": packages,
        "relationships": relationships,
    });
    if !annotations.is_empty() {
        document["annotations"] = annotations.into();
    }
    if !named.is_empty() {
        document["hasExtractedLicensingInfos"] = named
            .iter()
            .map(|(id, text)| json!({ "licenseId": id, "name": text, "extractedText": text }))
            .collect::<Vec<_>>()
            .into();
    }
    document
}

/// Returns the version of SPDX's list of licences as documents have it, `3.27`.
fn list_version() -> String {
    let mut numbers = spdx::license_version().trim_start_matches('v').split('.');
    format!("{}.{}", numbers.next().unwrap_or("3"), numbers.next().unwrap_or("0"))
}

fn creator(bill: &Bill) -> String {
    format!("Tool: yadokari-{}", bill.subject.tool_version)
}

fn image(bill: &Bill) -> Value {
    let subject = &bill.subject;
    json!({
        "SPDXID": IMAGE,
        "name": subject.name,
        "versionInfo": subject.digest.to_string(),
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "comment": format!("platform {}", subject.platform),
        "checksums": [{ "algorithm": "SHA256", "checksumValue": subject.digest.hex() }],
        "externalRefs": [reference(&image_purl(bill))],
    })
}

/// Returns the URL of an image: what a registry's manifest has as its digest names it.
pub(super) fn image_purl(bill: &Bill) -> String {
    let subject = &bill.subject;
    let short = subject.name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let architecture = encoded(&subject.platform.architecture);
    let repository =
        if subject.name.contains('/') { format!("&repository_url={}", encoded(&subject.name)) } else { String::new() };
    format!("pkg:oci/{}@{}?arch={architecture}{repository}", encoded(&short), encoded(&subject.digest.to_string()))
}

fn package(bill: &Bill, component: &Component, id: &str, named: &mut BTreeMap<String, String>) -> Value {
    let package = &component.package;
    let mut value = json!({
        "SPDXID": id,
        "name": package.name,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "sourceInfo": source(bill, component),
        "licenseConcluded": NONE,
        "licenseDeclared": declared(&package.licences, named),
        "copyrightText": NONE,
        "externalRefs": [reference(&component.purl)],
    });
    if !package.version.is_empty() {
        value["versionInfo"] = package.version.clone().into();
    }
    if let Some(supplier) = &package.supplier {
        value["supplier"] = format!("Organization: {supplier}").into();
    }
    value
}

fn reference(purl: &str) -> Value {
    json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl })
}

/// Says where a package is recorded, and what brought it.
fn source(bill: &Bill, component: &Component) -> String {
    let mut text = format!("recorded in /{}", component.locations.join(", /"));
    if component.package.is_locked_only {
        text.push_str(", a lock file: nothing installed was seen");
    }
    if let Some(layer) = bill.layers.get(component.layer) {
        text.push_str(&format!("; layer {}", layer.digest));
        if let Some(instruction) = &layer.instruction {
            text.push_str(&format!("; instruction {instruction}"));
        }
    }
    text
}

/// Returns the expression of all licences; what is none of SPDX's gets a name of this document's.
fn declared(licences: &[String], named: &mut BTreeMap<String, String>) -> String {
    let several = licences.len() > 1;
    let terms = licences.iter().map(|text| match Licence::of(text) {
        Licence::Id(id) => id,
        Licence::Expression(text) if several => format!("({text})"),
        Licence::Expression(text) => text,
        Licence::Named(text) => {
            let id = format!("LicenseRef-{}", short_hash(&text));
            named.insert(id.clone(), text);
            id
        }
    });
    let mut terms: Vec<String> = terms.collect();
    terms.dedup();
    if terms.is_empty() { NONE.to_owned() } else { terms.join(" AND ") }
}

/// Returns a package's name within the document: letters, digits, dots and dashes.
fn id(component: &Component) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' };
    let name: String = component.package.name.chars().map(clean).collect();
    format!("SPDXRef-Package-{name}-{}", short_hash(&component.purl))
}

fn short_hash(text: &str) -> String {
    Digest::of(text.as_bytes()).hex()[..16].to_owned()
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn annotation(bill: &Bill, text: &str) -> Value {
    json!({
        "annotationType": "OTHER",
        "annotator": creator(bill),
        "annotationDate": bill.subject.created,
        "comment": text,
    })
}
