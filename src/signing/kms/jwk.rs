//! Keys and signatures as JOSE writes them, in the forms that X.509 has.
//!
//! Source: RFC 7517, RFC 7518 sections 3.4 and 6; RFC 5480 section 2.2; RFC 8017 appendix A.1.1.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::{BitStringRef, UintRef};
use der::{AnyRef, Encode as _};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use serde::Deserialize;

use crate::signing::key::{CURVE_P256, CURVE_P384, CURVE_P521, OF_EC, OF_RSA, PublicKey};

/// The public half of a key.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// Decodes base64url, with or without what fills it up.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

impl Jwk {
    /// Reads the key.
    ///
    /// # Errors
    /// What it is, where it is none that is supported.
    pub(super) fn public_key(&self) -> Result<PublicKey, String> {
        let part = |part: &Option<String>| part.as_deref().and_then(decode).ok_or("it is malformed");
        let written = match self.kty.trim_end_matches("-HSM") {
            "EC" => {
                let curve = self.crv.as_deref().unwrap_or_default();
                let (oid, size) = match curve {
                    "P-256" => (CURVE_P256, 32),
                    "P-384" => (CURVE_P384, 48),
                    "P-521" => (CURVE_P521, 66),
                    other => return Err(format!("its curve is `{other}`")),
                };
                let (x, y) = (part(&self.x)?, part(&self.y)?);
                let padded = |number: &[u8]| [&vec![0; size.max(number.len()) - number.len()], number].concat();
                // Source: SEC 1 section 2.3.3; 4 says that both numbers follow.
                let point = [&[4], &*padded(&x), &*padded(&y)].concat();
                AnyRef::try_from(&*oid.to_der().unwrap_or_default()).and_then(|oid_of_curve| {
                    info(AlgorithmIdentifierRef { oid: OF_EC, parameters: Some(oid_of_curve) }, &point)
                })
            }
            "RSA" => numbers(&part(&self.n)?, &part(&self.e)?)
                .and_then(|key| info(AlgorithmIdentifierRef { oid: OF_RSA, parameters: Some(AnyRef::NULL) }, &key)),
            _ => return Err(format!("it is of type `{}`", self.kty)),
        };
        PublicKey::from_der(&written.map_err(|_| "it is malformed")?).map_err(|error| error.to_string())
    }
}

fn info(algorithm: AlgorithmIdentifierRef<'_>, key: &[u8]) -> der::Result<Vec<u8>> {
    SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(key)? }.to_der()
}

/// Writes two numbers in a sequence: an RSA key, or an ECDSA signature.
fn numbers(one: &[u8], other: &[u8]) -> der::Result<Vec<u8>> {
    vec![UintRef::new(one)?, UintRef::new(other)?].to_der()
}

/// Writes an ECDSA signature as ASN.1 that is two numbers of the same size; none where it is not.
pub(super) fn ecdsa(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    numbers(r, s).ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, KeyPair as _, RsaKeyPair,
    };
    use der::asn1::Uint;
    use der::{Decode as _, Reader as _, SliceReader};
    use serde_json::json;

    use super::*;

    /// Without the zeros at its beginning, as some write numbers.
    fn encode(number: &[u8]) -> String {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        URL_SAFE_NO_PAD.encode(&number[zeros..])
    }

    #[test]
    fn keys_on_curves_are_read_and_have_made_their_signatures() {
        for (name, curve) in [
            ("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            ("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            ("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
        ] {
            for round in 0..40 {
                let pair = EcdsaKeyPair::generate(curve).expect("a key");
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let jwk = json!({"kty": "EC-HSM", "crv": name, "x": encode(x), "y": encode(y), "kid": "k"});
                let key = serde_json::from_value::<Jwk>(jwk).expect("JSON").public_key().expect(name);
                let der = pair.public_key().as_der().expect("DER");
                assert_eq!(key.der(), der.as_ref(), "{name} {round}");
                let raw = pair.sign(&SystemRandom::new(), b"message").expect("a signature");
                let signature = ecdsa(raw.as_ref()).expect("two numbers");
                assert!(key.has_signed(b"message", &signature), "{name} {round}");
                assert!(!key.has_signed(b"another", &signature));
            }
        }
    }

    #[test]
    fn an_rsa_key_is_read() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public = pair.public_key();
        let mut reader = SliceReader::new(public.as_ref()).expect("DER");
        let both = |reader: &mut SliceReader<'_>| Ok::<_, der::Error>((Uint::decode(reader)?, Uint::decode(reader)?));
        let (n, e) = reader.sequence(both).expect("an RSA key");
        let jwk = json!({"kty": "RSA", "n": encode(n.as_bytes()), "e": encode(e.as_bytes())});
        let key = serde_json::from_value::<Jwk>(jwk).expect("JSON").public_key().expect("a key");
        assert_eq!(key.der(), public.as_der().expect("DER").as_ref());
    }

    #[test]
    fn other_keys_and_broken_ones_are_refused() {
        for (jwk, told) in [
            (json!({"kty": "oct-HSM"}), "of type `oct-HSM`"),
            (json!({"kty": "EC", "crv": "P-256K", "x": "AQ", "y": "AQ"}), "curve is `P-256K`"),
            (json!({"kty": "EC", "crv": "P-256", "x": "AQ"}), "malformed"),
            (json!({"kty": "EC", "crv": "P-256", "x": "!", "y": "AQ"}), "malformed"),
            // Not on the curve, or too long for it.
            (json!({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}), "not supported"),
            (json!({"kty": "EC", "crv": "P-256", "x": encode(&[7; 40]), "y": "AQ"}), "not supported"),
            (json!({"kty": "RSA", "n": "AQAB"}), "malformed"),
        ] {
            let error = serde_json::from_value::<Jwk>(jwk.clone()).expect("JSON").public_key().expect_err("none");
            assert!(error.contains(told), "{jwk}: {error}");
        }
        assert_eq!((ecdsa(b""), ecdsa(b"odd")), (None, None));
    }
}
