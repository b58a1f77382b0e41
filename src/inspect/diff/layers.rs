//! Which layers differ, and in what.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Error, Source};
use super::{Area, Ignored, LayerDifference, LayerState, PairDiff, Side, counted};
use crate::http::redact_within;
use crate::image::{self, HashedFiles, HashedLayer, PathChange, uncompressed};
use crate::oci::Digest;

/// Compares the layers of two images, and the files that they come to.
pub(super) async fn compare(
    (a, left): (&Source, &Side),
    (b, right): (&Source, &Side),
    ignored: &Ignored,
    pair: &mut PairDiff,
) -> Result<(), Error> {
    let ids = |side: &Side| side.config.rootfs.diff_ids.iter().map(|id| id.0.clone()).collect::<Vec<_>>();
    let (one, other) = (ids(left), ids(right));
    let mut read = Layers::default();
    // Where all streams are equal, nothing can differ in them.
    if one != other {
        read.read(a, left).await?;
        read.read(b, right).await?;
    }
    for (first, second) in aligned(&one, &other) {
        let mut layer = described((left, first), (right, second));
        layer.state = match (first, second) {
            (Some(first), Some(second)) if one[first] == other[second] => {
                let same_blob = left.manifest.layers[first].digest == right.manifest.layers[second].digest;
                let counts = !same_blob && !ignored.contains(&Area::Compression);
                if counts { LayerState::Compression } else { LayerState::Equal }
            }
            (Some(first), Some(second)) => {
                let entries = read.entries(&one[first], &other[second]).await?;
                entries.judged(ignored, &mut layer)
            }
            (Some(_), None) => LayerState::OnlyA,
            _ => LayerState::OnlyB,
        };
        pair.layers.push(layer);
    }
    if one != other {
        let files = read.files((a, one), (b, other)).await?;
        pair.files = counted(files, ignored);
    }
    if ignored.contains(&Area::Layers) {
        // Only what the layers come to counts.
        pair.layers.retain(|layer| layer.state == LayerState::Equal);
    }
    Ok(())
}

/// Says which layer corresponds to which: those that are equal at both ends, and what is between them by position.
fn aligned(a: &[Digest], b: &[Digest]) -> Vec<(Option<usize>, Option<usize>)> {
    let shorter = a.len().min(b.len());
    let begin = a.iter().zip(b).take_while(|(one, other)| one == other).count();
    let end = a.iter().rev().zip(b.iter().rev()).take(shorter - begin).take_while(|(one, other)| one == other).count();
    let middle = a.len().max(b.len()) - begin - end;
    let place = |length: usize, number: usize| Some(begin + number).filter(|place| *place < length - end);
    let first = (0..begin).map(|number| (Some(number), Some(number)));
    let between = (0..middle).map(|number| (place(a.len(), number), place(b.len(), number)));
    let last = (0..end).rev().map(|number| (Some(a.len() - 1 - number), Some(b.len() - 1 - number)));
    first.chain(between).chain(last).collect()
}

fn described((left, first): (&Side, Option<usize>), (right, second): (&Side, Option<usize>)) -> LayerDifference {
    let id = |side: &Side, number: Option<usize>| Some(side.config.rootfs.diff_ids.get(number?)?.0.clone());
    let line = |side: &Side, number: Option<usize>| {
        let mut lines = side.config.history.iter().filter(|line| !line.empty_layer);
        Some(redact_within(lines.nth(number?)?.created_by.as_deref()?))
    };
    LayerDifference {
        a: first.map(|number| number + 1),
        b: second.map(|number| number + 1),
        diff_id_a: id(left, first),
        diff_id_b: id(right, second),
        created_by: line(left, first).or_else(|| line(right, second)),
        state: LayerState::Equal,
        is_reordered: false,
        entries: Vec::new(),
    }
}

/// What differs between the entries of two layers whose streams differ.
struct Entries {
    changes: Vec<PathChange>,
    /// Whether both have the same paths, in another order.
    is_reordered: bool,
}

impl Entries {
    fn judged(self, ignored: &Ignored, layer: &mut LayerDifference) -> LayerState {
        // Nothing that we see differs: then the streams are written otherwise.
        let is_form = self.changes.is_empty();
        layer.is_reordered = self.is_reordered && !ignored.contains(&Area::Order);
        layer.entries = counted(self.changes, ignored);
        match layer.entries.is_empty() {
            false => LayerState::Entries,
            true if layer.is_reordered || is_form && !ignored.contains(&Area::Order) => LayerState::Order,
            true => LayerState::Equal,
        }
    }
}

/// Layers that were read, by the digest of their streams: each once, whichever image has it.
#[derive(Default)]
struct Layers(BTreeMap<Digest, Arc<HashedLayer>>);

impl Layers {
    async fn read(&mut self, source: &Source, side: &Side) -> Result<(), Error> {
        for (number, (blob, diff_id)) in side.manifest.layers.iter().zip(&side.config.rootfs.diff_ids).enumerate() {
            if self.0.contains_key(&diff_id.0) {
                continue;
            }
            let compressed = source.layer(blob).await?;
            let expected = diff_id.clone();
            let read = blocking(move || {
                let tar = uncompressed(compressed, &expected);
                HashedLayer::read(tar.map_err(|source| image::Error::Read { offset: 0, source })?)
            });
            let failed = |error| Error::Layer { name: source.name(), layer: number + 1, source: error };
            let layer = read.await?.map_err(failed)?;
            self.0.insert(diff_id.0.clone(), Arc::new(layer));
        }
        Ok(())
    }

    fn get(&self, diff_id: &Digest) -> Arc<HashedLayer> {
        self.0.get(diff_id).cloned().unwrap_or_default()
    }

    async fn entries(&self, a: &Digest, b: &Digest) -> Result<Entries, Error> {
        let (a, b) = (self.get(a), self.get(b));
        blocking(move || {
            let changes = a.changes(&b);
            let is_alone = |one: &PathChange| !matches!(one.change, image::Change::Changed(_));
            let is_reordered = !changes.iter().any(is_alone) && !a.is_ordered_like(&b);
            Entries { changes, is_reordered }
        })
        .await
    }

    async fn files(
        &self,
        (a, one): (&Source, Vec<Digest>),
        (b, other): (&Source, Vec<Digest>),
    ) -> Result<Vec<PathChange>, Error> {
        let layers = |ids: Vec<Digest>| ids.iter().map(|id| self.get(id)).collect::<Vec<_>>();
        let (one, other, names) = (layers(one), layers(other), (a.name(), b.name()));
        blocking(move || {
            let one = HashedFiles::of(one).map_err(|source| Error::Files { name: names.0, source })?;
            let other = HashedFiles::of(other).map_err(|source| Error::Files { name: names.1, source })?;
            Ok(one.changes(&other))
        })
        .await?
    }
}

/// Does work that takes the processor's time on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_correspond_from_both_ends() {
        let ids = |text: &str| text.bytes().map(|byte| Digest::of(&[byte])).collect::<Vec<_>>();
        let shown = |a: &str, b: &str| {
            let number = |number: Option<usize>| number.map_or("-".to_owned(), |number| number.to_string());
            let pairs = aligned(&ids(a), &ids(b)).into_iter();
            pairs.map(|(a, b)| format!("{}{}", number(a), number(b))).collect::<Vec<_>>().join(" ")
        };
        for (a, b, expected) in [
            ("abc", "abc", "00 11 22"),
            ("abc", "axc", "00 11 22"),
            ("abc", "abxc", "00 11 -2 23"),
            ("abc", "ac", "00 1- 21"),
            ("abc", "xyz", "00 11 22"),
            ("", "ab", "-0 -1"),
            ("aa", "a", "00 1-"),
            ("aba", "a", "00 1- 2-"),
        ] {
            assert_eq!(shown(a, b), expected, "{a} {b}");
        }
    }
}
