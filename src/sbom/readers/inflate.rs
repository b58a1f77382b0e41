//! Deflated bytes that come in pieces.

use flate2::{Decompress, FlushDecompress, Status};

/// Inflates a stream.
pub(super) struct Inflate {
    stream: Decompress,
    output: Box<[u8]>,
}

/// How far a piece went.
pub(super) struct Progress {
    /// How many bytes of it belong to the stream.
    pub(super) taken: usize,
    /// Whether the stream ends there.
    pub(super) is_end: bool,
}

/// The bytes are no such stream.
#[derive(Debug)]
pub(super) struct Broken;

const PIECE: usize = 32 << 10;

impl Inflate {
    /// Begins, with or without the header of zlib.
    pub(super) fn new(has_header: bool) -> Self {
        Self { stream: Decompress::new(has_header), output: vec![0; PIECE].into_boxed_slice() }
    }

    /// Takes the next piece, and gives what comes of it to `act`, which tells whether to go on.
    pub(super) fn feed(&mut self, input: &[u8], act: &mut dyn FnMut(&[u8]) -> bool) -> Result<Progress, Broken> {
        let mut taken = 0;
        loop {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(&input[taken..], &mut self.output, FlushDecompress::None);
            let status = status.map_err(|_| Broken)?;
            let consumed = usize::try_from(self.stream.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.stream.total_out() - before_out).unwrap_or(usize::MAX);
            taken += consumed;
            let goes_on = made == 0 || act(&self.output[..made.min(PIECE)]);
            let is_end = status == Status::StreamEnd || !goes_on;
            // A full output may hide that more is there.
            if is_end || (consumed == 0 && made == 0) || (taken == input.len() && made < PIECE) {
                return Ok(Progress { taken, is_end });
            }
        }
    }
}
