//! Compressed streams told by their first bytes, and the readers that undo them.
//!
//! Knows gzip, zstd, bzip2 and xz; does not know what is inside, but for the check whether it is a tar archive.
//!
//! *Invariant: a decompressing reader reads its source to the end before it reports the end itself, so that a source
//! that checks its digest at the end always gets to do so. Memory is bounded whatever the stream asks for.*

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::header;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all, or in a way that is not known here.
    Plain,
    /// gzip, with any number of members.
    Gzip,
    /// zstd, with any number of frames.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

impl Encoding {
    /// How many bytes of a stream [`Encoding::of`] wants to see.
    pub const PREFIX: usize = 6;

    /// Tells the compression of a stream by its first bytes.
    pub fn of(prefix: &[u8]) -> Self {
        match prefix {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // The second is a skippable frame, with which pzstd and others begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

/// Larger than any pipe or TLS record, small enough to stay in the processor's cache.
const BUFFER: usize = 128 << 10;

/// What `xz -9` needs, doubled; more would let a stream of a few bytes take gigabytes.
const XZ_MEMORY_KIB: u32 = 130 << 10;

/// 2 to this power is the largest zstd window: the default of zstd and of container engines.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Returns the stream's bytes uncompressed, whatever it is compressed with.
///
/// # Errors
/// When the first bytes cannot be read, or a decompressor cannot be made.
pub fn decompressed<'a>(mut reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut prefix = Vec::with_capacity(Encoding::PREFIX);
    reader.by_ref().take(Encoding::PREFIX as u64).read_to_end(&mut prefix)?;
    let encoding = Encoding::of(&prefix);
    let whole = Cursor::new(prefix).chain(reader);
    Ok(match encoding {
        Encoding::Plain => Box::new(whole),
        Encoding::Gzip => {
            Box::new(ToTheEnd::new(flate2::bufread::MultiGzDecoder::new(buffered(whole)), |gzip| gzip.get_mut()))
        }
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(buffered(whole))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(ToTheEnd::new(decoder, |zstd| zstd.get_mut()))
        }
        Encoding::Bzip2 => {
            Box::new(ToTheEnd::new(bzip2::bufread::MultiBzDecoder::new(buffered(whole)), |bzip2| bzip2.get_mut()))
        }
        Encoding::Xz => {
            let decoder = lzma_rust2::XzReader::new_mem_limit(buffered(whole), true, XZ_MEMORY_KIB);
            Box::new(ToTheEnd::new(decoder, |xz| xz.inner_mut()))
        }
    })
}

/// Tells whether a stream is a tar archive, plain or compressed: whether it begins with a valid tar header.
///
/// An archive without any entry counts as an ordinary file, as for `docker build`'s ADD.
///
/// # Errors
/// When the source itself fails before its first bytes; a stream that cannot be decompressed is no archive.
pub fn is_archive(reader: impl Read + Send) -> io::Result<bool> {
    let mut block = [0; header::BLOCK];
    match decompressed(reader)?.read_exact(&mut block) {
        Ok(()) => Ok(header::is_header(&block)),
        Err(_) => Ok(false),
    }
}

fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER, reader)
}

/// Reads on in the source, to its end, where the decompressor has ended.
struct ToTheEnd<D, S> {
    decoder: D,
    source: fn(&mut D) -> &mut S,
    ended: bool,
}

impl<D: Read, S: BufRead> ToTheEnd<D, S> {
    fn new(decoder: D, source: fn(&mut D) -> &mut S) -> Self {
        Self { decoder, source, ended: false }
    }
}

impl<D: Read, S: BufRead> Read for ToTheEnd<D, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.decoder.read(buffer)?;
        if count == 0 {
            self.ended = true;
            io::copy((self.source)(&mut self.decoder), &mut io::sink())?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn text() -> Vec<u8> {
        (0..40_000_u32).flat_map(|number| format!("line {}\n", number * 7 % 1000).into_bytes()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("gzip");
        encoder.finish().expect("gzip")
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).expect("bzip2");
        encoder.finish().expect("bzip2")
    }

    /// `printf 'hello xz\n' | xz`.
    const XZ: &[u8] = include_bytes!("testdata/hello.xz");

    fn undone(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        decompressed(bytes)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn every_encoding_is_told_and_undone() {
        let text = text();
        let zstd = zstd::encode_all(&text[..], 3).expect("zstd");
        for (bytes, encoding) in [
            (text.clone(), Encoding::Plain),
            (gzip(&text), Encoding::Gzip),
            (zstd, Encoding::Zstd),
            (bzip2(&text), Encoding::Bzip2),
        ] {
            assert_eq!(Encoding::of(&bytes), encoding);
            assert_eq!(undone(&bytes).expect("whole"), text, "{encoding:?}");
        }
        assert_eq!(Encoding::of(XZ), Encoding::Xz);
        assert_eq!(undone(XZ).expect("whole"), b"hello xz\n");
    }

    #[test]
    fn streams_one_after_the_other_are_one() {
        let zstd = zstd::encode_all(&b"one "[..], 3).expect("zstd");
        for (first, second) in [
            (gzip(b"one "), gzip(b"two")),
            (bzip2(b"one "), bzip2(b"two")),
            (zstd, zstd::encode_all(&b"two"[..], 3).expect("zstd")),
        ] {
            assert_eq!(undone(&[first, second].concat()).expect("both"), b"one two");
        }
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        let text = text();
        for bytes in [gzip(&text), bzip2(&text), zstd::encode_all(&text[..], 3).expect("zstd"), XZ.to_vec()] {
            assert!(undone(&bytes[..bytes.len() - 5]).is_err(), "{:?}", Encoding::of(&bytes));
        }
    }

    #[test]
    fn a_source_is_read_to_its_end() {
        for bytes in [gzip(b"x"), bzip2(b"x"), zstd::encode_all(&b"x"[..], 3).expect("zstd"), XZ.to_vec()] {
            let wrong = crate::oci::Digest::of(b"something else");
            let source = crate::store::Verified::new(&bytes[..], wrong);
            let read = decompressed(source).and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
            assert!(read.is_err(), "{:?} did not reach the end", Encoding::of(&bytes));
        }
    }

    #[test]
    fn an_archive_is_known_by_its_first_header() {
        let mut header = tar::Header::new_ustar();
        header.set_path("a").expect("short");
        header.set_size(0);
        header.set_cksum();
        let archive = [&header.as_bytes()[..], &[0; 1024]].concat();
        for (bytes, expected) in [
            (archive.clone(), true),
            (gzip(&archive), true),
            (bzip2(&archive), true),
            (gzip(b"text"), false),
            (gzip(&[]), false),
            (vec![0; 1024], false),
            (Vec::new(), false),
            (gzip(&archive)[..12].to_vec(), false),
            (text(), false),
        ] {
            assert_eq!(is_archive(&bytes[..]).expect("readable"), expected);
        }
    }
}
