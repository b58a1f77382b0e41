//! The blocks of a PEM file, whatever they hold.
//!
//! Keys come with text before them, with blocks of parameters, and with lines of any length, which the strict readers of
//! keys refuse. Source: RFC 7468 sections 2 and 3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// One block: its label, and the bytes in it.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Reads all blocks.
///
/// # Errors
/// What is wrong with one, without its content.
pub(super) fn blocks(text: &[u8]) -> Result<Vec<Block>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
    let mut blocks = Vec::new();
    let mut open: Option<(String, Zeroizing<String>)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) {
            open = Some((label.to_owned(), Zeroizing::new(String::with_capacity(text.len()))));
        } else if let Some(end) = line.strip_prefix("-----END ").and_then(|rest| rest.strip_suffix("-----")) {
            let (label, body) = open.take().ok_or_else(|| format!("`{end}` ends and has not begun"))?;
            if label != end {
                return Err(format!("`{label}` ends as `{end}`"));
            }
            if body.contains(':') {
                let way = "`openssl pkcs8 -topk8` writes the form that is read";
                return Err(format!("`{label}` has headers, as old keys with a password have; {way}"));
            }
            let bytes = STANDARD.decode(body.as_bytes()).map_err(|_| format!("`{label}` is not in base64"))?;
            blocks.push(Block { label, bytes: Zeroizing::new(bytes) });
        } else if let Some((_, body)) = &mut open {
            body.push_str(line);
        }
    }
    match open {
        Some((label, _)) => Err(format!("`{label}` does not end")),
        None => Ok(blocks),
    }
}

/// Writes one block. Source: RFC 7468 section 3: 64 characters a line.
pub(super) fn write(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = &*encoded;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_and_written() {
        let text = format!("said before\n{}\n{}", write("A", &[7; 100]), write("B C", b""));
        let blocks = blocks(text.as_bytes()).expect("blocks");
        let read: Vec<_> = blocks.iter().map(|block| (&*block.label, block.bytes.len())).collect();
        assert_eq!(read, [("A", 100), ("B C", 0)]);
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn what_is_broken_is_said() {
        for (text, expected) in [
            ("-----BEGIN A-----\nAAAA\n", "does not end"),
            ("-----BEGIN A-----\n-----END B-----\n", "ends as `B`"),
            ("-----END B-----\n", "has not begun"),
            ("-----BEGIN A-----\n!!\n-----END A-----\n", "base64"),
            ("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END A-----\n", "openssl pkcs8"),
        ] {
            let error = blocks(text.as_bytes()).err().expect(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
