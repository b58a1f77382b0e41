//! Who owns the files of a root file system whose disk cannot say it: a process without rights makes files of its own user
//! alone, and no devices.
//!
//! A table by inode. What is not in it belongs to root and has the mode that the disk tells. On the disk each file can be
//! read and written by whoever made it, each directory entered; a device is an empty file.
//!
//! *Invariant: a new file has no row of an old one, since whoever makes it forgets that: [`super::Directory`] for the
//! executor, the supervisor of `mediated` isolation for RUN.*

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Device, FileKind, Inode, Stat, Xattrs};

/// What the disk cannot say of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Its permission bits, where those on the disk are wider.
    pub mode: Option<u16>,
    /// What device it is.
    pub device: Option<Device>,
    /// Extended attributes that only root may set.
    pub attributes: Xattrs,
}

impl Row {
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what is told of a file with this row.
    fn tell(&self, stat: Stat) -> Stat {
        let stat = self.device.as_ref().map_or(stat, |device| stat.of_device(device));
        Stat { uid: self.uid, gid: self.gid, mode: self.mode.unwrap_or(stat.mode), ..stat }
    }
}

/// The table of one root file system.
#[derive(Debug, Default)]
pub struct Owners {
    rows: Mutex<Rows>,
    /// Who files are made for, where the executor may choose.
    real: Option<(u32, u32)>,
}

#[derive(Debug, Default)]
struct Rows {
    by_inode: HashMap<Inode, Row>,
    /// What was changed since the table was loaded.
    changed: HashSet<Inode>,
}

/// The mode that a file gets on the disk which RUN is told to have `mode`: whoever made it can work with it, and set-id bits
/// are in the table alone, since the kernel would take them from a file that RUN's root writes to.
pub fn mode_on_disk(kind: FileKind, mode: u16) -> u16 {
    mode & 0o777 | if kind == FileKind::Directory { 0o700 } else { 0o600 }
}

/// Tells whether only root may set this attribute.
pub fn is_for_root(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

impl Owners {
    /// Makes an empty table for files that belong to `real` on the disk; none: to whoever makes them.
    pub fn new(real: Option<(u32, u32)>) -> Self {
        Self { rows: Mutex::default(), real }
    }

    /// Returns who files are made for, where the executor may choose.
    pub fn real(&self) -> Option<(u32, u32)> {
        self.real
    }

    /// Returns what is told of a file of which the disk tells `stat`.
    pub fn tell(&self, stat: Stat) -> Stat {
        let root = Stat { uid: 0, gid: 0, ..stat };
        self.with(|rows| rows.by_inode.get(&stat.inode).map_or(root, |row| row.tell(stat)))
    }

    /// Returns the row of a file; the default where there is none.
    pub fn row(&self, inode: Inode) -> Row {
        self.with(|rows| rows.by_inode.get(&inode).cloned().unwrap_or_default())
    }

    /// Changes the row of a file.
    pub fn change(&self, inode: Inode, change: impl FnOnce(&mut Row)) {
        self.with(|rows| {
            let row = rows.by_inode.entry(inode).or_default();
            change(row);
            if row.is_plain() {
                rows.by_inode.remove(&inode);
            }
            rows.changed.insert(inode);
        });
    }

    /// Forgets a file that is no more.
    pub fn forget(&self, inode: Inode) {
        self.with(|rows| {
            rows.by_inode.remove(&inode);
            rows.changed.insert(inode);
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Rows) -> T) -> T {
        // Nothing that is done under the lock panics halfway.
        look(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the rows in a file that [`Owners::save`] or [`Owners::save_changes`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, or is no whole table; nothing is changed then.
    pub fn load(&self, path: &Path) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut found = Vec::new();
        let count = number(&mut reader)?;
        for _ in 0..count {
            let inode = Inode { device: number(&mut reader)?, number: number(&mut reader)? };
            found.push((inode, read_row(&mut reader)?));
        }
        self.with(|rows| {
            for (inode, row) in found {
                if row.is_plain() {
                    rows.by_inode.remove(&inode);
                } else {
                    rows.by_inode.insert(inode, row);
                }
            }
        });
        Ok(())
    }

    /// Writes all rows to a new file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        self.with(|rows| write(path, rows.by_inode.len(), rows.by_inode.iter()))
    }

    /// Writes the rows that were changed since the table was loaded, those of files that are no more among them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn save_changes(&self, path: &Path) -> io::Result<()> {
        let none = Row::default();
        self.with(|rows| {
            let changed = rows.changed.iter().map(|inode| (inode, rows.by_inode.get(inode).unwrap_or(&none)));
            write(path, rows.changed.len(), changed)
        })
    }
}

fn write<'a>(path: &Path, count: usize, rows: impl Iterator<Item = (&'a Inode, &'a Row)>) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    writer.write_all(&(count as u64).to_le_bytes())?;
    for (inode, row) in rows {
        writer.write_all(&inode.device.to_le_bytes())?;
        writer.write_all(&inode.number.to_le_bytes())?;
        write_row(&mut writer, row)?;
    }
    writer.flush()
}

fn number(reader: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn small(reader: &mut impl Read) -> io::Result<u32> {
    u32::try_from(number(reader)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Reads bytes of which the kernel allows no more than 64 KiB.
fn bytes(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = usize::try_from(number(reader)?).unwrap_or(usize::MAX);
    if length > 64 * 1024 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut found = vec![0; length];
    reader.read_exact(&mut found)?;
    Ok(found)
}

/// What a row has beyond its owner.
const HAS_MODE: u64 = 1;
const IS_CHARACTER: u64 = 2;
const IS_BLOCK: u64 = 4;

fn read_row(reader: &mut impl Read) -> io::Result<Row> {
    let (uid, gid, has) = (small(reader)?, small(reader)?, number(reader)?);
    let mode = if has & HAS_MODE != 0 { u16::try_from(number(reader)?).ok() } else { None };
    let device = if has & (IS_CHARACTER | IS_BLOCK) != 0 {
        Some(Device { block: has & IS_BLOCK != 0, major: small(reader)?, minor: small(reader)? })
    } else {
        None
    };
    let mut attributes = Xattrs::new();
    for _ in 0..number(reader)? {
        attributes.insert(bytes(reader)?, bytes(reader)?);
    }
    Ok(Row { uid, gid, mode, device, attributes })
}

fn write_row(writer: &mut impl Write, row: &Row) -> io::Result<()> {
    let mut has = if row.mode.is_some() { HAS_MODE } else { 0 };
    if let Some(device) = &row.device {
        has |= if device.block { IS_BLOCK } else { IS_CHARACTER };
    }
    let mut numbers = vec![u64::from(row.uid), u64::from(row.gid), has];
    numbers.extend(row.mode.map(u64::from));
    numbers.extend(row.device.iter().flat_map(|device| [u64::from(device.major), u64::from(device.minor)]));
    numbers.push(row.attributes.len() as u64);
    for number in numbers {
        writer.write_all(&number.to_le_bytes())?;
    }
    for part in row.attributes.iter().flat_map(|(name, value)| [name, value]) {
        writer.write_all(&(part.len() as u64).to_le_bytes())?;
        writer.write_all(part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(number: u64) -> Inode {
        Inode { device: 1 << 40, number }
    }

    #[test]
    fn a_table_survives_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("owners");
        let owners = Owners::default();
        owners.change(inode(1), |row| (row.uid, row.gid) = (1000, u32::MAX));
        owners.change(inode(2), |row| {
            row.mode = Some(0o4000);
            row.device = Some(Device { block: true, major: 7, minor: 300 });
            row.attributes.insert(b"security.capability".to_vec(), vec![0, 1, 255]);
        });
        owners.save(&path).unwrap();
        let other = Owners::default();
        other.load(&path).unwrap();
        for number in [1, 2, 9] {
            assert_eq!(other.row(inode(number)), owners.row(inode(number)));
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(other.load(&path).is_err());
        assert_eq!(other.row(inode(1)).uid, 1000);
    }

    #[test]
    fn changes_alone_are_handed_back() {
        let directory = tempfile::tempdir().unwrap();
        let [whole, changes] = ["whole", "changes"].map(|name| directory.path().join(name));
        let owners = Owners::default();
        (1..4).for_each(|number| owners.change(inode(number), |row| row.uid = 7));
        owners.save(&whole).unwrap();
        let other = Owners::default();
        other.load(&whole).unwrap();
        other.forget(inode(1));
        other.change(inode(2), |row| row.uid = 8);
        other.save_changes(&changes).unwrap();
        owners.change(inode(3), |row| row.uid = 9);
        owners.load(&changes).unwrap();
        assert_eq!([1, 2, 3].map(|number| owners.row(inode(number)).uid), [0, 8, 9]);
    }

    #[test]
    fn what_is_root_s_needs_no_row() {
        let owners = Owners::default();
        owners.change(inode(1), |row| row.uid = 5);
        owners.change(inode(1), |row| row.uid = 0);
        assert!(owners.with(|rows| rows.by_inode.is_empty()));
    }
}
