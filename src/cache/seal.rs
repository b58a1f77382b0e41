//! Seals: what only those can put on an entry who hold the key of a cache.
//!
//! An entry says which layer a step made, and no digest can tell whether that is so: whoever may write to the place can put
//! there what they like. With a key each entry carries a message authentication code (HMAC-SHA-256, RFC 2104) over its
//! name, what it says, its blob, and the part of the cache that it was written to; and a reader with the key takes no
//! other.
//!
//! *Invariant: codes are compared in constant time, and the key is in no message and on no disk of ours.*

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{EntryName, Error};
use crate::oci::{Descriptor, Digest};
use crate::sys::random;

/// A key that is shorter can be guessed.
const SHORTEST: usize = 32;
/// What the codes of entries are about; other uses of a key have another word.
const ENTRY: &str = "yadokari cache entry 1";
const HIDDEN: &str = "yadokari trail 1";

/// The key of a cache; whoever has it can write to all that is sealed with it.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

/// A text that is too short for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has at least {SHORTEST} bytes, such as the text of `openssl rand -hex 32`")]
pub struct TooShort;

impl Key {
    /// Takes a key as it was given; white space around it does not count.
    ///
    /// # Errors
    /// [`TooShort`].
    pub fn new(given: &[u8]) -> Result<Self, TooShort> {
        let key = given.trim_ascii();
        if key.len() < SHORTEST { Err(TooShort) } else { Ok(Self(Zeroizing::new(key.to_vec()))) }
    }

    /// Makes a key that nobody else has, for as long as this process lives.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn random() -> std::io::Result<Self> {
        let mut key = Zeroizing::new(vec![0; SHORTEST]);
        random::fill(&mut key)?;
        Ok(Self(key))
    }

    /// Starts a code; `use_of` says of what, so that a code of one meaning never is one of another.
    pub(super) fn code(&self, use_of: &str) -> Code {
        let code = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        Code(code).with(use_of.as_bytes())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A code in the making.
#[derive(Clone)]
pub(super) struct Code(Hmac<Sha256>);

impl Code {
    /// Adds a value, framed by its length.
    pub(super) fn with(mut self, value: &[u8]) -> Self {
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Adds bytes as they come; to be the last that is added.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the code as hexadecimal digits.
    pub(super) fn finish(self) -> String {
        hex::encode(self.0.finalize().into_bytes())
    }

    /// Tells whether these digits are the code; how long that takes says nothing of where they differ.
    pub(super) fn is(self, digits: &str) -> bool {
        hex::decode(digits).is_ok_and(|given| self.0.verify_slice(&given).is_ok())
    }
}

/// The seal of one part of a cache.
#[derive(Clone, Debug)]
pub struct Seal {
    key: Key,
    /// The part that is written: what is kept in a part that anybody may write must not count in another one.
    part: String,
    /// The parts that are read.
    read: Vec<String>,
}

impl Seal {
    /// Seals, and reads, one part of a cache; empty for the whole.
    pub fn of(key: &Key, part: &[String]) -> Self {
        let part = part.join("/");
        Self { key: key.clone(), read: vec![part.clone()], part }
    }

    /// Also reads other parts.
    #[must_use]
    pub fn reading(mut self, parts: &[&[String]]) -> Self {
        self.read.extend(parts.iter().map(|part| part.join("/")));
        self
    }

    /// Makes the code of an entry.
    pub(super) fn make(&self, name: &EntryName, document: &str, blob: Option<&Descriptor>) -> String {
        self.code(&self.part, name, document, blob).finish()
    }

    /// Returns what stands for a value that could be guessed by its digest: only who has the key can try.
    pub(super) fn hide(&self, name: &str, digest: &Digest) -> String {
        self.key.code(HIDDEN).with(name.as_bytes()).with(digest.hex().as_bytes()).finish()
    }

    /// Checks the code of an entry.
    ///
    /// # Errors
    /// [`Error::Unsealed`] where there is none, [`Error::Refused`] where it is not of the key.
    pub(super) fn check(
        &self,
        name: &EntryName,
        document: &str,
        blob: Option<&Descriptor>,
        code: Option<&str>,
    ) -> Result<(), Error> {
        let Some(code) = code else { return Err(Error::Unsealed { entry: name.to_string() }) };
        let is_right = |part: &String| self.code(part, name, document, blob).is(code);
        if self.read.iter().any(is_right) {
            return Ok(());
        }
        Err(Error::refused(name, "its seal was not made with the key of the cache"))
    }

    fn code(&self, part: &str, name: &EntryName, document: &str, blob: Option<&Descriptor>) -> Code {
        let code = self.key.code(ENTRY).with(part.as_bytes()).with(name.to_string().as_bytes());
        let code = code.with(document.as_bytes());
        match blob {
            None => code.with(b"no blob"),
            Some(blob) => {
                let code = code.with(b"blob").with(blob.media_type.as_bytes()).with(blob.digest.as_str().as_bytes());
                code.with(&blob.size.to_le_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{EntryKind, key::Frames};
    use crate::oci::media_type;

    fn name(text: &str) -> EntryName {
        EntryName::new(EntryKind::Step, &Frames::new("test").with(text).key())
    }

    #[test]
    fn a_seal_holds_for_one_entry_in_one_part_under_one_key() {
        let key = Key::new(&[7; 40]).expect("long enough");
        let parts = ["pr".to_owned(), "12".to_owned()];
        let (whole, branch) = (Seal::of(&key, &[]), Seal::of(&key, &parts));
        let blob = Descriptor::of(media_type::OCI_LAYER, b"bytes");
        let other_blob = Descriptor::of(media_type::OCI_LAYER_GZIP, b"bytes");
        let code = whole.make(&name("a"), "says", Some(&blob));
        let check = |seal: &Seal, text: &str, says: &str, blob: Option<&Descriptor>, code: Option<&str>| {
            seal.check(&name(text), says, blob, code).map_err(|error| error.to_string())
        };
        assert_eq!(check(&whole, "a", "says", Some(&blob), Some(&code)), Ok(()));
        let wrong = code.replace(['0', '1', '2'], "3");
        let other = Seal::of(&Key::new(&[8; 40]).expect("long enough"), &[]);
        for (what, refused) in [
            ("another name", check(&whole, "b", "says", Some(&blob), Some(&code))),
            ("other words", check(&whole, "a", "said", Some(&blob), Some(&code))),
            ("another blob", check(&whole, "a", "says", Some(&other_blob), Some(&code))),
            ("no blob", check(&whole, "a", "says", None, Some(&code))),
            ("another part", check(&branch, "a", "says", Some(&blob), Some(&code))),
            ("another key", check(&other, "a", "says", Some(&blob), Some(&code))),
            ("another code", check(&whole, "a", "says", Some(&blob), Some(&wrong))),
            ("no code", check(&whole, "a", "says", Some(&blob), Some(""))),
            ("half a code", check(&whole, "a", "says", Some(&blob), Some(&code[..32]))),
            ("no digits", check(&whole, "a", "says", Some(&blob), Some("é"))),
            ("none", check(&whole, "a", "says", Some(&blob), None)),
        ] {
            assert!(refused.expect_err(what).contains("seal"), "{what}");
        }
        let reader = Seal::of(&key, &parts).reading(&[&[]]);
        assert_eq!(check(&reader, "a", "says", Some(&blob), Some(&code)), Ok(()), "what is above is read");
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_shown() {
        assert_eq!(Key::new(b"0123456789012345678901234567890 \n").map(drop), Err(TooShort));
        let key = Key::new(b"01234567890123456789012345678901\n").expect("long enough");
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert_eq!(key.0.len(), 32, "the newline of a file is no part of the key");
        assert_ne!(*Key::random().expect("random").0, *Key::random().expect("random").0);
    }
}
