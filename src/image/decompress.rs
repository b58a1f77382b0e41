//! Compressed streams told by their first bytes, and the readers that undo them.
//!
//! Knows gzip, zstd, bzip2 and xz; does not know what is inside, but for the check whether it is a tar archive.
//!
//! *Invariant: a decompressing reader reads its source to the end before it reports the end itself, so that a source
//! that checks its digest at the end always gets to do so. Memory is bounded whatever the stream asks for.*

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;

use super::header;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all, or in a way that is not known here.
    Plain,
    /// gzip, with any number of members; what is no member behind one is not heeded.
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
        Encoding::Gzip => Box::new(ToTheEnd::new(Members::new(buffered(whole)), |members| members.get_mut())),
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

/// The members of a gzip stream, one after the other. It ends where no further one begins: tapes and some tools pad with
/// zeros, and gzip(1), with which container engines decompress, lets other bytes pass, too.
struct Members<R> {
    /// None only while it is replaced.
    member: Option<GzDecoder<Peeked<R>>>,
    ended: bool,
}

/// What a member begins with. Source: RFC 1952, 2.3.
const MEMBER: &[u8] = &[0x1f, 0x8b, 8];

impl<R: BufRead> Members<R> {
    fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(Peeked { ahead: Cursor::default(), reader })), ended: false }
    }

    fn get_mut(&mut self) -> &mut Peeked<R> {
        self.member.as_mut().expect("it is put back").get_mut()
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            let member = self.member.as_mut().expect("it is put back");
            match member.read(buffer)? {
                0 if member.get_mut().begins_with(MEMBER)? => {
                    self.member = self.member.take().map(|member| GzDecoder::new(member.into_inner()));
                }
                0 => self.ended = true,
                count => return Ok(count),
            }
        }
        Ok(0)
    }
}

/// A reader that was asked for what comes next.
struct Peeked<R> {
    ahead: Cursor<Vec<u8>>,
    reader: R,
}

impl<R: BufRead> Peeked<R> {
    /// Tells what comes next, without taking it.
    fn begins_with(&mut self, expected: &[u8]) -> io::Result<bool> {
        let mut next = Vec::with_capacity(expected.len());
        self.by_ref().take(expected.len() as u64).read_to_end(&mut next)?;
        let is_expected = next == expected;
        // What was ahead before is in it, as no more is ever asked for than was the last time.
        self.ahead = Cursor::new(next);
        Ok(is_expected)
    }
}

impl<R: BufRead> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.ahead.read(buffer)? {
            0 => self.reader.read(buffer),
            count => Ok(count),
        }
    }
}

impl<R: BufRead> BufRead for Peeked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead.fill_buf()?.is_empty() { self.reader.fill_buf() } else { self.ahead.fill_buf() }
    }

    fn consume(&mut self, amount: usize) {
        let of_ahead = self.ahead.fill_buf().map_or(0, <[u8]>::len).min(amount);
        self.ahead.consume(of_ahead);
        self.reader.consume(amount - of_ahead);
    }
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
    fn what_follows_a_gzip_stream_is_not_heeded() {
        let one = gzip(b"one ");
        for behind in [&[0; 700][..], b"junk", &[0x1f], &[0x1f, 0x8b, 7, 0]] {
            assert_eq!(undone(&[&one, behind].concat()).expect("the stream is whole"), b"one ", "{behind:?}");
            assert_eq!(undone(&[&one, &one, behind].concat()).expect("both are whole"), b"one one ");
        }
        // A member that begins must end, and a reader that gives a byte at a time changes nothing.
        assert!(undone(&[&one[..], &one[..one.len() - 9]].concat()).is_err());
        let bytewise = BufReader::with_capacity(1, Cursor::new([&one[..], &one, b"\0\0"].concat()));
        let mut plain = Vec::new();
        Members::new(bytewise).read_to_end(&mut plain).expect("both are whole");
        assert_eq!(plain, b"one one ");
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
