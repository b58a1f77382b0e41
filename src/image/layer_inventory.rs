//! What one layer holds, without contents: small enough to keep for every layer of every base.
//!
//! Knows the order and the metadata of a layer's entries, and its account files; does not know other layers.
//!
//! *Invariant: a kept inventory that was damaged, cut off or written by another version is an error, never another
//! list of files. In memory it is the same bytes as in the file: about 40 for each entry.*

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use xxhash_rust::xxh3::Xxh3;

use super::accounts::AccountFile;
use super::watch::Watch;
use super::{Entry, EntryKind, Error, LayerReader, Timestamp, decompressed};

/// Stands at the beginning of a kept inventory; its number changes with the format.
const MAGIC: &[u8] = b"yadokari inventory 1\n";

/// How much of a file's content is looked at at a time.
const PIECE: usize = 64 << 10;

/// A layer whose list of files is larger than this is refused: about five million files.
const LARGEST: usize = 256 << 20;

/// The entries of a layer in their order, and the content of its account files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerInventory {
    /// The entries, one after the other, each path written as what differs from the one before.
    data: Vec<u8>,
    count: u32,
    last: Vec<u8>,
    accounts: Vec<Account>,
}

/// An account file that is in the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) file: AccountFile,
    /// The number of the entry that holds it.
    pub(super) entry: u32,
    pub(super) content: Vec<u8>,
}

impl LayerInventory {
    /// Reads the entries of a layer from its stream, compressed or not, to its end.
    ///
    /// # Errors
    /// As [`LayerReader::next_entry`], and [`Error::Inventory`] for a layer with more than some five million files.
    pub fn read<'a>(layer: impl Read + Send + 'a) -> Result<Self, Error> {
        Self::read_tar(decompressed(layer).map_err(|source| Error::Read { offset: 0, source })?)
    }

    /// Reads the entries of a layer from its stream as it is, to its end.
    ///
    /// # Errors
    /// As [`LayerInventory::read`].
    pub fn read_tar(tar: impl Read) -> Result<Self, Error> {
        Self::read_watched(tar, None)
    }

    /// Reads the entries of a layer from its stream as it is, to its end, and lets somebody look at the files.
    ///
    /// # Errors
    /// As [`LayerInventory::read`].
    pub fn read_watched(tar: impl Read, watch: Option<Box<dyn Watch>>) -> Result<Self, Error> {
        let mut reader = LayerReader::new(tar).watched(watch);
        let mut buffer = vec![0; PIECE];
        while let Some((entry, mut content)) = reader.next_entry()? {
            let read = content.read_wanted(&mut buffer);
            read.map_err(|source| Error::Content { path: entry.path, source })?;
        }
        Ok(reader.into_inventory())
    }

    /// Returns the entries in the order of the layer, whiteouts among them.
    pub fn entries(&self) -> Entries<'_> {
        Entries { data: &self.data, path: Vec::new() }
    }

    /// Returns the largest files, up to `most` of them, the largest first, with their sizes in bytes.
    pub fn largest(&self, most: usize) -> Vec<(PathBuf, u64)> {
        let mut found: Vec<(PathBuf, u64)> = Vec::with_capacity(most + 1);
        for entry in self.entries() {
            let EntryKind::File { size } = entry.kind else { continue };
            let place = found.partition_point(|(_, known)| *known >= size);
            if place < most {
                found.insert(place, (entry.path, size));
                found.truncate(most);
            }
        }
        found
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Tells whether the layer holds nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Writes the inventory in a form that [`LayerInventory::read_from`] understands.
    ///
    /// # Errors
    /// [`Error::InventoryIo`] when `output` fails.
    pub fn write_to(&self, output: &mut impl Write) -> Result<(), Error> {
        let mut head = MAGIC.to_vec();
        number(&mut head, u64::from(self.count));
        number(&mut head, self.data.len() as u64);
        number(&mut head, self.accounts.len() as u64);
        let mut tail = Vec::new();
        for account in &self.accounts {
            number(&mut tail, u64::from(account.entry));
            number(&mut tail, u64::from(account.file == AccountFile::Group));
            bytes(&mut tail, &account.content);
        }
        number(&mut head, tail.len() as u64);
        let mut hash = Xxh3::new();
        let mut write = || {
            for part in [&head, &self.data, &tail] {
                hash.update(part);
                output.write_all(part)?;
            }
            output.write_all(&hash.digest128().to_le_bytes())
        };
        write().map_err(|source| Error::InventoryIo { source })
    }

    /// Reads a kept inventory.
    ///
    /// # Errors
    /// [`Error::InventoryIo`] when `input` fails, [`Error::Inventory`] when it is damaged or of another version.
    pub fn read_from(input: &mut impl Read) -> Result<Self, Error> {
        let mut all = Vec::new();
        let limit = 2 * LARGEST as u64;
        input.take(limit).read_to_end(&mut all).map_err(|source| Error::InventoryIo { source })?;
        parse(all).map_err(|reason| Error::Inventory { reason })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`Error::Inventory`] when there are more than some five million.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        if self.data.len() > LARGEST {
            return Err(Error::Inventory { reason: "the layer holds too many files" });
        }
        let path = entry.path.as_os_str().as_bytes();
        let shared = path.iter().zip(&self.last).take_while(|(new, old)| new == old).count();
        let data = &mut self.data;
        number(data, shared as u64);
        bytes(data, &path[shared..]);
        self.last.truncate(shared);
        self.last.extend_from_slice(&path[shared..]);
        write_metadata(data, entry);
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Keeps the content of an account file, which the entry pushed last holds.
    pub(super) fn keep_account(&mut self, file: AccountFile, content: Vec<u8>) {
        self.accounts.retain(|account| account.file != file);
        self.accounts.push(Account { file, entry: self.count.saturating_sub(1), content });
    }

    pub(super) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Gives back memory that was taken in advance.
    pub(super) fn shrink(&mut self) {
        self.data.shrink_to_fit();
        self.last = Vec::new();
    }
}

/// Iterates over the entries of a [`LayerInventory`].
pub struct Entries<'a> {
    data: &'a [u8],
    path: Vec<u8>,
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.data.is_empty() {
            return None;
        }
        let entry = read_entry(&mut self.data, &mut self.path);
        if entry.is_none() {
            self.data = &[];
        }
        entry
    }
}

fn parse(mut all: Vec<u8>) -> Result<LayerInventory, &'static str> {
    const DAMAGED: &str = "it is damaged";
    if !all.starts_with(MAGIC) {
        return Err("it was written by another version, or is damaged");
    }
    let end = all.len().checked_sub(16).ok_or(DAMAGED)?;
    if xxhash_rust::xxh3::xxh3_128(&all[..end]).to_le_bytes() != all[end..] {
        return Err(DAMAGED);
    }
    let mut rest = &all[MAGIC.len()..end];
    let mut length = || take_number(&mut rest).and_then(|number| usize::try_from(number).ok());
    let (count, data_length) = (length().ok_or(DAMAGED)?, length().ok_or(DAMAGED)?);
    let (account_count, tail_length) = (length().ok_or(DAMAGED)?, length().ok_or(DAMAGED)?);
    let start = end - rest.len();
    if data_length.checked_add(tail_length) != Some(rest.len()) {
        return Err(DAMAGED);
    }
    let accounts = read_accounts(&rest[data_length..], account_count).ok_or(DAMAGED)?;
    all.truncate(start + data_length);
    all.drain(..start);
    let count = u32::try_from(count).map_err(|_| DAMAGED)?;
    let inventory = LayerInventory { data: all, count, last: Vec::new(), accounts };
    if inventory.entries().count() != inventory.len() {
        return Err(DAMAGED);
    }
    Ok(inventory)
}

fn read_accounts(mut data: &[u8], count: usize) -> Option<Vec<Account>> {
    let mut accounts = Vec::new();
    for _ in 0..count {
        let entry = u32::try_from(take_number(&mut data)?).ok()?;
        let file = if take_number(&mut data)? == 0 { AccountFile::Passwd } else { AccountFile::Group };
        accounts.push(Account { file, entry, content: take_bytes(&mut data)?.to_vec() });
    }
    data.is_empty().then_some(accounts)
}

/// Says in one number what is there: the kind, and whether the rarer parts follow.
const HAS_NANOSECONDS: u64 = 8;
const HAS_XATTRS: u64 = 16;

fn write_metadata(data: &mut Vec<u8>, entry: &Entry) {
    let kind = match entry.kind {
        EntryKind::File { .. } => 0,
        EntryKind::Directory => 1,
        EntryKind::Symlink { .. } => 2,
        EntryKind::HardLink { .. } => 3,
        EntryKind::Fifo => 4,
        EntryKind::CharacterDevice { .. } => 5,
        EntryKind::BlockDevice { .. } => 6,
    };
    let nanoseconds = if entry.mtime.nanoseconds == 0 { 0 } else { HAS_NANOSECONDS };
    let xattrs = if entry.xattrs.is_empty() { 0 } else { HAS_XATTRS };
    number(data, kind | nanoseconds | xattrs);
    for value in [entry.mode, entry.uid, entry.gid] {
        number(data, u64::from(value));
    }
    // Small numbers of either sign become small ones without.
    number(data, ((entry.mtime.seconds << 1) ^ (entry.mtime.seconds >> 63)).cast_unsigned());
    if nanoseconds != 0 {
        number(data, u64::from(entry.mtime.nanoseconds));
    }
    match &entry.kind {
        EntryKind::File { size } => number(data, *size),
        EntryKind::Symlink { target } | EntryKind::HardLink { target } => bytes(data, target.as_os_str().as_bytes()),
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            number(data, u64::from(*major));
            number(data, u64::from(*minor));
        }
        EntryKind::Directory | EntryKind::Fifo => {}
    }
    if xattrs != 0 {
        number(data, entry.xattrs.len() as u64);
        for (name, value) in &entry.xattrs {
            bytes(data, name);
            bytes(data, value);
        }
    }
}

fn read_entry(data: &mut &[u8], path: &mut Vec<u8>) -> Option<Entry> {
    let shared = usize::try_from(take_number(data)?).ok().filter(|shared| *shared <= path.len())?;
    path.truncate(shared);
    path.extend_from_slice(take_bytes(data)?);
    let what = take_number(data)?;
    let (mode, uid, gid) = (small(data)?, small(data)?, small(data)?);
    let seconds = take_number(data)?;
    let seconds = (seconds >> 1).cast_signed() ^ -(seconds & 1).cast_signed();
    let nanoseconds = if what & HAS_NANOSECONDS == 0 { 0 } else { small(data)? };
    let kind = match what & 7 {
        0 => EntryKind::File { size: take_number(data)? },
        1 => EntryKind::Directory,
        2 => EntryKind::Symlink { target: take_path(data)? },
        3 => EntryKind::HardLink { target: take_path(data)? },
        4 => EntryKind::Fifo,
        5 => EntryKind::CharacterDevice { major: small(data)?, minor: small(data)? },
        6 => EntryKind::BlockDevice { major: small(data)?, minor: small(data)? },
        _ => return None,
    };
    let mut xattrs = BTreeMap::new();
    if what & HAS_XATTRS != 0 {
        for _ in 0..take_number(data)? {
            let name = take_bytes(data)?.to_vec();
            xattrs.insert(name, take_bytes(data)?.to_vec());
        }
    }
    let path = PathBuf::from(OsString::from_vec(path.clone()));
    Some(Entry { path, kind, mode, uid, gid, mtime: Timestamp { seconds, nanoseconds }, xattrs })
}

/// Writes a number in groups of seven bits, lowest first; the highest bit says that more follow.
fn number(data: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        data.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    data.push((number & 0x7f) as u8);
}

fn bytes(data: &mut Vec<u8>, bytes: &[u8]) {
    number(data, bytes.len() as u64);
    data.extend_from_slice(bytes);
}

fn take_number(data: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn small(data: &mut &[u8]) -> Option<u32> {
    u32::try_from(take_number(data)?).ok()
}

fn take_bytes<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(data)?).ok()?;
    let (bytes, rest) = data.split_at_checked(length)?;
    *data = rest;
    Some(bytes)
}

fn take_path(data: &mut &[u8]) -> Option<PathBuf> {
    take_bytes(data).map(|bytes| PathBuf::from(OsString::from_vec(bytes.to_vec())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn inventory() -> LayerInventory {
        let mut inventory = LayerInventory::default();
        for number in 0..60_u32 {
            let path = PathBuf::from(format!("usr/share/doc/package-{}/file{number}", number / 7));
            let kind = match number % 3 {
                0 => EntryKind::File { size: u64::from(number) << 30 },
                1 => EntryKind::Directory,
                _ => EntryKind::Symlink { target: "../elsewhere".into() },
            };
            let mtime = Timestamp { seconds: -5 + i64::from(number), nanoseconds: number % 2 };
            let xattrs = BTreeMap::from([(b"user.x".to_vec(), vec![0; 3])]);
            inventory.push(&Entry { path, kind, mode: 0o644, uid: number, gid: u32::MAX, mtime, xattrs }).expect("few");
        }
        inventory.keep_account(AccountFile::Group, b"root:x:0:\n".to_vec());
        inventory.shrink();
        inventory
    }

    fn kept() -> Vec<u8> {
        let mut kept = Vec::new();
        inventory().write_to(&mut kept).expect("memory");
        kept
    }

    #[test]
    fn the_largest_files_come_first_and_nothing_else_is_among_them() {
        let numbers = |most| {
            let found = inventory().largest(most).into_iter();
            found.map(|(path, size)| (path.ends_with(format!("file{}", size >> 30)), size >> 30)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(3), [(true, 57), (true, 54), (true, 51)]);
        assert_eq!((numbers(0).len(), numbers(100).len()), (0, 20));
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let found = LayerInventory::read_from(&mut &kept()[..]).expect("whole");
        assert_eq!(found, inventory());
        assert_eq!(found.len(), 60);
        assert_eq!(found.entries().nth(59).expect("there").path, Path::new("usr/share/doc/package-8/file59"));
        assert_eq!(found.accounts()[0].entry, 59);
    }

    #[test]
    fn any_damage_is_an_error() {
        let kept = kept();
        for at in 0..kept.len() {
            let mut damaged = kept.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(LayerInventory::read_from(&mut &damaged[..]).is_err(), "byte {at}");
        }
        for length in (0..kept.len()).step_by(7) {
            assert!(LayerInventory::read_from(&mut &kept[..length]).is_err(), "length {length}");
        }
        let longer = [&kept[..], b"x"].concat();
        assert!(LayerInventory::read_from(&mut &longer[..]).is_err());
    }

    #[test]
    fn nonsense_with_a_right_checksum_is_an_error_too() {
        let good = kept();
        let end = good.len() - 16;
        for at in MAGIC.len()..end {
            let mut body = good[..end].to_vec();
            body[at] ^= 0xff;
            let checksum = xxhash_rust::xxh3::xxh3_128(&body).to_le_bytes();
            body.extend_from_slice(&checksum);
            // No panic; whether it is an error depends on what the byte means.
            let _ = LayerInventory::read_from(&mut &body[..]);
        }
    }
}
