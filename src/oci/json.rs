//! Documents that somebody else has written: what they may cost is bounded.

use serde::de::{DeserializeOwned, Error as _};

/// The largest manifest, index or configuration that is read, in bytes.
pub const LARGEST_DOCUMENT: u64 = 8 << 20;
/// How many values it may have: a few bytes of text can be a value of a few hundred in memory. An image of ten thousand
/// layers, each with five fields of history, has some seventy thousand.
const MOST_VALUES: usize = 100_000;

/// Reads a document.
///
/// # Errors
/// When it is not what is read, or has too many values.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    if values(bytes) > MOST_VALUES {
        return Err(serde_json::Error::custom(format!("it has more than {MOST_VALUES} values")));
    }
    serde_json::from_slice(bytes)
}

/// Counts the places where a value may begin: at the start, and behind each bracket and comma that is in no text.
fn values(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut rest) = (1, false, json);
    while let Some(found) = if in_text {
        memchr::memchr2(b'"', b'\\', rest)
    } else {
        rest.iter().position(|byte| matches!(byte, b'"' | b',' | b'[' | b'{'))
    } {
        let skipped = match rest[found] {
            // What it stands before is in the text, too.
            b'\\' => 2,
            b'"' => {
                in_text = !in_text;
                1
            }
            _ => {
                count += 1;
                1
            }
        };
        rest = rest.get(found + skipped..).unwrap_or_default();
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_are_counted_and_texts_are_not_looked_into() {
        for (json, expected) in [
            ("", 1),
            ("1", 1),
            ("[1,2]", 3),
            (r#"{"a":{"b":[]},"c":1}"#, 5),
            (r#"["a,b,c[{",2]"#, 3),
            (r#"["a\",b",2]"#, 3),
            (r#"["a\\",2]"#, 3),
            (r#"["unfinished\"#, 2),
        ] {
            assert_eq!(values(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn a_document_of_very_many_values_is_refused() {
        let list = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(from_json::<Value>(list(MOST_VALUES - 2).as_bytes()).is_ok());
        let error = from_json::<Value>(list(MOST_VALUES + 1).as_bytes()).expect_err("too many");
        assert_eq!(error.to_string(), "it has more than 100000 values");
        let text = format!("\"{}\"", ",".repeat(MOST_VALUES + 1));
        assert!(from_json::<Value>(text.as_bytes()).is_ok());
    }
}
