//! The header of a package: a table of tags, and their values behind it.

use crate::sbom::package::{Kind, Package};
use crate::sbom::text::stated;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCE_RPM: u32 = 1044;

const INT32: u32 = 4;
const STRING: u32 = 6;
const I18N_STRING: u32 = 9;

const ENTRY: usize = 16;

/// Reads a package's header; none where it is damaged.
pub(super) fn package(blob: &[u8]) -> Option<Package> {
    let header = Header::read(blob)?;
    let version = format!("{}-{}", header.text(VERSION)?, header.text(RELEASE)?);
    let version = match header.number(EPOCH) {
        Some(epoch) => format!("{epoch}:{version}"),
        None => version,
    };
    Some(Package {
        architecture: header.text(ARCH).and_then(stated),
        source: header.text(SOURCE_RPM).and_then(stated),
        licences: header.text(LICENSE).and_then(stated).into_iter().collect(),
        supplier: header.text(VENDOR).and_then(stated),
        ..Package::new(Kind::Rpm, header.text(NAME)?, version)
    })
}

struct Header<'a> {
    entries: &'a [u8],
    values: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(blob: &'a [u8]) -> Option<Self> {
        let count = usize::try_from(word(blob, 0)?).ok()?;
        let length = usize::try_from(word(blob, 4)?).ok()?;
        let (entries, values) = blob.get(8..)?.split_at_checked(count.checked_mul(ENTRY)?)?;
        Some(Self { entries, values: values.get(..length)? })
    }

    /// Returns where the value of a tag begins, if it has one of these types.
    fn value(&self, tag: u32, types: &[u32]) -> Option<&'a [u8]> {
        let is_it =
            |entry: &&[u8]| word(entry, 0) == Some(tag) && word(entry, 4).is_some_and(|kind| types.contains(&kind));
        let entry = self.entries.chunks_exact(ENTRY).find(is_it)?;
        self.values.get(usize::try_from(word(entry, 8)?).ok()?..)
    }

    fn text(&self, tag: u32) -> Option<&'a str> {
        let value = self.value(tag, &[STRING, I18N_STRING])?;
        std::str::from_utf8(&value[..memchr::memchr(0, value)?]).ok()
    }

    fn number(&self, tag: u32) -> Option<u32> {
        word(self.value(tag, &[INT32])?, 0)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
