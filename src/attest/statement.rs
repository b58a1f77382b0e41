//! Statements: a predicate, and the images that it is about.
//!
//! Source: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::oci::Digest;

/// The media type of a statement: of one that nobody has signed, and of what an envelope holds of one.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The annotation that tells what kind of predicate a document has, without reading it.
///
/// Source: <https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md>.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What it is called: a package URL.
    pub name: String,
    /// Its digest, which alone decides what is meant.
    pub digest: Digest,
}

/// Something that is said about images. Its predicate is kept as text: one about packages may have megabytes.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// What kind of predicate it is: a URI.
    pub predicate_type: String,
    /// What is said, as JSON.
    pub predicate: Box<RawValue>,
}

impl Statement {
    /// Says something about images.
    ///
    /// # Errors
    /// When the predicate cannot be written as JSON.
    pub fn new(
        subjects: Vec<Subject>,
        predicate_type: &str,
        predicate: &impl Serialize,
    ) -> Result<Self, serde_json::Error> {
        let predicate = serde_json::value::to_raw_value(predicate)?;
        Ok(Self { subjects, predicate_type: predicate_type.to_owned(), predicate })
    }

    /// Returns the bytes that are kept, and that a signature is of.
    pub fn to_bytes(&self) -> Bytes {
        let wire = Wire {
            r#type: STATEMENT_TYPE,
            subject: &self.subjects,
            predicate_type: &self.predicate_type,
            predicate: &self.predicate,
        };
        Bytes::from(serde_json::to_vec(&wire).expect("texts and JSON always serialize"))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(rename = "_type")]
    r#type: &'static str,
    subject: &'a [Subject],
    predicate_type: &'a str,
    predicate: &'a RawValue,
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Digests<'a> {
            sha256: &'a str,
        }
        #[derive(Serialize)]
        struct Named<'a> {
            name: &'a str,
            digest: Digests<'a>,
        }
        Named { name: &self.name, digest: Digests { sha256: self.digest.hex() } }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_statement_has_the_fields_of_its_specification() {
        let subject = Subject { name: "pkg:docker/app@1".to_owned(), digest: Digest::of(b"image") };
        let statement =
            Statement::new(vec![subject], "https://example.com/p", &json!({"b": 1, "a": [2]})).expect("is JSON");
        let read: Value = serde_json::from_slice(&statement.to_bytes()).expect("is JSON");
        let expected = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "pkg:docker/app@1", "digest": {"sha256": Digest::of(b"image").hex()}}],
            "predicateType": "https://example.com/p",
            "predicate": {"b": 1, "a": [2]},
        });
        assert_eq!(read, expected);
    }
}
