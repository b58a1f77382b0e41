//! "Did you mean …?": the known word nearest to an unknown one.

/// Returns the first of the nearest options, if it is at most two changed characters away. An option that
/// equals the word is no suggestion: then something else was wrong.
pub(super) fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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
pub(super) fn hint<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, options).map(|option| format!("did you mean {option}?"))
}

/// The Levenshtein distance: insertions, deletions and replacements of characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
