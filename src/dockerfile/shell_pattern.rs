//! The wildcard patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and backslash, nothing else.
//!
//! *Invariant*: time is bounded by pattern length × text length, whatever the pattern. As in BuildKit,
//! whose patterns become regular expressions, neither wildcard matches a line feed.

/// What follows a backslash that means nothing there; empty at the end of the pattern.
#[derive(Debug)]
pub(super) struct BadEscape(pub(super) String);

/// A parsed pattern.
pub(super) struct ShellPattern(Vec<Token>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Any,
    Star,
}

impl ShellPattern {
    /// Parses a pattern. A backslash goes before `*`, `?` and itself, and before the `/` and `}` that it
    /// kept from ending the pattern.
    pub(super) fn parse(pattern: &str) -> Result<Self, BadEscape> {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match rest.next() {
                    Some(c @ ('*' | '?' | '\\' | '/' | '}')) => Token::Char(c),
                    other => return Err(BadEscape(other.map(String::from).unwrap_or_default())),
                },
                c => Token::Char(c),
            });
        }
        Ok(Self(tokens))
    }

    /// Returns the text without the shortest or longest match at its start.
    pub(super) fn trim_start(&self, text: &str, longest: bool) -> String {
        let text: Vec<char> = text.chars().collect();
        let end = ends(self.0.iter().copied(), &text, longest)[0].unwrap_or(0);
        text[end..].iter().collect()
    }

    /// Returns the text without the shortest or longest match at its end.
    pub(super) fn trim_end(&self, text: &str, longest: bool) -> String {
        let text: Vec<char> = text.chars().rev().collect();
        let end = ends(self.0.iter().rev().copied(), &text, longest)[0].unwrap_or(0);
        text[end..].iter().rev().collect()
    }

    /// Returns the text with the first match or all matches replaced; the leftmost is first, each as long
    /// as possible, and an empty one directly behind another is none.
    pub(super) fn replace(&self, text: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let text: Vec<char> = text.chars().collect();
        let ends = ends(self.0.iter().copied(), &text, true);
        let mut result = String::new();
        let (mut at, mut last_end, mut done) = (0, None, false);
        while at <= text.len() {
            let end = ends[at].filter(|&end| !done && (end > at || last_end != Some(at)));
            if let Some(end) = end {
                result.push_str(replacement);
                if result.len() > limit {
                    return None;
                }
                (last_end, done) = (Some(end), !all);
                if end > at {
                    at = end;
                    continue;
                }
            }
            result.extend(text.get(at));
            at += 1;
        }
        Some(result)
    }
}

/// For each place in the text, where the match that starts there ends: of all matches the one that gives
/// each `*`, from left to right, the most or the fewest characters.
fn ends(tokens: impl DoubleEndedIterator<Item = Token>, text: &[char], longest: bool) -> Vec<Option<usize>> {
    let mut ends: Vec<Option<usize>> = (0..=text.len()).map(Some).collect();
    for token in tokens.rev() {
        match token {
            Token::Star => {
                for at in (0..text.len()).rev() {
                    let onward = if text[at] == '\n' { None } else { ends[at + 1] };
                    ends[at] = if longest { onward.or(ends[at]) } else { ends[at].or(onward) };
                }
            }
            Token::Any | Token::Char(_) => {
                for at in 0..text.len() {
                    let hit = if token == Token::Any { text[at] != '\n' } else { token == Token::Char(text[at]) };
                    ends[at] = if hit { ends[at + 1] } else { None };
                }
                ends[text.len()] = None;
            }
        }
    }
    ends
}
