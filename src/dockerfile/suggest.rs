//! "Did you mean …?": the known word nearest to an unknown one.

/// Returns the first of the nearest options, if it is at most two changed characters away. An option that
/// equals the word is no suggestion: then something else was wrong.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing near can be that long, and the comparison takes quadratic time.
    if word.len() > 64 {
        return None;
    }
    let mut best = None;
    let mut least = 3;
    for option in options {
        // A swap of neighbours counts as one change, since it is how fingers err.
        let distance = strsim::osa_distance(word, option);
        if distance == 0 {
            return None;
        }
        if distance < least {
            (best, least) = (Some(option), distance);
        }
    }
    best
}

/// Returns "did you mean …?" for the nearest option.
pub fn hint<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, options).map(|option| format!("did you mean {option}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_not() {
        let options = ["chown", "chmod", "from", "link"];
        for (word, expected) in [
            ("chwon", Some("chown")),
            ("chmodd", Some("chmod")),
            ("form", Some("from")),
            ("lnk", Some("link")),
            ("chown", None),
            ("parents", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, options), expected, "{word:?}");
        }
        assert_eq!(hint("form", options).as_deref(), Some("did you mean from?"));
    }
}
