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
        let distance = distance(word, option);
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

/// The number of insertions, deletions, replacements and swaps of neighbours between two words: a swap is
/// one, since it is how fingers err.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(row[j - 1] + 1).min(rows[i - 1][j] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("rnu", "run"), 1);
        assert_eq!(distance("", "run"), 3);
        assert_eq!(hint("form", options).as_deref(), Some("did you mean from?"));
    }
}
