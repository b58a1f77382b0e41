//! An SSH agent of our own, for keys that are given as files: it names them and signs with them, and does nothing else.
//!
//! Knows the agent protocol's two requests; knows no sockets. Source: draft-ietf-sshm-ssh-agent, sections 3.5 and 3.6.
//!
//! *Invariant: no answer and no message holds anything of a private key, and what was read of one is wiped.*

use std::io::Read as _;
use std::path::Path;

use signature::Signer as _;
use ssh_key::private::KeypairData;
use ssh_key::{HashAlg, PrivateKey, Signature};
use zeroize::Zeroizing;

use super::Error;
use super::directories::files;
use crate::place;

/// SSH_AGENTC_REQUEST_IDENTITIES and its answer.
pub(super) const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
/// SSH_AGENTC_SIGN_REQUEST and its answer.
pub(super) const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// SSH_AGENT_RSA_SHA2_256 and SSH_AGENT_RSA_SHA2_512: which hash a signature of an RSA key is made with.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// The largest file of a key, in bytes: an RSA key of 16384 bits has 13 KiB.
const LARGEST: usize = 64 << 10;
/// How files of keys begin that are to be read.
const BEGINNING: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

/// Reads the file of a private key; `working` is the working directory.
pub(super) fn read(path: &Path, working: &Path) -> Result<PrivateKey, Error> {
    let refused = |reason: &str| Error::Key { path: path.to_owned(), reason: reason.to_owned() };
    let failed = files("reading the SSH key", path);
    // Never moved while it grows: what is wiped is all that there was.
    let mut text = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    // A checkout must not choose, by a link, whose key RUN signs with.
    let read = place::open_named(path, working).and_then(|file| file.take(LARGEST as u64 + 1).read_to_end(&mut text));
    read.map_err(failed)?;
    if !text.starts_with(BEGINNING.as_bytes()) {
        return Err(refused(
            "it is neither a socket nor a private key in OpenSSH's own form; `ssh-keygen -p -f FILE` makes it one",
        ));
    }
    if text.len() > LARGEST {
        return Err(refused("it is larger than any key"));
    }
    let key = PrivateKey::from_openssh(&*text).map_err(|_| refused("it is damaged, or of a kind that is not known"))?;
    if key.is_encrypted() {
        return Err(refused("it has a passphrase: give it to an agent with ssh-add, and pass the agent's socket"));
    }
    match key.key_data() {
        KeypairData::Ed25519(_) | KeypairData::Rsa(_) | KeypairData::Ecdsa(_) => Ok(key),
        _ => Err(refused("it is no Ed25519, RSA or ECDSA key; give it to an agent, and pass the agent's socket")),
    }
}

/// Answers a request, both without their length; none where that is a failure.
pub(super) fn answer(keys: &[PrivateKey], request: &[u8]) -> Option<Vec<u8>> {
    let (kind, mut rest) = request.split_first()?;
    match *kind {
        REQUEST_IDENTITIES => identities(keys),
        SIGN_REQUEST => {
            let (blob, data) = (string(&mut rest)?, string(&mut rest)?);
            let flags = u32::from_be_bytes(rest.try_into().ok()?);
            let key = keys.iter().find(|key| key.public_key().to_bytes().is_ok_and(|known| known == blob))?;
            let mut answer = vec![SIGN_RESPONSE];
            put(&mut answer, &Vec::<u8>::try_from(sign(key, data, flags)?).ok()?)?;
            Some(answer)
        }
        _ => None,
    }
}

fn identities(keys: &[PrivateKey]) -> Option<Vec<u8>> {
    let mut answer = vec![IDENTITIES_ANSWER];
    answer.extend(u32::try_from(keys.len()).ok()?.to_be_bytes());
    for key in keys {
        put(&mut answer, &key.public_key().to_bytes().ok()?)?;
        put(&mut answer, key.comment().as_bytes())?;
    }
    Some(answer)
}

fn sign(key: &PrivateKey, data: &[u8], flags: u32) -> Option<Signature> {
    match key.key_data() {
        KeypairData::Rsa(pair) if flags & RSA_SHA2_512 != 0 => (pair, Some(HashAlg::Sha512)).try_sign(data).ok(),
        KeypairData::Rsa(pair) if flags & RSA_SHA2_256 != 0 => (pair, Some(HashAlg::Sha256)).try_sign(data).ok(),
        // Without a flag it would be SHA-1, which servers do not take any more.
        KeypairData::Rsa(_) => None,
        _ => key.try_sign(data).ok(),
    }
}

/// Takes a string: its length in four bytes, and the bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, bytes) = rest.split_first_chunk::<4>()?;
    let (text, bytes) = bytes.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = bytes;
    Some(text)
}

fn put(answer: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    answer.extend(u32::try_from(text.len()).ok()?.to_be_bytes());
    answer.extend(text);
    Some(())
}

#[cfg(test)]
mod tests {
    use signature::Verifier as _;

    use super::*;

    /// Made for this test, and good for nothing.
    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDma7BexItcN4jDCda+DPusytG185aDdRvPIk4EHeDgqQAAAIj/5l26/+Zd
ugAAAAtzc2gtZWQyNTUxOQAAACDma7BexItcN4jDCda+DPusytG185aDdRvPIk4EHeDgqQ
AAAED4t7/YFZcrl0VFZNe8aDgDpRAIVWqVPZfS8qdPAscJleZrsF7Ei1w3iMMJ1r4M+6zK
0bXzloN1G88iTgQd4OCpAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";

    fn request(blob: &[u8], data: &[u8], flags: u32) -> Vec<u8> {
        let mut request = vec![SIGN_REQUEST];
        put(&mut request, blob).unwrap();
        put(&mut request, data).unwrap();
        request.extend(flags.to_be_bytes());
        request
    }

    #[test]
    fn it_names_its_keys_and_signs_with_them_alone() {
        let key = PrivateKey::from_openssh(KEY).unwrap();
        let (public, blob) = (key.public_key().clone(), key.public_key().to_bytes().unwrap());
        let keys = [key];
        let names = answer(&keys, &[REQUEST_IDENTITIES]).unwrap();
        assert_eq!(names[..5], [IDENTITIES_ANSWER, 0, 0, 0, 1]);
        assert_eq!(string(&mut &names[5..]).unwrap(), blob);
        assert!(names.ends_with(b"\0\0\0\x04test"));
        let signed = answer(&keys, &request(&blob, b"data", 0)).unwrap();
        let signature = Signature::try_from(string(&mut &signed[1..]).unwrap()).unwrap();
        public.key_data().verify(b"data", &signature).unwrap();
        assert!(public.key_data().verify(b"other", &signature).is_err());
        let whole = request(&blob, b"data", 0);
        for wrong in [&[][..], &[17], &[19], &[SIGN_REQUEST], &request(b"other", b"data", 0), &whole[..whole.len() - 1]]
        {
            assert_eq!(answer(&keys, wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert!(read(&path, Path::new("/work")).unwrap_err().to_string().contains("reading the SSH key"));
        for (text, reason) in [
            ("nothing", "ssh-keygen -p -f"),
            ("-----BEGIN RSA PRIVATE KEY-----\n", "ssh-keygen -p -f"),
            (&KEY[..80], "damaged"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path, Path::new("/work")).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("key cannot be used"), "{error}");
        }
        let large = format!("{KEY}{}", "\n".repeat(LARGEST));
        std::fs::write(&path, large).unwrap();
        assert!(read(&path, Path::new("/work")).unwrap_err().to_string().contains("larger than any key"));
        // Without an end, and without a writer.
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [Path::new("/dev/zero"), &pipe] {
            let error = crate::causes::in_one_line(&read(path, Path::new("/work")).unwrap_err());
            assert!(error.contains("and no file"), "{error}");
        }
        std::fs::write(&path, KEY).unwrap();
        // A checkout whose key is a link to somebody's.
        let checkout = directory.path().join("checkout");
        std::fs::create_dir(&checkout).unwrap();
        std::os::unix::fs::symlink("/proc/version", checkout.join("key")).unwrap();
        let error = crate::causes::in_one_line(&read(&checkout.join("key"), &checkout).unwrap_err());
        assert!(error.contains("leads out of"), "{error}");
        assert!(read(&path, Path::new("/work")).is_ok());
    }
}
