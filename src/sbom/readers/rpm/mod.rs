//! rpm's database: in SQLite's form, and in rpm's own (`ndb`).
//!
//! Both hold one blob for each package, the header of the package's file. Berkeley DB's form, of rpm before 4.16, is not read.
//!
//! Source: <https://rpm-software-management.github.io/rpm/manual/format_header.html>, and `lib/backend` of rpm.

mod header;
mod ndb;
mod sqlite;

use crate::sbom::file::{Findings, Pages};

/// The largest header that is read, in bytes.
const LARGEST_HEADER: u64 = 32 << 20;

/// A form of the database.
#[derive(Clone, Copy, Debug)]
pub(in crate::sbom) enum Database {
    /// `rpmdb.sqlite`.
    Sqlite,
    /// `Packages.db`.
    Ndb,
}

impl Database {
    /// Reads all packages.
    pub(in crate::sbom) fn read(self, pages: &dyn Pages) -> Result<Findings, String> {
        let mut found = Findings::default();
        let mut unreadable = 0_usize;
        let mut act = |blob: &[u8]| match header::package(blob) {
            Some(package) => found.packages.push(package),
            None => unreadable += 1,
        };
        let read = match self {
            Self::Sqlite => sqlite::each_blob(pages, "Packages", &mut act),
            Self::Ndb => ndb::each_blob(pages, &mut act),
        };
        if let Err(fault) = read {
            found.notes.push(format!("the rpm database is read up to a fault in it: {fault}"));
        }
        if unreadable > 0 {
            found.notes.push(format!("{unreadable} packages in the rpm database cannot be read"));
        }
        Ok(found)
    }
}

/// What is wrong with a database.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Form(&'static str),
    #[error(transparent)]
    Read(#[from] std::io::Error),
}

#[cfg(test)]
pub(in crate::sbom) mod tests;
