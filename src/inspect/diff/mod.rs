//! What differs between two images: documents, layers, files; and what kind of differences these are.
//!
//! What is said about images is not compared: it tells of the build, not of what was built.
//!
//! *Invariant: images whose digests are equal are equal, and nothing of them is read; for others every layer is read at most
//! once, and each difference is told, but for those that are ignored.*

mod fields;
mod layers;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::image::{Opened, Side, open};
use super::{Error, Source};
use crate::image::{Change, Field, PathChange};
use crate::oci::{Digest, Platform};

/// What kind of difference something is; what is ignored is named in the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Files: which there are, what they are, what is in them.
    Content,
    /// When files were modified.
    Mtime,
    /// Modes of files.
    Mode,
    /// Owners of files.
    Owner,
    /// Extended attributes of files.
    Xattrs,
    /// When the image and its parts were made.
    Created,
    /// The configuration, labels apart.
    Config,
    /// Labels.
    Labels,
    /// Lines of history, apart from when they came.
    History,
    /// Annotations.
    Annotations,
    /// How layers are compressed.
    Compression,
    /// The order of a layer's entries, and how its tar is written.
    Order,
    /// How files are divided into layers.
    Layers,
    /// Media types of documents, and platforms that only one has.
    Manifest,
}

impl Area {
    /// Says what differs.
    pub const fn described(self) -> &'static str {
        match self {
            Self::Content => "files",
            Self::Mtime | Self::Created => "timestamps",
            Self::Mode => "modes",
            Self::Owner => "owners",
            Self::Xattrs => "extended attributes",
            Self::Config => "the configuration",
            Self::Labels => "labels",
            Self::History => "the history",
            Self::Annotations => "annotations",
            Self::Compression => "the compression of layers",
            Self::Order => "the order or the form of layers' entries",
            Self::Layers => "the division into layers",
            Self::Manifest => "manifests or platforms",
        }
    }
}

/// What is not to be told.
pub type Ignored = BTreeSet<Area>;

/// How images are compared.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of indexes, compare the images for this platform only.
    pub platform: Option<Platform>,
    /// What does not count.
    pub ignored: Ignored,
}

/// What differs between two images, or two indexes of images.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// The first.
    pub a: Named,
    /// The second.
    pub b: Named,
    /// What differs of the indexes, platforms that only one has among it.
    pub index: Vec<FieldDifference>,
    /// The images, those of one platform together.
    pub images: Vec<PairDiff>,
}

/// What is compared.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The digest of its manifest or index.
    pub digest: Digest,
}

/// What differs between two images.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairDiff {
    /// What they are for.
    pub platform: String,
    /// The digest of the first's manifest.
    pub a: Digest,
    /// The digest of the second's manifest.
    pub b: Digest,
    /// What differs of manifests and configurations.
    pub fields: Vec<FieldDifference>,
    /// All layers, lowest first.
    pub layers: Vec<LayerDifference>,
    /// What differs of the files that the layers come to.
    pub files: Vec<Difference>,
}

/// A field that differs; a value is none where there is no such field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldDifference {
    /// What kind of field it is.
    pub area: Area,
    /// Its name: `config.Env.PATH`, `history[3].created_by`.
    pub field: String,
    /// In the first.
    pub a: Option<serde_json::Value>,
    /// In the second.
    pub b: Option<serde_json::Value>,
}

/// Two layers in the same position, or one that the other image does not have.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerDifference {
    /// The position in the first, from 1.
    pub a: Option<usize>,
    /// The position in the second, from 1.
    pub b: Option<usize>,
    /// The digest of the uncompressed layer of the first.
    pub diff_id_a: Option<Digest>,
    /// The digest of the uncompressed layer of the second.
    pub diff_id_b: Option<Digest>,
    /// The instruction that made it, in the first if it is there.
    pub created_by: Option<String>,
    /// How they differ.
    pub state: LayerState,
    /// Whether the same paths stand in another order.
    pub is_reordered: bool,
    /// What differs of their entries.
    pub entries: Vec<Difference>,
}

/// How two layers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerState {
    /// Not at all, or in nothing that counts.
    Equal,
    /// Their tar streams are equal, and are compressed otherwise.
    Compression,
    /// The same entries stand in another order, or are written otherwise.
    Order,
    /// Their entries differ.
    Entries,
    /// Only the first image has it.
    OnlyA,
    /// Only the second image has it.
    OnlyB,
}

/// What differs at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(pub PathChange);

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Values<'a> {
            a: &'a str,
            b: &'a str,
        }
        #[derive(Serialize)]
        struct Wire<'a> {
            path: std::borrow::Cow<'a, str>,
            change: &'static str,
            #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
            kind: Option<&'static str>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            fields: BTreeMap<&'static str, Values<'a>>,
        }
        let (change, kind, fields) = match &self.0.change {
            Change::Added(kind) => ("added", Some(*kind), &[][..]),
            Change::Removed(kind) => ("removed", Some(*kind), &[][..]),
            Change::Changed(fields) => ("changed", None, &fields[..]),
        };
        let fields = fields.iter().map(|one| (one.field.name(), Values { a: &one.a, b: &one.b })).collect();
        Wire { path: self.0.path.to_string_lossy(), change, kind, fields }.serialize(serializer)
    }
}

/// Compares two images; of indexes, those of each platform.
///
/// # Errors
/// [`Error`] when something cannot be read, or is not what it should be.
pub async fn diff(a: &Source, b: &Source, options: &Options) -> Result<Diff, Error> {
    let (one, other) = (open(a, options.platform.as_ref()).await?, open(b, options.platform.as_ref()).await?);
    let named = |source: &Source, opened: &Opened| Named { name: source.name(), digest: opened.root.digest.clone() };
    let (pairs, alone) = pairs(&one, &other);
    let mut diff = Diff { a: named(a, &one), b: named(b, &other), index: Vec::new(), images: Vec::new() };
    if let [(left, right)] = &pairs[..]
        && one.index.is_none() != other.index.is_none()
        && !left.config.platform.is_served_by(&right.config.platform)
    {
        let (wanted, offered) = (left.config.platform.to_string(), right.config.platform.to_string());
        return Err(Error::Platform { name: b.name(), wanted, offered });
    }
    // Of what one image is compared with, other platforms do not count.
    if let (Some(index), Some(against)) = (&one.index, &other.index)
        && options.platform.is_none()
    {
        diff.index = fields::annotations("annotations", &index.annotations, &against.annotations);
        diff.index.extend(fields::value("mediaType", Area::Manifest, &index.media_type, &against.media_type));
        diff.index.extend(alone);
    }
    diff.index.retain(|field| !options.ignored.contains(&field.area));
    for (left, right) in pairs {
        diff.images.push(pair((a, left), (b, right), &options.ignored).await?);
    }
    if diff.images.is_empty() {
        let offered = other.images.iter().map(|image| image.config.platform.to_string());
        let (wanted, offered) = (one.images[0].config.platform.to_string(), offered.collect::<Vec<_>>().join(", "));
        return Err(Error::Platform { name: b.name(), wanted, offered });
    }
    Ok(diff)
}

/// Joins the images that are for the same platform, and tells of the others.
fn pairs<'a>(one: &'a Opened, other: &'a Opened) -> (Vec<(&'a Side, &'a Side)>, Vec<FieldDifference>) {
    if let ([left], [right]) = (&one.images[..], &other.images[..]) {
        return (vec![(left, right)], Vec::new());
    }
    let serves = |a: &Side, b: &Side| a.config.platform.is_served_by(&b.config.platform);
    let (mut pairs, mut alone) = (Vec::new(), Vec::new());
    let lone = |image: &Side, is_first: bool| {
        let digest = Some(serde_json::Value::from(image.descriptor.digest.as_str()));
        let (a, b) = if is_first { (digest, None) } else { (None, digest) };
        FieldDifference { area: Area::Manifest, field: format!("platform {}", image.config.platform), a, b }
    };
    for image in &one.images {
        match other.images.iter().find(|against| serves(image, against)) {
            Some(against) => pairs.push((image, against)),
            None => alone.push(lone(image, true)),
        }
    }
    let is_alone = |against: &&Side| !one.images.iter().any(|image| serves(image, against));
    alone.extend(other.images.iter().filter(is_alone).map(|image| lone(image, false)));
    (pairs, alone)
}

async fn pair((a, left): (&Source, &Side), (b, right): (&Source, &Side), ignored: &Ignored) -> Result<PairDiff, Error> {
    let mut pair = PairDiff {
        platform: left.config.platform.to_string(),
        a: left.descriptor.digest.clone(),
        b: right.descriptor.digest.clone(),
        fields: Vec::new(),
        layers: Vec::new(),
        files: Vec::new(),
    };
    if pair.a != pair.b {
        pair.fields = fields::of(left, right);
    }
    pair.fields.retain(|field| !ignored.contains(&field.area));
    layers::compare((a, left), (b, right), ignored, &mut pair).await?;
    Ok(pair)
}

impl Diff {
    /// Returns what kinds of differences there are; none where the images are equal.
    pub fn areas(&self) -> BTreeSet<Area> {
        let of_index = self.index.iter().map(|field| field.area);
        of_index.chain(self.images.iter().flat_map(PairDiff::areas)).collect()
    }
}

impl PairDiff {
    /// Returns what kinds of differences there are; none where the images are equal.
    pub fn areas(&self) -> BTreeSet<Area> {
        let entries = self.layers.iter().flat_map(|layer| &layer.entries).chain(&self.files);
        let of_paths = entries.flat_map(|one| areas_of(&one.0.change));
        let of_layers = self.layers.iter().filter_map(|layer| match layer.state {
            LayerState::Equal | LayerState::Entries => None,
            LayerState::Compression => Some(Area::Compression),
            LayerState::Order => Some(Area::Order),
            LayerState::OnlyA | LayerState::OnlyB => Some(Area::Layers),
        });
        let order = self.layers.iter().filter(|layer| layer.is_reordered).map(|_| Area::Order);
        self.fields.iter().map(|field| field.area).chain(of_layers).chain(order).chain(of_paths).collect()
    }
}

/// Returns the kinds of a difference at a path.
fn areas_of(change: &Change) -> Vec<Area> {
    match change {
        Change::Added(_) | Change::Removed(_) => vec![Area::Content],
        Change::Changed(fields) => fields.iter().map(|one| area_of(one.field)).collect(),
    }
}

const fn area_of(field: Field) -> Area {
    match field {
        Field::Mtime => Area::Mtime,
        Field::Mode => Area::Mode,
        Field::Owner => Area::Owner,
        Field::Xattrs => Area::Xattrs,
        Field::Type | Field::Size | Field::Target | Field::Device | Field::Content | Field::Links => Area::Content,
    }
}

/// Leaves out what is ignored.
fn counted(changes: Vec<PathChange>, ignored: &Ignored) -> Vec<Difference> {
    let kept = changes.into_iter().filter_map(|PathChange { path, change }| {
        let change = match change {
            Change::Changed(mut fields) => {
                fields.retain(|one| !ignored.contains(&area_of(one.field)));
                if fields.is_empty() {
                    return None;
                }
                Change::Changed(fields)
            }
            _ if ignored.contains(&Area::Content) => return None,
            change => change,
        };
        Some(Difference(PathChange { path, change }))
    });
    kept.collect()
}
