//! What a statement says, in short: of provenance who has built what of what, of a list of packages how many there are.
//!
//! *Invariant: packages and files are counted while they are read; what is kept of a document does not grow with them.*

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::provenance::DigestSet;
use crate::oci::Digest;

/// How many kinds of packages are told apart; further ones are `other`.
const MOST_KINDS: usize = 64;
const OTHER: &str = "other";
/// What SPDX calls the image itself. Source: SPDX 2.3, 7.24.
const CONTAINER: &str = "CONTAINER";

/// What a statement says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What kind of predicate it has: a URI.
    pub predicate_type: String,
    /// The images that it is about: what follows `sha256:`.
    #[serde(skip)]
    subjects: Vec<String>,
    /// How the image came to be, if it says that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Origin>,
    /// What is in it, if it says that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Packages>,
}

/// How an image came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Who has built it: a URI.
    pub builder: Option<String>,
    /// How its parameters are to be read: a URI.
    pub build_type: Option<String>,
    /// What was built: the repository.
    pub source: Option<String>,
    /// The commit, or the digest of what is no repository: `sha1:…`.
    pub revision: Option<String>,
    /// When it began, RFC 3339.
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    pub finished: Option<String>,
    /// What was read: each with its digest, if it has one.
    pub dependencies: Vec<Read>,
}

/// Something that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Read {
    /// What it is called.
    pub uri: String,
    /// Its digest, `sha256:…`.
    pub digest: Option<String>,
}

/// How many packages there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// What the document is: `SPDX-2.3`, `CycloneDX 1.6`.
    pub format: String,
    /// All of them.
    pub total: u64,
    /// By the type of their package URL: `deb`, `npm`; `other` has none.
    pub kinds: BTreeMap<String, u64>,
    /// How many files are listed, apart from that.
    pub files: u64,
}

impl Origin {
    /// Reads the predicate of a statement; none where its type is not provenance.
    ///
    /// # Errors
    /// When it is not what its type says.
    pub fn read(predicate_type: &str, predicate: &str) -> Result<Option<Self>, serde_json::Error> {
        if predicate_type.starts_with("https://slsa.dev/provenance/v0.") {
            return Ok(Some(serde_json::from_str::<Version0>(predicate)?.into()));
        }
        if predicate_type.starts_with("https://slsa.dev/provenance/") {
            return Ok(Some(serde_json::from_str::<Version1>(predicate)?.into()));
        }
        Ok(None)
    }
}

impl Summary {
    /// Reads a statement.
    ///
    /// # Errors
    /// When it is none, or its predicate is not what its type says.
    pub fn parse(statement: &[u8]) -> Result<Self, serde_json::Error> {
        let wire: Wire<'_> = serde_json::from_slice(statement)?;
        let predicate_type = wire.predicate_type.unwrap_or_default();
        let subjects =
            wire.subject.unwrap_or_default().into_iter().filter_map(|subject| subject.digest.sha256).collect();
        let mut summary = Self { predicate_type, subjects, provenance: None, packages: None };
        let Some(predicate) = wire.predicate.map(RawValue::get) else { return Ok(summary) };
        let kind = summary.predicate_type.as_str();
        summary.provenance = Origin::read(kind, predicate)?;
        if kind.starts_with("https://spdx.dev/Document") {
            summary.packages = Some(serde_json::from_str::<Spdx>(predicate)?.into());
        } else if kind.starts_with("https://cyclonedx.org/bom") {
            summary.packages = Some(serde_json::from_str::<CycloneDx>(predicate)?.into());
        }
        Ok(summary)
    }

    /// Tells whether it is about this image.
    pub fn is_about(&self, image: &Digest) -> bool {
        self.subjects.iter().any(|subject| subject == image.hex())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    predicate_type: Option<String>,
    subject: Option<Vec<Subject>>,
    #[serde(borrow)]
    predicate: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: Digests,
}

#[derive(Default, Deserialize)]
struct Digests {
    sha256: Option<String>,
}

/// SLSA provenance 1.x. Source: <https://slsa.dev/spec/v1.1/provenance>.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Version1 {
    build_definition: Definition,
    run_details: Details,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Definition {
    build_type: Option<String>,
    external_parameters: Parameters,
    resolved_dependencies: Option<Vec<Material>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    config_source: Option<Material>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Material {
    uri: Option<String>,
    digest: Option<DigestSet>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    builder: Builder,
    metadata: Option<Times>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Builder {
    id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Times {
    #[serde(rename = "startedOn", alias = "buildStartedOn")]
    started: Option<String>,
    #[serde(rename = "finishedOn", alias = "buildFinishedOn")]
    finished: Option<String>,
    #[serde(rename = "buildkit_metadata", alias = "https://mobyproject.org/buildkit@v1#metadata")]
    buildkit: Option<Buildkit>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Buildkit {
    vcs: Option<Vcs>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Vcs {
    source: Option<String>,
    revision: Option<String>,
}

/// SLSA provenance 0.1 and 0.2. Source: <https://slsa.dev/spec/v0.2/provenance>.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Version0 {
    builder: Builder,
    build_type: Option<String>,
    invocation: Parameters,
    materials: Option<Vec<Material>>,
    metadata: Option<Times>,
}

impl Material {
    fn digest(&self) -> Option<String> {
        let (algorithm, digits) = self.digest.as_ref()?.first_key_value()?;
        Some(format!("{algorithm}:{digits}"))
    }
}

impl From<Material> for Read {
    fn from(material: Material) -> Self {
        let digest = material.digest();
        Self { uri: material.uri.unwrap_or_default(), digest }
    }
}

/// Joins what both versions say.
fn origin(
    (builder, build_type): (Builder, Option<String>),
    (source, dependencies): (Option<Material>, Option<Vec<Material>>),
    times: Option<Times>,
) -> Origin {
    let times = times.unwrap_or_default();
    let vcs = times.buildkit.and_then(|buildkit| buildkit.vcs).unwrap_or_default();
    let (uri, digest) = source.map_or((None, None), |source| {
        let digest = source.digest();
        (source.uri, digest)
    });
    // A local directory that is a clone says so in BuildKit's notes.
    let (source, revision) = if uri.is_some() { (uri, digest) } else { (vcs.source, vcs.revision.or(digest)) };
    Origin {
        builder: builder.id,
        build_type,
        source,
        revision,
        started: times.started,
        finished: times.finished,
        dependencies: dependencies.unwrap_or_default().into_iter().map(Read::from).collect(),
    }
}

impl From<Version1> for Origin {
    fn from(Version1 { build_definition, run_details }: Version1) -> Self {
        let Definition { build_type, external_parameters, resolved_dependencies } = build_definition;
        let Details { builder, metadata } = run_details;
        origin((builder, build_type), (external_parameters.config_source, resolved_dependencies), metadata)
    }
}

impl From<Version0> for Origin {
    fn from(Version0 { builder, build_type, invocation, materials, metadata }: Version0) -> Self {
        origin((builder, build_type), (invocation.config_source, materials), metadata)
    }
}

/// SPDX 2.x, and the graph of 3.0.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spdx {
    spdx_version: Option<String>,
    packages: Counted<SpdxPackage>,
    files: Counted<IgnoredAny>,
    #[serde(rename = "@graph")]
    graph: Counted<SpdxElement>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpdxPackage {
    primary_package_purpose: Option<String>,
    external_refs: Option<Vec<ExternalReference>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExternalReference {
    reference_type: Option<String>,
    reference_locator: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SpdxElement {
    r#type: Option<String>,
    #[serde(rename = "software_packageUrl")]
    package_url: Option<String>,
}

/// CycloneDX 1.x.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CycloneDx {
    spec_version: Option<String>,
    components: Counted<CycloneDxComponent>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CycloneDxComponent {
    r#type: Option<String>,
    purl: Option<String>,
}

impl From<Spdx> for Packages {
    fn from(Spdx { spdx_version, packages, files, graph }: Spdx) -> Self {
        let counted = if graph.total + graph.files > 0 { graph.counts() } else { packages.counts() };
        let format = spdx_version.unwrap_or_else(|| "SPDX".to_owned());
        Self { format, files: counted.files + files.total, ..counted }
    }
}

impl From<CycloneDx> for Packages {
    fn from(CycloneDx { spec_version, components }: CycloneDx) -> Self {
        let format = format!("CycloneDX {}", spec_version.unwrap_or_default());
        Self { format: format.trim_end().to_owned(), ..components.counts() }
    }
}

/// What one element of a list is counted as.
enum Counts {
    Package(Option<String>),
    File,
    Nothing,
}

trait Element {
    fn counts(self) -> Counts;
}

impl Element for IgnoredAny {
    fn counts(self) -> Counts {
        Counts::Package(None)
    }
}

impl Element for SpdxPackage {
    fn counts(self) -> Counts {
        if self.primary_package_purpose.as_deref() == Some(CONTAINER) {
            return Counts::Nothing;
        }
        let references = self.external_refs.unwrap_or_default();
        let is_purl = |one: &ExternalReference| one.reference_type.as_deref() == Some("purl");
        Counts::Package(references.into_iter().find(is_purl).and_then(|one| one.reference_locator))
    }
}

impl Element for SpdxElement {
    fn counts(self) -> Counts {
        match self.r#type.as_deref() {
            Some("software_Package") => Counts::Package(self.package_url),
            Some("software_File") => Counts::File,
            _ => Counts::Nothing,
        }
    }
}

impl Element for CycloneDxComponent {
    fn counts(self) -> Counts {
        match self.r#type.as_deref() {
            Some("file") => Counts::File,
            Some("container") => Counts::Nothing,
            _ => Counts::Package(self.purl),
        }
    }
}

/// A list of which only the numbers are kept.
struct Counted<T> {
    total: u64,
    files: u64,
    kinds: BTreeMap<String, u64>,
    of: PhantomData<T>,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self { total: 0, files: 0, kinds: BTreeMap::new(), of: PhantomData }
    }
}

impl<T> Counted<T> {
    fn counts(self) -> Packages {
        Packages { format: String::new(), total: self.total, kinds: self.kinds, files: self.files }
    }

    fn add(&mut self, counts: Counts) {
        let purl = match counts {
            Counts::Package(purl) => purl,
            Counts::File => return self.files += 1,
            Counts::Nothing => return,
        };
        self.total += 1;
        let kind = purl.as_deref().and_then(|purl| purl.strip_prefix("pkg:")?.split_once('/')).map(|(kind, _)| kind);
        let is_known = |kind: &&str| self.kinds.len() < MOST_KINDS || self.kinds.contains_key(*kind);
        let kind = kind.filter(is_known).unwrap_or(OTHER);
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
    }
}

impl<'de, T: Element + Deserialize<'de>> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counter<T>(PhantomData<T>);
        impl<'de, T: Element + Deserialize<'de>> Visitor<'de> for Counter<T> {
            type Value = Counted<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            /// What Go programs write for no list.
            fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                Ok(Counted::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut counted = Counted::default();
                while let Some(element) = elements.next_element::<T>()? {
                    counted.add(element.counts());
                }
                Ok(counted)
            }
        }
        deserializer.deserialize_any(Counter(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn summary(predicate_type: &str, predicate: &Value) -> Summary {
        let statement = json!({
            "predicateType": predicate_type,
            "subject": [{"name": "a", "digest": {"sha1": "x"}}, {"digest": {"sha256": Digest::of(b"a").hex()}}],
            "predicate": predicate,
        });
        Summary::parse(&serde_json::to_vec(&statement).expect("is JSON")).expect("reads")
    }

    #[test]
    fn both_versions_of_provenance_say_who_has_built_what() {
        let commit = "0123456789012345678901234567890123456789";
        let one = json!({
            "buildDefinition": {
                "buildType": "https://example.com/type",
                "externalParameters": {"configSource": {"uri": "https://example.com/r.git", "digest": {"sha1": commit}}},
                "resolvedDependencies": [{"uri": "pkg:docker/a@1", "digest": {"sha256": "ab"}}, {"uri": "x"}],
            },
            "runDetails": {
                "builder": {"id": "https://example.com/builder"},
                "metadata": {"startedOn": "2026-01-01T00:00:00Z", "finishedOn": "2026-01-01T00:00:01Z"},
            },
        });
        let old = json!({
            "builder": {"id": "https://example.com/builder"},
            "buildType": "https://example.com/type",
            "materials": [{"uri": "pkg:docker/a@1", "digest": {"sha256": "ab"}}, {"uri": "x"}],
            "metadata": {
                "buildStartedOn": "2026-01-01T00:00:00Z",
                "buildFinishedOn": "2026-01-01T00:00:01Z",
                "https://mobyproject.org/buildkit@v1#metadata":
                    {"vcs": {"source": "https://example.com/r.git", "revision": format!("sha1:{commit}")}},
            },
        });
        let one = summary("https://slsa.dev/provenance/v1", &one);
        let old = summary("https://slsa.dev/provenance/v0.2", &old);
        let origin = one.provenance.as_ref().expect("provenance");
        assert_eq!(one.provenance, old.provenance);
        assert_eq!(origin.revision, Some(format!("sha1:{commit}")));
        assert_eq!(origin.dependencies[0].digest.as_deref(), Some("sha256:ab"));
        assert_eq!((origin.dependencies.len(), origin.finished.as_deref()), (2, Some("2026-01-01T00:00:01Z")));
        assert!(one.is_about(&Digest::of(b"a")) && !one.is_about(&Digest::of(b"b")));
    }

    #[test]
    fn packages_are_counted_by_kind_and_the_image_itself_is_none() {
        let purl = |text: &str| json!({"externalRefs": [{"referenceType": "cpe23Type", "referenceLocator": "c"}, {"referenceType": "purl", "referenceLocator": text}]});
        let spdx = json!({
            "spdxVersion": "SPDX-2.3",
            "packages": [{"primaryPackagePurpose": "CONTAINER"}, purl("pkg:deb/debian/a@1"), purl("pkg:deb/b@1"), purl("pkg:npm/c@1"), {}],
            "files": [{}, {}],
        });
        let told = summary("https://spdx.dev/Document/v2.3", &spdx).packages.expect("packages");
        let kinds: BTreeMap<String, u64> =
            [("deb", 2), ("npm", 1), ("other", 1)].map(|(k, n)| (k.to_owned(), n)).into();
        assert_eq!(told, Packages { format: "SPDX-2.3".to_owned(), total: 4, kinds: kinds.clone(), files: 2 });
        let graph = json!({"@graph": [
            {"type": "software_Package", "software_packageUrl": "pkg:pypi/a@1"}, {"type": "software_File"}, {"type": "Person"}
        ]});
        let told = summary("https://spdx.dev/Document/v3.0", &graph).packages.expect("packages");
        assert_eq!((told.total, told.files, told.kinds["pypi"]), (1, 1, 1));
        let cyclonedx = json!({"specVersion": "1.6", "components": [
            {"type": "library", "purl": "pkg:deb/a@1"}, {"type": "library", "purl": "pkg:deb/b@1"},
            {"type": "library", "purl": "pkg:npm/c"}, {"type": "application"}, {"type": "file"}
        ]});
        assert_eq!(
            summary("https://cyclonedx.org/bom", &json!({"components": null})).packages.expect("packages").total,
            0
        );
        let told = summary("https://cyclonedx.org/bom", &cyclonedx).packages.expect("packages");
        assert_eq!(told, Packages { format: "CycloneDX 1.6".to_owned(), total: 4, kinds, files: 1 });
    }

    #[test]
    fn what_is_malformed_is_an_error_and_what_is_unknown_is_only_named() {
        assert_eq!(summary("https://example.com/p", &json!([1])).provenance, None);
        for (kind, predicate) in [
            ("https://slsa.dev/provenance/v1", json!("x")),
            ("https://spdx.dev/Document", json!({"packages": 1})),
            ("https://cyclonedx.org/bom", json!("x")),
        ] {
            let statement = json!({"predicateType": kind, "predicate": predicate}).to_string();
            assert!(Summary::parse(statement.as_bytes()).is_err(), "{statement}");
        }
        for text in ["", "{", "[]", r#"{"predicateType": 1}"#] {
            assert!(Summary::parse(text.as_bytes()).is_err(), "{text}");
        }
        let kinds: Vec<Value> = (0..200).map(|kind| json!({"purl": format!("pkg:k{kind}/a")})).collect();
        let told = summary("https://cyclonedx.org/bom", &json!({"components": kinds})).packages.expect("packages");
        assert_eq!((told.total, told.kinds.len(), told.kinds[OTHER]), (200, MOST_KINDS + 1, 200 - MOST_KINDS as u64));
    }
}
