//! Contents on their way into a file that is new, long pieces of zeros as holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Pieces of zeros at least this long become holes.
const HOLE: usize = 4096;

/// Writes a new file from its start.
#[derive(Debug)]
pub struct HoleWriter<'a> {
    file: &'a File,
    position: u64,
    ends_in_hole: bool,
}

impl<'a> HoleWriter<'a> {
    /// Starts with an empty file.
    pub fn new(file: &'a File) -> Self {
        Self { file, position: 0, ends_in_hole: false }
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        // Every byte is as the one before it, and the first is zero: one comparison of two stretches of memory.
        self.ends_in_hole = piece.len() >= HOLE && piece[0] == 0 && piece[1..] == piece[..piece.len() - 1];
        if !self.ends_in_hole {
            self.file.write_all_at(piece, self.position)?;
        }
        self.position += piece.len() as u64;
        Ok(())
    }

    /// Gives the file its size, where a hole ends it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> io::Result<()> {
        if self.ends_in_hole { self.file.set_len(self.position) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn zeros_take_no_room_and_are_there() {
        let (zeros, text) = (vec![0; 1 << 20], vec![b'x'; 5000]);
        for (pieces, blocks) in [(vec![&zeros, &text, &zeros], 100), (vec![&zeros], 8), (vec![&text], 100)] {
            let file = tempfile::NamedTempFile::new().expect("tempfile");
            let mut writer = HoleWriter::new(file.as_file());
            pieces.iter().for_each(|piece| writer.write(piece).expect("writes"));
            writer.finish().expect("finishes");
            let whole: Vec<u8> = pieces.into_iter().flatten().copied().collect();
            assert!(std::fs::read(file.path()).expect("reads") == whole);
            let used = file.as_file().metadata().expect("stat").blocks();
            assert!(used <= blocks, "{used} blocks");
        }
    }
}
