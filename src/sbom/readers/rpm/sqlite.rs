//! SQLite's form, as far as one table of blobs needs it: pages, the tree of a table, and rows that go on in other pages.
//!
//! No more than one row is in memory. Whatever the bytes, no page is looked at more often than there are pages.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>. All numbers are big-endian.

use super::{Fault, LARGEST_HEADER};
use crate::sbom::file::Pages;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// The first page begins with the database's header.
const HEADER: usize = 100;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// A tree that is deeper would have more rows than fit.
const DEEPEST: usize = 32;

/// Calls `act` with the blob of each row of a table, which is the last column of it.
pub(super) fn each_blob(pages: &dyn Pages, table: &str, act: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
    let mut file = File::open(pages)?;
    let mut root = None;
    file.each_row(1, &mut |row| {
        if let Some(columns) = columns(row)
            && columns.first().is_some_and(|kind| kind == b"table")
            && columns.get(1).is_some_and(|name| *name == table.as_bytes())
        {
            root = columns.get(3).and_then(|number| integer(number));
        }
    })?;
    let root = root.ok_or(Fault::Form("it has no table of packages"))?;
    file.each_row(root, &mut |row| {
        if let Some(blob) = columns(row).and_then(|columns| columns.last().copied()) {
            act(blob);
        }
    })
}

struct File<'a> {
    pages: &'a dyn Pages,
    page_size: usize,
    /// How much of each page has content.
    usable: usize,
    count: u32,
    /// How many pages may still be looked at.
    budget: u64,
}

impl<'a> File<'a> {
    fn open(pages: &'a dyn Pages) -> Result<Self, Fault> {
        let mut header = [0; HEADER];
        pages.read_at(&mut header, 0)?;
        if !header.starts_with(MAGIC) {
            return Err(Fault::Form("it is no database of SQLite"));
        }
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65536,
            size => usize::from(size),
        };
        let usable = page_size.checked_sub(usize::from(header[20])).filter(|usable| *usable >= 480);
        let usable =
            usable.filter(|_| page_size.is_power_of_two()).ok_or(Fault::Form("its pages have no possible size"))?;
        let count = u32::try_from(pages.length() / page_size as u64).unwrap_or(u32::MAX);
        Ok(Self { pages, page_size, usable, count, budget: 2 * u64::from(count) + 2 })
    }

    fn page(&mut self, number: u32) -> Result<Vec<u8>, Fault> {
        self.budget = self.budget.checked_sub(1).ok_or(Fault::Form("its pages lead in a circle"))?;
        if number == 0 || number > self.count {
            return Err(Fault::Form("it names a page that is not there"));
        }
        let mut page = vec![0; self.page_size];
        self.pages.read_at(&mut page, u64::from(number - 1) * self.page_size as u64)?;
        page.truncate(self.usable);
        Ok(page)
    }

    /// Calls `act` with each row of the table whose tree begins at `root`, in order.
    fn each_row(&mut self, root: u32, act: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
        let mut pending = vec![(root, 0)];
        while let Some((number, depth)) = pending.pop() {
            if depth > DEEPEST {
                return Err(Fault::Form("a tree in it is too deep"));
            }
            let page = self.page(number)?;
            let start = if number == 1 { HEADER } else { 0 };
            let damaged = Fault::Form("a page is damaged");
            let (Some(kind), Some(count)) = (page.get(start), short(&page, start + 3)) else { return Err(damaged) };
            let is_leaf = match *kind {
                LEAF => true,
                INTERIOR => false,
                _ => return Err(damaged),
            };
            let cells = start + if is_leaf { 8 } else { 12 };
            let mut children = Vec::new();
            for cell in 0..usize::from(count) {
                let at = short(&page, cells + 2 * cell).map(usize::from).ok_or(Fault::Form("a page is damaged"))?;
                let cell = page.get(at..).ok_or(Fault::Form("a page is damaged"))?;
                if is_leaf {
                    act(&self.row(cell)?);
                } else {
                    children.push(long(cell, 0).ok_or(Fault::Form("a page is damaged"))?);
                }
            }
            if !is_leaf {
                children.push(long(&page, start + 8).ok_or(Fault::Form("a page is damaged"))?);
            }
            pending.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
        }
        Ok(())
    }

    /// Returns the bytes of a row, which begins in a cell and may go on in pages of its own.
    fn row(&mut self, cell: &[u8]) -> Result<Vec<u8>, Fault> {
        let damaged = || Fault::Form("a row is damaged");
        let mut rest = cell;
        let length = varint(&mut rest).ok_or_else(damaged)?;
        let _row_id = varint(&mut rest).ok_or_else(damaged)?;
        if length > LARGEST_HEADER {
            return Err(Fault::Form("a row is larger than any package"));
        }
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let here = self.stored_here(length);
        let mut row = rest.get(..here).ok_or_else(damaged)?.to_vec();
        let mut next = if here < length { long(rest, here).ok_or_else(damaged)? } else { 0 };
        while row.len() < length {
            let page = self.page(next)?;
            next = long(&page, 0).ok_or_else(damaged)?;
            let more = (length - row.len()).min(self.usable - 4);
            row.extend_from_slice(page.get(4..4 + more).ok_or_else(damaged)?);
        }
        Ok(row)
    }

    /// Returns how many bytes of a row of this length stand in its cell.
    fn stored_here(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        if fitting <= most { fitting } else { least }
    }
}

/// Splits a row into the bytes of its columns.
fn columns(row: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = row;
    let header = usize::try_from(varint(&mut rest)?).ok()?;
    let mut types = row.get(row.len() - rest.len()..header)?;
    let mut values = row.get(header..)?;
    let mut columns = Vec::new();
    while !types.is_empty() {
        let length = match varint(&mut types)? {
            0 | 8 | 9 => 0,
            small @ 1..=4 => small,
            5 => 6,
            6 | 7 => 8,
            kind => kind.checked_sub(12)? / 2,
        };
        let (value, after) = values.split_at_checked(usize::try_from(length).ok()?)?;
        columns.push(value);
        values = after;
    }
    Some(columns)
}

fn integer(bytes: &[u8]) -> Option<u32> {
    let value = bytes.iter().try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)))?;
    u32::try_from(value).ok()
}

/// Takes a number of one to nine bytes.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for number in 0..9 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        if number == 8 {
            return Some((value << 8) | u64::from(*byte));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
