//! Percent-encoding, undone (<https://www.rfc-editor.org/rfc/rfc3986#section-2.1>).

/// Undoes `%41`; what is no encoding stays as it is.
pub fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
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
