//! Members of a gzip stream: each holds a piece of the input, and is made without the others.
//!
//! Knows gzip and when compressing is not worth it; knows neither threads nor layers. A stream may have any number of
//! members (RFC 1952, 2.2); images that are made of joined files, such as distroless ones, have them, too.
//!
//! *Invariant: the bytes of a member depend on its input, the level and the version of libdeflate alone.*

use std::io;

use libdeflater::{CompressionLvl, Compressor};

/// How much of a piece is compressed to see whether the rest is worth it.
const SAMPLE: usize = 32 << 10;

/// By how many pieces of how many bytes the evenness is judged.
const PIECES: usize = 64;
const PIECE: usize = 256;

/// Makes members; one for each thread, since it keeps its tables.
pub(super) struct Members {
    compressor: Compressor,
    /// Finds out fast whether something shrinks at all.
    sampler: Compressor,
    /// Packs without compressing.
    storer: Compressor,
}

impl Members {
    /// Makes members of a level: 1 to 9, others are taken for the next of these.
    pub(super) fn new(level: u32) -> Self {
        let compressor = |level: u32| {
            let level = i32::try_from(level).ok().and_then(|level| CompressionLvl::new(level).ok());
            Compressor::new(level.unwrap_or_default())
        };
        Self { compressor: compressor(level.clamp(1, 9)), sampler: compressor(1), storer: compressor(0) }
    }

    /// Makes one member. What does not shrink is stored as it is: compressing that takes longer than anything else, and gains
    /// nothing.
    ///
    /// # Errors
    /// When libdeflate needs more room than it says that it does at most.
    pub(super) fn member(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        let compressor = if self.is_dense(piece)? { &mut self.storer } else { &mut self.compressor };
        compressed(compressor, piece)
    }

    /// Tells whether a piece looks like noise, and its beginning indeed does not shrink.
    ///
    /// A piece that only repeats at its end may be taken for noise, too; then it is larger than it had to be.
    fn is_dense(&mut self, piece: &[u8]) -> io::Result<bool> {
        if piece.len() < 2 * SAMPLE || !is_even(piece) {
            return Ok(false);
        }
        Ok(compressed(&mut self.sampler, &piece[..SAMPLE])?.len() >= SAMPLE - SAMPLE / 128)
    }
}

fn compressed(compressor: &mut Compressor, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut member).map_err(io::Error::other)?;
    member.truncate(length);
    Ok(member)
}

/// Tells whether all bytes occur about as often as any other, by a few from all over the piece.
///
/// The sum of the squares of their numbers is least where all are equal; archives and random bytes are within some
/// percent of that, text and machine code are at several times as much.
fn is_even(bytes: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    for piece in bytes.chunks_exact(bytes.len() / PIECES) {
        for byte in piece.iter().take(PIECE) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let squares: u64 = counts.iter().map(|count| u64::from(*count).pow(2)).sum();
    let least = ((PIECES * PIECE) as u64).pow(2) / 256;
    squares <= least + least / 8
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
        let mut members = Members::new(5);
        for (piece, stored) in
            [(&noise[..], true), (&repeated, false), (&text, false), (&mostly_text, false), (short, false)]
        {
            assert_eq!(members.is_dense(piece).expect("memory"), stored, "{} bytes", piece.len());
            let member = members.member(piece).expect("memory");
            assert_eq!(member.len() >= piece.len(), stored || piece == short, "{} bytes", piece.len());
        }
    }

    #[test]
    fn each_member_is_the_same_whatever_was_made_before() {
        let (noise, text) = (noise(200_001), b"what is small now was large once. ".repeat(5000));
        for level in 1..=9 {
            let mut members = Members::new(level);
            for piece in [&noise[..], &text, &noise, &text, b""] {
                let (member, alone) = (members.member(piece), Members::new(level).member(piece));
                assert!(member.expect("memory") == alone.expect("memory"), "level {level}, {} bytes", piece.len());
            }
        }
    }
}
