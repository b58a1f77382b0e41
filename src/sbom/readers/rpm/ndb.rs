//! rpm's own form: pages of slots, each of which says where a blob is.
//!
//! Source: `lib/backend/ndb/rpmpkg.c` of rpm. All numbers are little-endian.

use super::{Fault, LARGEST_HEADER};
use crate::sbom::file::Pages;

const PAGE: u64 = 4096;
const SLOT: usize = 16;
/// The first two slots are the database's header.
const HEADER: u64 = 32;
const BLOCK: u64 = 16;

/// Calls `act` with each blob.
pub(super) fn each_blob(pages: &dyn Pages, act: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
    let mut header = [0; 16];
    pages.read_at(&mut header, 0)?;
    if &header[..4] != b"RpmP" || word(&header, 4) != 0 {
        return Err(Fault::Form("it is no database of this form"));
    }
    let end = u64::from(word(&header, 12)) * PAGE;
    if end > pages.length() {
        return Err(Fault::Form("it is cut off"));
    }
    let mut at = HEADER;
    while at < end {
        let mut slot = [0; SLOT];
        pages.read_at(&mut slot, at)?;
        at += SLOT as u64;
        let (index, block) = (word(&slot, 4), word(&slot, 8));
        if &slot[..4] != b"Slot" {
            return Err(Fault::Form("a slot is damaged"));
        }
        // A slot that is free.
        if index == 0 || block == 0 {
            continue;
        }
        let start = u64::from(block) * BLOCK;
        let mut head = [0; 16];
        pages.read_at(&mut head, start)?;
        let length = u64::from(word(&head, 12));
        if &head[..4] != b"BlbS" || word(&head, 4) != index || length > LARGEST_HEADER {
            return Err(Fault::Form("a package is damaged"));
        }
        let mut blob = vec![0; usize::try_from(length).unwrap_or(0)];
        pages.read_at(&mut blob, start + 16)?;
        act(&blob);
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
