//! Directories in buckets: every object below a prefix becomes a file.
//!
//! Knows neither Google nor Amazon. *Invariant: an object's name is a path below the context, or an error.*

use std::io::{self, Read as _};
use std::path::Path;

use futures_util::StreamExt as _;
use futures_util::stream::iter;

use super::means::Fetched;
use super::stream::{self, Archive, Remote};
use super::writer::{Attributes, Writer};
use super::{Error, ErrorKind, Means};
use crate::http::download;
use crate::image::Timestamp;
use crate::progress::{Activity, Phase};
use crate::request::ObjectSource;
use crate::rootfs::Tree;

/// Objects up to this size are fetched several at a time, in memory.
const SMALL: u64 = 1 << 20;
/// How many are.
const TOGETHER: usize = 16;
/// A bucket has no modes: this is what a new file usually has.
const MODE: u32 = 0o644;

/// An object below the prefix.
pub(super) struct Object {
    /// Its name without the prefix.
    pub(super) name: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// When it was written, in seconds since 1970.
    pub(super) modified: i64,
}

/// Fetches an archive, or all objects below a prefix, which `list` finds; `remote` describes the download of the
/// object with a key. `scheme` is that of the bucket's URL.
pub(super) fn fetch(
    scheme: &str,
    source: &ObjectSource,
    place: (&Path, u64),
    means: &Means<'_>,
    list: impl FnOnce(&str) -> Result<Vec<Object>, Error>,
    remote: impl Fn(&str) -> Remote,
) -> Result<(Tree, Fetched), Error> {
    let (directory, limit) = place;
    let what = format!("{scheme}://{}/{}", source.bucket, source.key);
    let writer = if source.key.ends_with('/') {
        let mut writer = Writer::create(directory, limit)?;
        let objects = list(&what)?;
        write_all(&what, &objects, &mut writer, means, |name| remote(&format!("{}{name}", source.key)))?;
        writer
    } else {
        let archive = Archive { remote: remote(&source.key), checksum: None };
        stream::fetch(&archive, directory, limit, means)?
    };
    Ok((writer.finish()?, Fetched { url: Some(what), ..Fetched::default() }))
}

/// Fetches all objects; `remote` describes the download of one.
fn write_all(
    what: &str,
    objects: &[Object],
    writer: &mut Writer,
    means: &Means<'_>,
    remote: impl Fn(&str) -> Remote,
) -> Result<(), Error> {
    if objects.is_empty() {
        let (what, tried, reason) = (what.to_owned(), "listed".to_owned(), "there is no object below it".to_owned());
        return Err(Error::Refused { what, tried, reason, kind: ErrorKind::Wrong });
    }
    let attributes =
        |object: &Object| Attributes { mode: MODE, mtime: Timestamp { seconds: object.modified, nanoseconds: 0 } };
    let total = objects.iter().fold(0_u64, |sum, object| sum.saturating_add(object.size));
    let fetching = Activity::new(Phase::Context, what).of(Some(total)).begin(means.reporter);
    for group in objects.chunks(TOGETHER) {
        let small: Vec<&Object> = group.iter().filter(|object| object.size <= SMALL && !is_directory(object)).collect();
        let remotes: Vec<Remote> = small.iter().map(|object| remote(&object.name)).collect();
        let fetched = means.wait(async {
            let downloads = remotes.iter().map(|remote| async {
                let download = download::open(means.agent, remote.make.clone()).await?;
                download.bytes(usize::try_from(SMALL).unwrap_or(usize::MAX)).await
            });
            iter(downloads).buffered(TOGETHER).collect::<Vec<_>>().await
        })?;
        for ((object, remote), bytes) in small.iter().zip(&remotes).zip(fetched) {
            let bytes = bytes.map_err(|source| remote.failed(source))?;
            writer.file(Path::new(&object.name), attributes(object), &mut io::Cursor::new(bytes))?;
        }
        for object in group.iter().filter(|object| object.size > SMALL || is_directory(object)) {
            if is_directory(object) {
                let directory = Attributes { mode: 0o755, ..attributes(object) };
                writer.directory(Path::new(&object.name), directory)?;
                continue;
            }
            let remote = remote(&object.name);
            let mut body = remote.open(means)?;
            let written = writer.file(Path::new(&object.name), attributes(object), &mut body.by_ref());
            body.finish(&remote, written, means)?;
        }
        fetching.advance(group.iter().fold(0, |sum, object| sum.saturating_add(object.size)));
    }
    Ok(())
}

/// Consoles make an empty object with a slash at its end for a directory.
fn is_directory(object: &Object) -> bool {
    object.name.ends_with('/')
}
