//! The tar stream of a layer on its way into the store: hashed, compressed, and hashed again.
//!
//! Knows compression and the store; does not know what is in the stream.
//!
//! *Invariant: the blob depends on the stream and the compression alone, not on how it was cut into writes.*

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::compress::{self, Block, Compressor};
use super::header::BLOCK;
use super::reader::retried;
use super::{Error, Layer, LayerContent};
use crate::oci::{Descriptor, DiffId, Hasher, media_type};
use crate::request::Compression;
use crate::store::{BlobWriter, Store};

/// Keeps the tar stream of a layer, as it is, in another compression.
///
/// # Errors
/// [`Error::Read`] when the stream fails, [`Error::Write`] or [`Error::Store`] when the layer cannot be written.
pub fn compress_layer(tar: &mut dyn Read, store: &Store, compression: Compression) -> Result<Layer, Error> {
    let mut output = Output::new(store, compression)?;
    let mut offset = 0;
    loop {
        match output.read_from(tar, u64::MAX) {
            Ok(0) => return output.finish(),
            Ok(count) => offset += count as u64,
            Err(Fault::Content(source)) => return Err(Error::Read { offset, source }),
            Err(Fault::Output(error)) => return Err(error),
        }
    }
}

/// Tells whether a layer of this media type, OCI's or Docker's, is compressed in this way, whatever the level.
pub fn is_compressed_as(layer: &str, compression: Compression) -> bool {
    media_type::to_oci(layer) == media_type_of(compression)
}

fn media_type_of(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip { .. } => media_type::OCI_LAYER_GZIP,
        Compression::Zstd { .. } => media_type::OCI_LAYER_ZSTD,
        Compression::Uncompressed => media_type::OCI_LAYER,
    }
}

/// Why bytes could not be moved.
pub(super) enum Fault {
    /// They could not be read.
    Content(io::Error),
    /// They could not be written.
    Output(Error),
}

/// Takes the tar stream in blocks, each of which is hashed in one thread and compressed in others.
pub(super) struct Output {
    block: Vec<u8>,
    hash: Hash,
    media_type: &'static str,
    compressor: Compressor<BlobWriter>,
}

/// Where the stream's digest is made; a thread is only started when there is more than one block.
enum Hash {
    Idle,
    Running { blocks: SyncSender<Block>, thread: JoinHandle<Hasher> },
}

impl Output {
    pub(super) fn new(store: &Store, compression: Compression) -> Result<Self, Error> {
        let blob = store.create().map_err(|source| Error::Store { source })?;
        let compressor = Compressor::new(blob, compression);
        let block = Vec::with_capacity(compress::BLOCK);
        Ok(Self { block, hash: Hash::Idle, media_type: media_type_of(compression), compressor })
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.make_room()?;
            let (now, later) = bytes.split_at(bytes.len().min(compress::BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    pub(super) fn pad(&mut self, written: u64) -> Result<(), Error> {
        let over = usize::try_from(written % BLOCK as u64).unwrap_or(0);
        self.write(&[0; BLOCK][..(BLOCK - over) % BLOCK])
    }

    /// Reads up to `most` bytes straight into the block and returns how many there were.
    pub(super) fn read_from(&mut self, content: &mut dyn Read, most: u64) -> Result<usize, Fault> {
        self.make_room().map_err(Fault::Output)?;
        let filled = self.block.len();
        let room = compress::BLOCK - filled;
        self.block.resize(filled + usize::try_from(most).unwrap_or(room).min(room), 0);
        let count = retried(|| content.read(&mut self.block[filled..]));
        self.block.truncate(filled + *count.as_ref().unwrap_or(&0));
        count.map_err(Fault::Content)
    }

    fn make_room(&mut self) -> Result<(), Error> {
        if self.block.len() < compress::BLOCK {
            return Ok(());
        }
        let block = Arc::new(std::mem::replace(&mut self.block, Vec::with_capacity(compress::BLOCK)));
        self.push(block).map_err(|source| Error::Write { source })
    }

    fn push(&mut self, block: Block) -> io::Result<()> {
        if let Hash::Idle = self.hash {
            let (blocks, received) = sync_channel::<Block>(2);
            let thread = thread::Builder::new().name("diff_id".to_owned()).spawn(move || {
                let mut hasher = Hasher::new();
                for block in received {
                    hasher.update(&block);
                }
                hasher
            })?;
            self.hash = Hash::Running { blocks, thread };
        }
        if let Hash::Running { blocks, .. } = &self.hash {
            blocks.send(Arc::clone(&block)).map_err(|_| io::Error::other("the thread that hashed has failed"))?;
        }
        self.compressor.push(block)
    }

    /// Ends the stream and returns the layer, stored.
    pub(super) fn finish(self) -> Result<Layer, Error> {
        let Self { block, hash, media_type, mut compressor } = self;
        let failed = |source| Error::Write { source };
        let mut hasher = match hash {
            Hash::Idle => Hasher::new(),
            Hash::Running { blocks, thread } => {
                drop(blocks);
                thread.join().map_err(|_| failed(io::Error::other("the thread that hashed has failed")))?
            }
        };
        hasher.update(&block);
        let blob = compressor.finish_with(block).map_err(failed)?;
        let (digest, size) = blob.finish().map_err(|source| Error::Store { source })?;
        let descriptor = Descriptor::new(media_type, digest, size);
        Ok(Layer { descriptor, diff_id: DiffId(hasher.finish()), content: LayerContent::Stored })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::decompressed;

    #[test]
    fn a_stream_keeps_its_digest_in_each_compression() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("store");
        let stream: Vec<u8> = (0..=250).cycle().take(3 * compress::BLOCK / 2).collect();
        let mut digests = Vec::new();
        for compression in [Compression::Gzip { level: 3 }, Compression::Zstd { level: 22 }, Compression::Uncompressed]
        {
            let layer = compress_layer(&mut stream.as_slice(), &store, compression).expect("keeps");
            assert_eq!(layer.diff_id.0, crate::oci::Digest::of(&stream));
            assert!(is_compressed_as(&layer.descriptor.media_type, compression));
            let mut back = Vec::new();
            let blob = store.verified(&layer.descriptor.digest).expect("stored");
            decompressed(blob).and_then(|mut reader| reader.read_to_end(&mut back)).expect("whole");
            assert!(back == stream, "{compression:?}");
            digests.push(layer.descriptor.digest);
        }
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);
        assert!(is_compressed_as(media_type::DOCKER_LAYER_GZIP, Compression::Gzip { level: 9 }));
        assert!(!is_compressed_as(media_type::OCI_LAYER_ZSTD, Compression::Gzip { level: 9 }));
    }

    #[test]
    fn a_broken_stream_keeps_nothing() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).expect("store");
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("cut"))
            }
        }
        let error = compress_layer(&mut Broken, &store, Compression::Uncompressed).expect_err("fails");
        assert!(matches!(error, Error::Read { offset: 0, .. }), "{error}");
        assert_eq!(std::fs::read_dir(directory.path().join("blobs/sha256")).expect("lists").count(), 0);
    }
}
