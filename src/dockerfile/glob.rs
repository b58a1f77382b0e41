//! The wildcards of COPY and ADD: Go's `filepath.Match`, on a whole path at once.
//!
//! `*` and `?` stop at `/`; a class such as `[^a]` does not, as in Go. There is no `**` here: COPY knows it
//! with `--parents` only, where the sources are [patterns](super::ignore::Patterns).
//!
//! *Invariant*: bytes in, so that names that are not UTF-8 can match.

/// A pattern that is malformed: a `[` without its `]`, an empty or ill-ranged class, a `\` at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Tells whether a name matches a pattern as a whole. Both use `/`.
///
/// Source: `path/filepath.Match` of Go's standard library.
///
/// # Errors
/// When the pattern is malformed, whether or not the name would match up to there.
pub fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    check(pattern)?;
    let (mut pattern, mut name) = (pattern, name);
    'pattern: while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        // The last chunk must reach the end of the name.
        let fits = |left: &&[u8]| left.is_empty() || !rest.is_empty();
        if let Some(left) = match_chunk(chunk, name)?.filter(fits) {
            name = left;
            continue;
        }
        if star {
            for skipped in 1..=name.iter().position(|&byte| byte == b'/').unwrap_or(name.len()) {
                if let Some(left) = match_chunk(chunk, &name[skipped..])?.filter(fits) {
                    name = left;
                    continue 'pattern;
                }
            }
        }
        return Ok(false);
    }
    Ok(name.is_empty())
}

/// Checks that a pattern is well-formed.
///
/// # Errors
/// When it is not.
pub fn check(pattern: &[u8]) -> Result<(), BadPattern> {
    let mut pattern = pattern;
    while !pattern.is_empty() {
        let (_, chunk, rest) = next_chunk(pattern);
        check_chunk(chunk)?;
        pattern = rest;
    }
    Ok(())
}

/// Tells whether a text has wildcards that are not escaped.
pub fn has_wildcards(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Splits a path before its first component with wildcards: what to open, and the pattern for what is in it.
pub fn split(path: &str) -> (&str, &str) {
    let mut start = 0;
    for component in path.split_inclusive('/') {
        if has_wildcards(component.as_bytes()) {
            return path.split_at(start);
        }
        start += component.len();
    }
    (path, "")
}

/// Tells whether something below a directory may match; never wrongly no. `directory` is relative to where
/// the pattern begins.
pub fn may_match_below(pattern: &[u8], directory: &[u8]) -> bool {
    // A class may match a slash, and an escape may hide one.
    if pattern.contains(&b'[') || pattern.contains(&b'\\') {
        return true;
    }
    let mut components = pattern.split(|&byte| byte == b'/');
    directory
        .split(|&byte| byte == b'/')
        .all(|name| components.next().is_some_and(|pattern| matches(pattern, name) == Ok(true)))
        && components.next().is_some()
}

/// Splits off the stars at the start and what follows up to the next star; tells whether there were stars.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|&&byte| byte == b'*').count();
    let pattern = &pattern[stars..];
    let mut in_class = false;
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'\\' if at + 1 < pattern.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    (stars > 0, &pattern[..at], &pattern[at..])
}

/// Matches a chunk, which has no stars, at the start of a name; returns what is left of the name.
fn match_chunk<'a>(chunk: &[u8], name: &'a [u8]) -> Result<Option<&'a [u8]>, BadPattern> {
    let (mut chunk, mut name) = (chunk, name);
    while let Some((&first, rest)) = chunk.split_first() {
        if name.is_empty() {
            return Ok(None);
        }
        match first {
            b'[' => {
                let (c, length) = decode(name);
                let (is_member, after) = class(rest, c)?;
                if !is_member {
                    return Ok(None);
                }
                (chunk, name) = (after, &name[length..]);
            }
            b'?' if name[0] == b'/' => return Ok(None),
            b'?' => (chunk, name) = (rest, &name[decode(name).1..]),
            _ => {
                let literal = if first == b'\\' { rest } else { chunk };
                let (&byte, rest) = literal.split_first().ok_or(BadPattern)?;
                if byte != name[0] {
                    return Ok(None);
                }
                (chunk, name) = (rest, &name[1..]);
            }
        }
    }
    Ok(Some(name))
}

fn check_chunk(chunk: &[u8]) -> Result<(), BadPattern> {
    let mut chunk = chunk;
    while let Some((&first, rest)) = chunk.split_first() {
        chunk = match first {
            b'[' => class(rest, '\0')?.1,
            b'\\' => rest.get(1..).ok_or(BadPattern)?,
            _ => rest,
        };
    }
    Ok(())
}

/// Reads a class behind its `[`; tells whether it holds a character, and what follows its `]`.
fn class(class: &[u8], c: char) -> Result<(bool, &[u8]), BadPattern> {
    let (negated, mut rest) = match class.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, class),
    };
    let mut found = false;
    let mut is_first = true;
    loop {
        if let Some(after) = rest.strip_prefix(b"]").filter(|_| !is_first) {
            return Ok((found != negated, after));
        }
        let (low, after) = class_character(rest)?;
        let (high, after) = match after.strip_prefix(b"-") {
            Some(after) => class_character(after)?,
            None => (low, after),
        };
        found |= low <= c && c <= high;
        is_first = false;
        rest = after;
    }
}

/// Reads one end of a range; something must follow it.
fn class_character(text: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let text = match text.first() {
        None | Some(b'-' | b']') => return Err(BadPattern),
        Some(b'\\') => &text[1..],
        Some(_) => text,
    };
    let (c, length) = decode(text);
    let rest = &text[length..];
    if rest.is_empty() || (c == char::REPLACEMENT_CHARACTER && length == 1) { Err(BadPattern) } else { Ok((c, rest)) }
}

/// Decodes the first character and its length; a byte that is not UTF-8 is U+FFFD of length 1, nothing is of
/// length 0.
pub(super) fn decode(text: &[u8]) -> (char, usize) {
    let head = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(c) => (c, c.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, head.len().min(1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matching_is_gos() {
        for (pattern, name, expected) in [
            ("lib", "lib", true),
            ("lib", "libs", false),
            ("*", "lib", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("*/*", "a/b/c", false),
            ("a**b", "axb", true),
            ("a**b", "a/b", false),
            ("*.rs", "main.rs", true),
            ("*.rs", "src/main.rs", false),
            ("*.rs", ".rs", true),
            ("src/*.rs", "src/main.rs", true),
            ("m*n*s", "main.rs", true),
            ("m*n*s", "main.r", false),
            ("*ab*ab", "abxabyab", true),
            ("?", "a", true),
            ("?", "宿", true),
            ("?", "/", false),
            ("?", "", false),
            ("??", "宿", false),
            ("[abc]", "b", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]", "d", true),
            ("[^a-c]", "b", false),
            ("[!a]", "!", true),
            ("[!a]", "b", false),
            ("a[^x]b", "a/b", true),
            // Go takes the first place where what follows a star matches, though a later one would do.
            ("*[^a]*", "b/", false),
            ("[い-ん]", "ど", true),
            ("[z-a]", "m", false),
            ("[*?]", "*", true),
            ("[*?]", "x", false),
            (r"[\]]", "]", true),
            (r"[\-x]", "-", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"a\b", "ab", true),
            ("{a,b}", "a", false),
            ("{a,b}", "{a,b}", true),
            ("a]", "a]", true),
            ("", "", true),
            ("", "a", false),
            (".*", ".git", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), Ok(expected), "{pattern:?} {name:?}");
        }
        assert_eq!(matches(b"a?c", b"a\xffc"), Ok(true));
        assert_eq!(matches(b"*[^a]", b"\xff"), Ok(true));
    }

    #[test]
    fn malformed_patterns_are_found_whatever_the_name() {
        for pattern in
            ["[", "[]", "[]a]", "[a", "[a-", "[a-]", "[-a]", "[^]", "[^", "\\", "a\\", "[\\", "x[", "*x[", "[a-b-c]"]
        {
            assert_eq!(matches(pattern.as_bytes(), b"a"), Err(BadPattern), "{pattern:?}");
            assert_eq!(matches(pattern.as_bytes(), b"zzz"), Err(BadPattern), "{pattern:?}");
        }
    }

    #[test]
    fn wildcards_are_seen_and_split_off() {
        for (path, expected) in [
            ("a/b", ("a/b", "")),
            ("a/*.txt", ("a/", "*.txt")),
            ("*/b", ("", "*/b")),
            ("/srv/[ab]/c", ("/srv/", "[ab]/c")),
            (r"a\*/b?", (r"a\*/", "b?")),
            (r"a\*", (r"a\*", "")),
        ] {
            assert_eq!(split(path), expected, "{path:?}");
            assert_eq!(has_wildcards(path.as_bytes()), !expected.1.is_empty(), "{path:?}");
        }
    }

    #[test]
    fn a_walk_may_skip_what_cannot_match() {
        for (pattern, directory, expected) in [
            ("*.txt", "src", false),
            ("*/*.txt", "src", true),
            ("src/*/x", "src", true),
            ("src/*/x", "lib", false),
            ("src/*/x", "src/a", true),
            ("src/*/x", "src/a/x", false),
            ("src/[^a]", "lib", true),
        ] {
            assert_eq!(may_match_below(pattern.as_bytes(), directory.as_bytes()), expected, "{pattern} {directory}");
        }
    }

    /// The reference: try everything, one character at a time.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                naive(rest, name) || name.first().is_some_and(|c| *c != '/' && naive(pattern, &name[1..]))
            }
            (['?', rest @ ..], [c, name @ ..]) => *c != '/' && naive(rest, name),
            (['[', rest @ ..], [c, name @ ..]) => {
                let end = 1 + rest[1..].iter().position(|c| *c == ']').unwrap();
                let (negated, set) = if rest[0] == '^' { (true, &rest[1..end]) } else { (false, &rest[..end]) };
                set.contains(c) != negated && naive(&rest[end + 1..], name)
            }
            (['\\', escaped, rest @ ..], [c, name @ ..]) => escaped == c && naive(rest, name),
            ([literal, rest @ ..], [c, name @ ..]) => literal == c && naive(rest, name),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn matching_agrees_with_trying_everything(
            pieces in prop::collection::vec(r"\*|\?|a|b|/|é|\[ab\]|\[\^a/\]|\\\*|\\a", 0..7), name in "[ab/é*]{0,8}",
        ) {
            let pattern = pieces.concat();
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&name));
            prop_assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), Ok(expected));
            if let Some((directory, _)) = name.rsplit_once('/') && expected {
                prop_assert!(may_match_below(pattern.as_bytes(), directory.as_bytes()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(pattern in prop::collection::vec(any::<u8>(), 0..12), text in "[\\[\\]^\\\\*?a-c-]{0,12}") {
            let _ = matches(&pattern, text.as_bytes());
            let _ = matches(text.as_bytes(), &pattern);
            prop_assert_eq!(matches(text.as_bytes(), b"").is_err(), check(text.as_bytes()).is_err());
        }
    }
}
