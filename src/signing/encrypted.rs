//! Private keys as cosign writes them: JSON in a PEM block, with a key from scrypt and NaCl's secretbox around PKCS#8.
//!
//! Source: <https://github.com/secure-systems-lab/go-securesystemslib/tree/main/encrypted>;
//! <https://nacl.cr.yp.to/secretbox.html>, which is XSalsa20 with Poly1305 over what it gives.

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::KeyError;

/// The most that the password's hash may take, in bytes: cosign's take 32 or 64 MiB.
const LARGEST_WORK: u64 = 256 << 20;
const TAG: usize = 16;

#[derive(Deserialize)]
struct Envelope {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Returns the key in PKCS#8.
pub(super) fn open(json: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let malformed = |what: &str| KeyError::Malformed(format!("its {what} is not what cosign writes"));
    let envelope: Envelope = serde_json::from_slice(json).map_err(|_| malformed("envelope"))?;
    let Params { n, r, p } = envelope.kdf.params;
    let work = n.saturating_mul(128).saturating_mul(u64::from(r)).saturating_mul(u64::from(p));
    if envelope.kdf.name != "scrypt" || envelope.cipher.name != "nacl/secretbox" {
        return Err(KeyError::Unsupported(format!("{} with {}", envelope.kdf.name, envelope.cipher.name)));
    }
    if !n.is_power_of_two() || work > LARGEST_WORK {
        return Err(malformed("cost of scrypt"));
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| malformed("cost of scrypt"))?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| malformed("cost of scrypt"))?;
    let decoded = |text: &str, what: &str| STANDARD.decode(text).map_err(|_| malformed(what));
    let salt = decoded(&envelope.kdf.salt, "salt")?;
    let nonce: [u8; 24] = decoded(&envelope.cipher.nonce, "nonce")?.try_into().map_err(|_| malformed("nonce"))?;
    let sealed = decoded(&envelope.ciphertext, "content")?;
    let mut key = Zeroizing::new([0_u8; 32]);
    scrypt::scrypt(password, &salt, &params, &mut *key).map_err(|_| malformed("cost of scrypt"))?;
    secretbox_open(&key, &nonce, &sealed).ok_or(KeyError::Password)
}

/// Opens a box; none where key or content are not those that it was closed with.
fn secretbox_open(key: &[u8; 32], nonce: &[u8; 24], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (tag, content) = sealed.split_at_checked(TAG)?;
    let mut stream = XSalsa20::new(&(*key).into(), &(*nonce).into());
    let mut first = Zeroizing::new([0_u8; 32]);
    stream.apply_keystream(&mut *first);
    let expected = Poly1305::new(&(*first).into()).compute_unpadded(content);
    constant_time::verify_slices_are_equal(expected.as_slice(), tag).ok()?;
    let mut open = Zeroizing::new(content.to_vec());
    stream.apply_keystream(&mut open);
    Some(open)
}
