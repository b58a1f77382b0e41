//! The parts of a gzip stream: header, blocks that can be made apart from each other, end.
//!
//! Knows deflate; knows neither threads nor layers.
//!
//! *Invariant: the bytes of a part depend on the input, the level and the version of the compressing library alone.*

use std::io::{self, Write};

use flate2::{Compress, Crc, FlushCompress, Status};

/// How much of a block is deflated to see whether the rest is worth it.
const SAMPLE: usize = 32 << 10;

/// Of how many pieces of how many bytes a block's evenness is judged.
const PIECES: usize = 64;
const PIECE: usize = 256;

/// The longest piece that deflate can hold as it is. Source: RFC 1951, section 3.2.4.
const LONGEST_STORED: usize = 0xffff;

/// A block of a stream, deflated.
pub(super) struct Deflated {
    pub(super) bytes: Vec<u8>,
    pub(super) crc: Crc,
}

/// The fixed header: no name, no time, unknown system; only the effort is told.
///
/// Source: RFC 1952, section 2.3.
pub(super) fn gzip_header(level: u32) -> [u8; 10] {
    let effort = match level {
        1 => 4,
        9 => 2,
        _ => 0,
    };
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 0xff]
}

/// Writes the block that ends the stream, the checksum and the length.
pub(super) fn gzip_end(level: u32, crc: &Crc, output: &mut impl Write) -> io::Result<()> {
    let mut end = Vec::with_capacity(16);
    raw_deflate(level).compress_vec(&[], &mut end, FlushCompress::Finish)?;
    end.extend_from_slice(&crc.sum().to_le_bytes());
    end.extend_from_slice(&crc.amount().to_le_bytes());
    output.write_all(&end)
}

/// Makes one block, ending on a byte border without ending the stream; what does not shrink is stored as it is.
///
/// Deflating what is compressed already takes longer than anything else, and gains nothing.
pub(super) fn deflate(level: u32, block: &[u8], before: &[u8]) -> io::Result<Deflated> {
    let mut crc = Crc::new();
    crc.update(block);
    let bytes = if is_dense(level, block, before)? { stored(block) } else { deflated(level, block, before)? };
    Ok(Deflated { bytes, crc })
}

/// Tells whether a block looks like noise, and its beginning indeed does not shrink.
///
/// A block that only repeats at its end may be taken for noise, too; then it is larger than it had to be.
fn is_dense(level: u32, block: &[u8], before: &[u8]) -> io::Result<bool> {
    if block.len() < 2 * SAMPLE || !is_even(block) {
        return Ok(false);
    }
    let shrunk = deflated(level, &block[..SAMPLE], before)?;
    Ok(shrunk.len() >= SAMPLE - SAMPLE / 128)
}

/// Tells whether all bytes occur about as often as any other, by a few from all over the block.
///
/// The sum of the squares of their numbers is least where all are equal; archives and random bytes are within some
/// percent of that, text and machine code are at several times as much.
fn is_even(block: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    for piece in block.chunks_exact(block.len() / PIECES) {
        for byte in piece.iter().take(PIECE) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let squares: u64 = counts.iter().map(|count| u64::from(*count).pow(2)).sum();
    let least = ((PIECES * PIECE) as u64).pow(2) / 256;
    squares <= least + least / 8
}

/// Stores a block as it is. Source: RFC 1951, section 3.2.4; it stands on a byte border, as the block before ended there.
fn stored(block: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(block.len() + 5 * block.len().div_ceil(LONGEST_STORED));
    for piece in block.chunks(LONGEST_STORED) {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        bytes.push(0);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(!length).to_le_bytes());
        bytes.extend_from_slice(piece);
    }
    bytes
}

fn deflated(level: u32, block: &[u8], before: &[u8]) -> io::Result<Vec<u8>> {
    // Made anew for each block: after a reset, zlib-rs 0.6 at level 1 gives other bytes than at first, and the bytes
    // would depend on which thread had which blocks before.
    let mut compress = raw_deflate(level);
    if !before.is_empty() {
        compress.set_dictionary(before)?;
    }
    // Room for the worst case (nine bits for each byte), so that one call does all: a flush that is cut short by a
    // full buffer may leave a second joint, and the bytes would depend on the allocator.
    let mut bytes = Vec::with_capacity(block.len() + block.len() / 8 + 4096);
    let mut rest = block;
    loop {
        let taken = compress.total_in();
        let status = compress.compress_vec(rest, &mut bytes, FlushCompress::Sync)?;
        let taken = usize::try_from(compress.total_in() - taken).unwrap_or(rest.len());
        rest = &rest[taken..];
        // With room left, the flush is complete.
        if (rest.is_empty() && bytes.len() < bytes.capacity()) || status == Status::StreamEnd {
            break;
        }
        bytes.reserve(block.len() / 4 + 64);
    }
    Ok(bytes)
}

fn raw_deflate(level: u32) -> Compress {
    Compress::new(flate2::Compression::new(level), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without any pattern (a generator by Marsaglia).
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn noise_is_stored_and_all_else_is_not() {
        let noise = noise(4 * SAMPLE);
        let repeated = [&noise[..SAMPLE / 2]; 8].concat();
        let text = b"a hermit crab looks for a larger shell. ".repeat(4000);
        let (mostly_text, short) = ([&noise[..SAMPLE], &text].concat(), &noise[..SAMPLE]);
        for (block, stored) in
            [(&noise[..], true), (&repeated, false), (&text, false), (&mostly_text, false), (short, false)]
        {
            assert_eq!(is_dense(6, block, &[]).expect("memory"), stored, "{} bytes", block.len());
        }
        // Its beginning is in the block before.
        assert!(!is_dense(6, &noise[SAMPLE / 2..], &noise[..SAMPLE]).expect("memory"));
    }

    #[test]
    fn stored_and_deflated_blocks_make_one_stream() {
        let (noise, text) = (noise(200_001), b"what is small now was large once. ".repeat(5000));
        let mut stream = gzip_header(6).to_vec();
        let mut crc = Crc::new();
        let mut before: &[u8] = &[];
        for block in [&noise[..], &text, &noise, &noise[..70_000]] {
            let deflated = deflate(6, block, before).expect("memory");
            crc.combine(&deflated.crc);
            stream.extend_from_slice(&deflated.bytes);
            before = &block[block.len() - SAMPLE..];
        }
        gzip_end(6, &crc, &mut stream).expect("memory");
        let mut plain = Vec::new();
        io::copy(&mut flate2::read::GzDecoder::new(&stream[..]), &mut plain).expect("whole");
        assert!(plain == [&noise[..], &text, &noise, &noise[..70_000]].concat());
        assert!(stream.len() < 2 * noise.len() + 75_000);
    }
}
