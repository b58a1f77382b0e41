//! Entries of a transparency log: that a signature was made, and when, as the log has signed it.
//!
//! Source: <https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_rekor.proto>; Rekor's openapi.yaml;
//! RFC 6962 section 2.1; <https://github.com/transparency-dev/formats/blob/main/log/README.md> for checkpoints.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::certificate::LogKey;
use super::pem;
use super::simple::Refusal;

/// One entry, as bundles have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    log_index: String,
    log_id: LogId,
    kind_version: KindVersion,
    integrated_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    inclusion_promise: Option<Promise>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inclusion_proof: Option<Proof>,
    canonicalized_body: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    log_index: String,
    root_hash: String,
    tree_size: String,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: Checkpoint,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checkpoint {
    envelope: String,
}

/// What the log has signed at once, in the order of its canonical JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promised {
    body: String,
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: i64,
}

/// The same as cosign keeps it in an annotation.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Annotation {
    signed_entry_timestamp: String,
    payload: Promised,
}

/// What Rekor answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(flatten)]
    promised: Promised,
    verification: Verification,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    signed_entry_timestamp: String,
    inclusion_proof: Option<AnsweredProof>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnsweredProof {
    log_index: i64,
    root_hash: String,
    tree_size: i64,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: String,
}

fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(format!("its entry of the transparency log: {what}"))
}

fn untold(what: &str) -> Refusal {
    Refusal::Log(what.to_owned())
}

impl Entry {
    /// Reads what Rekor answers to an entry that was put or asked for: an object with one member.
    pub(super) fn from_answer(answer: &[u8]) -> Option<Self> {
        let answer: std::collections::BTreeMap<String, Answer> = serde_json::from_slice(answer).ok()?;
        let (_, answer) = answer.into_iter().next()?;
        let encoded = |digits: &String| Some(STANDARD.encode(hex::decode(digits).ok()?));
        let proof = match answer.verification.inclusion_proof {
            Some(proof) => Some(Proof {
                log_index: proof.log_index.to_string(),
                root_hash: encoded(&proof.root_hash)?,
                tree_size: proof.tree_size.to_string(),
                hashes: proof.hashes.iter().map(encoded).collect::<Option<_>>()?,
                checkpoint: Checkpoint { envelope: proof.checkpoint },
            }),
            None => None,
        };
        Self::new(answer.promised, answer.verification.signed_entry_timestamp, proof)
    }

    fn new(promised: Promised, timestamp: String, proof: Option<Proof>) -> Option<Self> {
        let body: Value = serde_json::from_slice(&STANDARD.decode(&promised.body).ok()?).ok()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            log_index: promised.log_index.to_string(),
            log_id: LogId { key_id: STANDARD.encode(hex::decode(&promised.log_id).ok()?) },
            kind_version: KindVersion { kind: text("kind")?, version: text("apiVersion")? },
            integrated_time: promised.integrated_time.to_string(),
            inclusion_promise: Some(Promise { signed_entry_timestamp: timestamp }),
            inclusion_proof: proof,
            canonicalized_body: promised.body,
        })
    }

    /// Reads an entry from cosign's annotation.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub(super) fn from_annotation(text: &str) -> Result<Self, Refusal> {
        let annotation: Annotation = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        let entry = Self::new(annotation.payload, annotation.signed_entry_timestamp, None);
        entry.ok_or_else(|| malformed("its body"))
    }

    /// Writes cosign's annotation; none where the log has not signed a time.
    pub(super) fn to_annotation(&self) -> Option<String> {
        let signed_entry_timestamp = self.inclusion_promise.as_ref()?.signed_entry_timestamp.clone();
        serde_json::to_string(&Annotation { signed_entry_timestamp, payload: self.promised()? }).ok()
    }

    fn promised(&self) -> Option<Promised> {
        Some(Promised {
            body: self.canonicalized_body.clone(),
            integrated_time: self.integrated_time.parse().ok()?,
            log_id: hex::encode(STANDARD.decode(&self.log_id.key_id).ok()?),
            log_index: self.log_index.parse().ok()?,
        })
    }

    /// Checks that one of these logs has the entry; returns when it came there, in seconds since 1970.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn verify(&self, logs: &[LogKey]) -> Result<i64, Refusal> {
        let promised = self.promised().ok_or_else(|| malformed("a number in it"))?;
        let id = STANDARD.decode(&self.log_id.key_id).map_err(|_| malformed("the log's name"))?;
        let time = promised.integrated_time;
        let log = logs.iter().find(|log| log.id == id && log.holds_at(time));
        let log = log.ok_or_else(|| untold("it is in a log that is not trusted"))?;
        let promise = self.inclusion_promise.as_ref();
        let promise = promise.ok_or_else(|| untold("the log has not signed when it came (a log of version 2?)"))?;
        let signature = STANDARD.decode(&promise.signed_entry_timestamp).map_err(|_| malformed("its signature"))?;
        let message = serde_json::to_vec(&promised).unwrap_or_default();
        if !log.key.has_signed(&message, &signature) {
            return Err(untold("the log has not signed it"));
        }
        if let Some(proof) = &self.inclusion_proof {
            let body = STANDARD.decode(&self.canonicalized_body).map_err(|_| malformed("its body"))?;
            proof.verify(&body, log)?;
        }
        Ok(time)
    }

    /// Checks that the entry is about this signature of this content, by the key that one of `verifiers` (DER of a
    /// certificate or a key) is or has.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn is_of(&self, content: &[u8], signature: &[u8], verifier: &[u8]) -> Result<(), Refusal> {
        let body = STANDARD.decode(&self.canonicalized_body).map_err(|_| malformed("its body"))?;
        let body: Value = serde_json::from_slice(&body).map_err(|_| malformed("its body"))?;
        let spec = &body["spec"];
        let (hash, signatures) = match body["kind"].as_str().unwrap_or_default() {
            "hashedrekord" => {
                let signature = &spec["signature"];
                (&spec["data"]["hash"], vec![(&signature["content"], &signature["publicKey"]["content"])])
            }
            "dsse" => {
                let all = spec["signatures"].as_array().into_iter().flatten();
                (&spec["payloadHash"], all.map(|one| (&one["signature"], &one["verifier"])).collect())
            }
            "intoto" => {
                let all = spec["content"]["envelope"]["signatures"].as_array().into_iter().flatten();
                let all = all.map(|one| (&one["sig"], &one["publicKey"])).collect();
                (&spec["content"]["payloadHash"], all)
            }
            other => return Err(malformed(&format!("it is of kind `{other}`"))),
        };
        if !is_hash(hash, content) {
            return Err(untold("the log has an entry of other content"));
        }
        let is_this = |(one, key): &(&Value, &Value)| {
            let one = one.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            // In entries of in-toto the signature is encoded twice.
            let inner = STANDARD.decode(&one).unwrap_or_default();
            let key = key.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            let is_key = pem::blocks(&key).is_ok_and(|blocks| blocks.iter().any(|block| *block.bytes == verifier));
            (one == signature || inner == signature) && is_key
        };
        match signatures.iter().any(is_this) {
            true => Ok(()),
            false => Err(untold("the log has an entry of another signature")),
        }
    }
}

fn is_hash(hash: &Value, content: &[u8]) -> bool {
    let actual = match hash["algorithm"].as_str().unwrap_or_default() {
        "sha256" => hex::encode(Sha256::digest(content)),
        "sha384" => hex::encode(Sha384::digest(content)),
        "sha512" => hex::encode(Sha512::digest(content)),
        _ => return false,
    };
    hash["value"].as_str() == Some(&actual)
}

impl Proof {
    /// Checks that the body is in the tree of a checkpoint, and that the log has signed that.
    fn verify(&self, body: &[u8], log: &LogKey) -> Result<(), Refusal> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| malformed("a number in its proof"));
        let hash = |text: &String| {
            let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            bytes.ok_or_else(|| malformed("a hash in its proof"))
        };
        let hashes = self.hashes.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
        let (index, size) = (number(&self.log_index)?, number(&self.tree_size)?);
        let root = root(leaf(body), index, size, &hashes).ok_or_else(|| malformed("its proof is too long or short"))?;
        let signed = checkpoint(&self.checkpoint.envelope, log)?;
        match root == hash(&self.root_hash)? && signed == (size, root) {
            true => Ok(()),
            false => Err(untold("it is not in the tree that the log has signed")),
        }
    }
}

fn leaf(body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(body).finalize().into()
}

/// Computes the root of a tree from one leaf and its neighbours. Source: RFC 9162 section 2.1.3.2.
fn root(leaf: [u8; 32], index: u64, size: u64, path: &[[u8; 32]]) -> Option<[u8; 32]> {
    if index >= size {
        return None;
    }
    let node = |left: &[u8; 32], right: &[u8; 32]| -> [u8; 32] {
        Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
    };
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for neighbour in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(neighbour, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, neighbour);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Reads size and root of a checkpoint that the log has signed. Source: C2SP signed-note, tlog-checkpoint.
fn checkpoint(text: &str, log: &LogKey) -> Result<(u64, [u8; 32]), Refusal> {
    let wrong = || malformed("its checkpoint");
    let (note, signatures) = text.split_once("\n\n").ok_or_else(wrong)?;
    let note = format!("{note}\n");
    let mut lines = note.lines().skip(1);
    let size = lines.next().and_then(|line| line.parse().ok()).ok_or_else(wrong)?;
    let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).ok_or_else(wrong)?;
    let root = <[u8; 32]>::try_from(root).map_err(|_| wrong())?;
    let is_signed = |line: &str| {
        let encoded = line.strip_prefix("\u{2014} ").and_then(|rest| rest.rsplit(' ').next());
        let bytes = encoded.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        // Four bytes tell which key it is.
        bytes.get(4..).is_some_and(|signature| log.key.has_signed(note.as_bytes(), signature))
    };
    match signatures.lines().any(is_signed) {
        true => Ok((size, root)),
        false => Err(untold("the log has not signed its checkpoint")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree that is made the slow way, for each size and each leaf.
    #[test]
    fn each_leaf_of_a_tree_leads_to_its_root() {
        fn tree(leaves: &[[u8; 32]]) -> [u8; 32] {
            match leaves {
                [one] => *one,
                _ => {
                    let split = (leaves.len()).next_power_of_two() / 2;
                    let (left, right) = leaves.split_at(split);
                    Sha256::new().chain_update([1]).chain_update(tree(left)).chain_update(tree(right)).finalize().into()
                }
            }
        }
        fn path(leaves: &[[u8; 32]], index: usize) -> Vec<[u8; 32]> {
            if leaves.len() == 1 {
                return Vec::new();
            }
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            let (mut below, beside) =
                if index < split { (path(left, index), tree(right)) } else { (path(right, index - split), tree(left)) };
            below.push(beside);
            below
        }
        for size in 1..20_u8 {
            let leaves: Vec<[u8; 32]> = (0..size).map(|number| leaf(&[number])).collect();
            for index in 0..leaves.len() {
                let path = path(&leaves, index);
                let found = |leaf, index| root(leaf, index, u64::from(size), &path);
                assert_eq!(found(leaves[index], index as u64), Some(tree(&leaves)), "{index} of {size}");
                assert_ne!(found(leaf(b"other"), index as u64), Some(tree(&leaves)));
                if !path.is_empty() {
                    assert_eq!(root(leaves[index], index as u64, u64::from(size), &path[1..]), None);
                }
                assert_eq!(found(leaves[index], u64::from(size)), None);
            }
        }
    }
}
