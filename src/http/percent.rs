//! Percent-encoding, undone (<https://www.rfc-editor.org/rfc/rfc3986#section-2.1>).

/// Undoes `%41`; what is no encoding stays as it is.
pub fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encodings_are_undone() {
        for (text, expected) in [("a%20b", "a b"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%c3%a9", "é")] {
            assert_eq!(decoded(text), expected);
        }
    }
}
