//! Keys: what a step's result depends on, as one digest.
//!
//! Pure. Knows how parts become a key, not which parts a step has: `builder` says that.
//!
//! *Invariant: two lists of parts have the same key only if they are the same. Every part is framed by its length, a
//! kind of key never equals another kind's, and [`VERSION`] stands in each: a change of what a key means gives new
//! keys, so that no entry of an older executor is ever read as something else.*

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::oci::{Digest, DigestError, Hasher};

/// Stands in every key; to be changed when the same parts begin to give other results.
const VERSION: &str = "yadokari cache key 1";

/// Names a result by everything that decides it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// Returns the 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.hex()
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hex())
    }
}

impl FromStr for CacheKey {
    type Err = DigestError;

    fn from_str(hex: &str) -> Result<Self, DigestError> {
        format!("sha256:{hex}").parse().map(Self)
    }
}

/// Hashes values, each framed by its length.
#[derive(Clone, Debug)]
pub struct Frames(Hasher);

impl Frames {
    /// Starts a hash; `domain` says of what, so that values of one meaning never equal those of another.
    pub fn new(domain: &str) -> Self {
        Self(Hasher::new()).with(VERSION).with(domain)
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Adds a list, with its length.
    #[must_use]
    pub fn list<T: AsRef<[u8]>>(self, values: impl IntoIterator<Item = T>) -> Self {
        let mut list = Self(Hasher::new());
        let mut count = 0_u64;
        for value in values {
            list = list.with(value);
            count += 1;
        }
        self.with(count.to_le_bytes()).with(list.0.finish().hex())
    }

    /// Adds a value that may be missing, which is not the same as an empty one.
    #[must_use]
    pub fn option<T: AsRef<[u8]>>(self, value: Option<T>) -> Self {
        self.list(value)
    }

    /// Returns the digest of all that was added.
    pub fn digest(self) -> Digest {
        self.0.finish()
    }

    /// Returns the same as bytes.
    pub fn sum(self) -> [u8; 32] {
        self.0.sum()
    }

    /// Returns the same as a key.
    pub fn key(self) -> CacheKey {
        CacheKey(self.digest())
    }
}

/// One thing that a result depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is, as a user would call it: `the command`, `variable A`, `files of .`; it counts, too.
    pub name: String,
    /// What a user calls it instead, where that does not count: `stage build`, which may be renamed.
    pub alias: Option<String>,
    /// What it is worth.
    pub digest: Digest,
    /// Whether an instruction says it: a build argument may be in it, which its digest must not tell.
    pub is_said: bool,
    /// The files in it, where it is made of files.
    pub files: Vec<FileDigest>,
}

impl Part {
    /// Makes a part that is not made of files.
    pub fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self { name: name.into(), alias: None, digest, is_said: false, files: Vec::new() }
    }
}

/// A file of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Its path.
    pub path: String,
    /// The digest of all of it that counts.
    pub digest: Digest,
}

/// All that a result depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    kind: &'static str,
    parts: Vec<Part>,
}

impl std::fmt::Display for Parts {
    /// Names the parts, each with the beginning of its digest: what differs between two builds shows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, part) in self.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{}", part.name)?;
            // A digest of what an instruction says could tell a build argument to whoever tries some.
            if !part.is_said {
                write!(f, " {}", &part.digest.hex()[..12])?;
            }
        }
        Ok(())
    }
}

impl Parts {
    /// Starts a list for one kind of result.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, parts: Vec::new() }
    }

    /// Adds what an instruction says, as it was expanded.
    #[must_use]
    pub fn value(self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.said(name, Frames::new("value").with(value).digest())
    }

    /// Adds what an instruction says, by its digest.
    #[must_use]
    pub fn said(self, name: impl Into<String>, digest: Digest) -> Self {
        self.part(Part { is_said: true, ..Part::new(name, digest) })
    }

    /// Adds a value that everybody may know.
    #[must_use]
    pub fn open(self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.digest(name, Frames::new("value").with(value).digest())
    }

    /// Adds a part by its digest.
    #[must_use]
    pub fn digest(self, name: impl Into<String>, digest: Digest) -> Self {
        self.part(Part::new(name, digest))
    }

    /// Returns the parts in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Returns the key of all parts.
    pub fn key(&self) -> CacheKey {
        let parts = self.parts.iter().flat_map(|part| [part.name.as_bytes(), part.digest.hex().as_bytes()]);
        Frames::new(self.kind).list(parts).key()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Plain = Vec<(String, Vec<u8>)>;

    fn parts(kind: &'static str, plain: &Plain) -> Parts {
        plain.iter().fold(Parts::new(kind), |parts, (name, value)| parts.value(name.clone(), value))
    }

    fn plain() -> impl Strategy<Value = Plain> {
        // Short and from few letters, so that equal and nearly equal lists are common.
        proptest::collection::vec(("[ab]{0,2}", proptest::collection::vec(0_u8..2, 0..3)), 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn different_parts_never_share_a_key(one in plain(), other in plain()) {
            prop_assert_eq!(one == other, parts("run", &one).key() == parts("run", &other).key());
            prop_assert_ne!(parts("run", &one).key(), parts("copy", &one).key());
        }

        #[test]
        fn lists_do_not_run_into_each_other(one in proptest::collection::vec("[ab]{0,2}", 0..3), other in proptest::collection::vec("[ab]{0,2}", 0..3)) {
            let key = |a: &[String], b: &[String]| Frames::new("x").list(a).list(b).key();
            prop_assert_eq!(one == other, key(&one, &other) == key(&other, &one));
        }
    }

    /// A key that changes makes every cache of every user worthless: a decision, not an accident.
    #[test]
    fn keys_are_stable() {
        let parts = Parts::new("run").value("the command", "make").value("variable A", "1");
        assert_eq!(parts.key().hex(), "14f52052b0004849187e0d8798119e2edd853c41bd990acea4afdbed7d0c46ce");
    }
}
