//! `.dockerignore`: which paths of a context are left out, and by which line.
//!
//! The patterns are moby/patternmatcher's, and so is the rule: the last pattern that matches a path *or one
//! of its parents* decides, and `!` turns it round (`MatchesOrParentMatches`). Also what COPY's `--exclude`
//! and `--parents` sources are. Does not know the disk.
//!
//! *Invariant*: walking a tree with [`Patterns::below`] gives the same answers as [`Patterns::matches`] on
//! each path, at one comparison per pattern with wildcards and component.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::pattern::Matcher;

/// An ordered list of patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    /// The places of those that are plain paths, by their text.
    plain: HashMap<String, Vec<usize>>,
    /// The places of the others.
    others: Vec<usize>,
}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// The pattern, cleaned, without `!`.
    pub text: String,
    /// Whether it re-includes: `!`.
    pub exception: bool,
    /// Its line, or its place in the list, from 1.
    pub line: usize,
    #[serde(skip)]
    matcher: Matcher,
}

/// A pattern that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` with nothing behind it.
    #[error("illegal exclusion pattern \"!\" in line {line}")]
    Empty {
        /// The line, from 1.
        line: usize,
    },
    /// A malformed pattern.
    #[error("pattern {pattern:?} in line {line}: {reason}")]
    Malformed {
        /// The pattern, cleaned.
        pattern: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the patterns say of one path, and what they say of anything below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Whether the path is left out.
    pub excluded: bool,
    /// The place in the list of the pattern that decided, if any matched.
    pub decided_by: Option<usize>,
    /// The places of the patterns that match the path or one of its parents, in order.
    hits: Arc<[usize]>,
}

impl Patterns {
    /// Reads a `.dockerignore`.
    ///
    /// # Errors
    /// When a pattern is malformed.
    pub fn parse(file: &[u8]) -> Result<Self, IgnoreError> {
        let text = String::from_utf8_lossy(file);
        let mut patterns = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').split('\n').enumerate() {
            let pattern = line.trim();
            if line.starts_with('#') || pattern.is_empty() {
                continue;
            }
            let (sign, pattern) = match pattern.strip_prefix('!') {
                Some(pattern) => ("!", pattern.trim()),
                None => ("", pattern),
            };
            let cleaned = if pattern.is_empty() { String::new() } else { clean(pattern) };
            let relative = if cleaned.len() > 1 { cleaned.strip_prefix('/').unwrap_or(&cleaned) } else { &cleaned };
            patterns.extend(Pattern::new(&format!("{sign}{relative}"), index + 1)?);
        }
        Ok(Self::new(patterns))
    }

    fn new(patterns: Vec<Pattern>) -> Self {
        let (mut plain, mut others) = (HashMap::<String, Vec<usize>>::new(), Vec::new());
        for (place, pattern) in patterns.iter().enumerate() {
            match pattern.matcher.plain() {
                Some(text) => plain.entry(text.to_owned()).or_default().push(place),
                None => others.push(place),
            }
        }
        Self { patterns, plain, others }
    }

    /// Takes the values of `--exclude`, or the sources of `COPY --parents`: no comments, and a leading slash
    /// stays.
    ///
    /// # Errors
    /// When a pattern is malformed.
    pub fn from_list<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for (index, pattern) in list.into_iter().enumerate() {
            patterns.extend(Pattern::new(pattern, index + 1)?);
        }
        Ok(Self::new(patterns))
    }

    /// Returns the patterns, in order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Tells whether any pattern re-includes.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Judges a path: relative, clean, with `/`. The root itself (empty or `.`) is never left out.
    pub fn matches(&self, path: impl AsRef<[u8]>) -> Match {
        let path = path.as_ref();
        let mut result = Match::default();
        if path.is_empty() || path == b"." {
            return result;
        }
        for end in memchr::memchr_iter(b'/', path).filter(|end| *end > 0).chain([path.len()]) {
            result = self.below(&result, &path[..end]);
        }
        result
    }

    /// Judges a path by what was said of the directory that it is in; `Match::default()` is the root's.
    pub fn below(&self, parent: &Match, path: impl AsRef<[u8]>) -> Match {
        let path = path.as_ref();
        let plain = std::str::from_utf8(path).ok().and_then(|path| self.plain.get(path)).map(Vec::as_slice);
        let is_new = |place: &usize| parent.hits.binary_search(place).is_err();
        let others = self.others.iter().filter(|place| self.patterns[**place].matcher.matches(path));
        let mut hits: Vec<usize> = plain.unwrap_or_default().iter().chain(others).copied().filter(is_new).collect();
        if hits.is_empty() {
            return parent.clone();
        }
        hits.extend_from_slice(&parent.hits);
        hits.sort_unstable();
        let mut result = Match::default();
        for place in &hits {
            let exception = self.patterns[*place].exception;
            if exception == result.excluded {
                result.excluded = !exception;
                result.decided_by = Some(*place);
            }
        }
        Match { hits: hits.into(), ..result }
    }

    /// Tells whether anything below a directory that is left out may be re-included; never wrongly no, so a
    /// walk may skip the directory on a no.
    pub fn may_reinclude_below(&self, directory: &Match, path: impl AsRef<[u8]>) -> bool {
        // What a parent matched, all below matches: only exceptions behind the last such pattern count.
        let last = directory.hits.iter().rfind(|place| !self.patterns[**place].exception).copied();
        let start = [path.as_ref(), b"/"].concat();
        let later = self.patterns.iter().skip(last.map_or(0, |last| last + 1));
        later.filter(|pattern| pattern.exception).any(|pattern| pattern.matcher.may_match_longer(&start))
    }

    /// Tells whether anything below a directory that does not match may match: for `--parents`, whose
    /// patterns say what to take; never wrongly no.
    pub fn may_match_below(&self, path: impl AsRef<[u8]>) -> bool {
        let start = [path.as_ref(), b"/"].concat();
        self.patterns.iter().any(|pattern| !pattern.exception && pattern.matcher.may_match_longer(&start))
    }
}

impl Pattern {
    /// Compiles a pattern; a blank one is none.
    fn new(text: &str, line: usize) -> Result<Option<Self>, IgnoreError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let cleaned = clean(text);
        let (exception, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(IgnoreError::Empty { line }),
            Some(text) => (true, text),
            None => (false, cleaned.as_str()),
        };
        let malformed = |reason| IgnoreError::Malformed { pattern: text.to_owned(), line, reason };
        let matcher = Matcher::compile(text).map_err(malformed)?;
        Ok(Some(Self { text: text.to_owned(), exception, line, matcher }))
    }
}

/// Returns the shortest equal path, by words alone. Source: `path/filepath.Clean` of Go's standard library.
fn clean(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            ("..", None) if !root.is_empty() => {}
            _ => parts.push(part),
        }
    }
    let path = format!("{root}{}", parts.join("/"));
    if path.is_empty() { ".".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn excluded(file: &str, path: &str) -> bool {
        Patterns::parse(file.as_bytes()).expect(file).matches(path).excluded
    }

    /// One pattern, paths it leaves out, paths it does not.
    #[test]
    fn single_patterns() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            ("target", &["target", "target/debug", "target/a/b"], &["targets", "a/target", "a/target/b"]),
            ("/target/", &["target", "target/x"], &["a/target"]),
            ("./a/../b//c/.", &["b/c", "b/c/d"], &["b", "c", "a"]),
            ("*", &["a", "a/b", ".git"], &[]),
            ("*.log", &["x.log", ".log", "x.log/y"], &["a/x.log", "xlog", "x.logs"]),
            ("*/*.log", &["a/x.log"], &["x.log", "a/b/x.log"]),
            ("a/*", &["a/b", "a/b/c"], &["a", "b"]),
            ("a?c", &["abc", "a宿c"], &["ac", "a/c", "abbc"]),
            ("**", &["a", "a/b", ".x"], &[]),
            ("**/", &["a", "a/b"], &[]),
            ("/**/", &["a", "a/b"], &[]),
            ("**/node", &["node", "a/node", "a/b/node", "a/node/x"], &["anode", "nodes", "a/anode"]),
            ("**node", &["node", "anode", "a/bnode", "a/node/x"], &["nodes"]),
            ("**/*.o", &["x.o", "a/x.o", "a/b/x.o"], &["x.ob", "xo"]),
            ("**.o", &["x.o", "a/x.o"], &["x.ob"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b/a", "ab"]),
            ("a**", &["a", "ab", "a/b", "ab/c"], &["b", "ba"]),
            ("a**/b", &["ab", "a/b", "ax/b", "a/x/b", "ab/c"], &["a", "axb", "b"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "ab", "b"]),
            ("a**b", &["ab", "a/b", "ax/b"], &["axb"]),
            ("**/a/**", &["a/b", "x/a/b", "x/y/a/b/c"], &["a", "x/a"]),
            ("**/**", &["a", "a/b"], &[]),
            ("**/a*", &["a", "ab", "x/ab"], &["ba", "x/ba"]),
            ("**a*", &["a", "ab", "x/ab"], &["ba", "x/ba"]),
            ("[ab]", &["a", "b", "a/x"], &["c", "ab", "[ab]"]),
            ("[a-c]x", &["ax", "cx"], &["dx"]),
            ("[^a]", &["b", "宿"], &["a"]),
            ("[!a]", &["!", "a"], &["b"]),
            ("[[:digit:]]*", &["1", "2x"], &["a"]),
            ("[^[:^alpha:]]", &["q"], &["1"]),
            ("x[^a]y", &["xby", "x/y"], &["xay"]),
            (r"\*", &["*"], &["a"]),
            (r"a\?", &["a?"], &["ab"]),
            (r"\!a", &["!a"], &["a"]),
            (r"[\]]", &["]"], &["a"]),
            (r"x\d", &["x1"], &["xd"]),
            (r"[\w]x", &["_x", "ax"], &["-x"]),
            (r"\D\S", &["ab"], &["1b", "a "]),
            // What the translation to regular expressions makes of a star in brackets.
            ("[*]", &["[]", "/]", "^[]", "]"], &["*", "x"]),
            ("[?]", &["[]", "^]"], &["?", "]"]),
            ("a^b", &["a^b"], &["ab"]),
            ("a^*", &[], &["a^", "a^b", "a"]),
            ("^a*", &["a", "ab"], &["^a"]),
            ("(a|b)+.{1}$*", &["(a|b)+.{1}$", "(a|b)+.{1}$x"], &["a", "aab"]),
            ("{a,b}", &["{a,b}"], &["a", "b"]),
            ("a.b*", &["a.b"], &["axb"]),
            ("..", &[], &["a", "a/b"]),
            ("/", &[], &["a"]),
            (".", &[], &["a", "a/b"]),
            ("日本*", &["日本", "日本語"], &["日"]),
            ("a b", &["a b"], &["a"]),
        ];
        for (pattern, out, not_out) in rows {
            for (paths, expected) in [(out, true), (not_out, false)] {
                for path in *paths {
                    assert_eq!(excluded(pattern, path), expected, "{pattern:?} {path:?}");
                }
            }
        }
    }

    #[test]
    fn the_last_matching_line_decides() {
        let rows: &[(&str, &str, bool)] = &[
            ("*\n!src", "src", false),
            ("*\n!src", "src/main.rs", false),
            ("*\n!src", "lib", true),
            ("*\n!src/main.rs", "src", true),
            ("*\n!src/main.rs", "src/main.rs", false),
            ("*\n!src/main.rs", "src/lib.rs", true),
            ("*\n!src\nsrc/gen", "src/gen/x", true),
            ("!src\n*", "src", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README.md", false),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("docs\n!docs/**/*.md", "docs/a/b.md", false),
            ("docs\n!docs/**/*.md", "docs/a/b.txt", true),
            ("**/*.o\n!**/keep.o", "a/b/keep.o", false),
            // A parent's match by a later line counts, though an exception named the file.
            ("*\n!a/b\na", "a/b", true),
            ("! a \na", "a", true),
            ("a\n! a ", "a", false),
            ("!!a\n", "a", false),
            ("*\n!!a", "!a", false),
        ];
        for (file, path, expected) in rows {
            assert_eq!(excluded(file, path), *expected, "{file:?} {path:?}");
        }
    }

    #[test]
    fn lines_are_read_as_docker_does() {
        let file = "\u{feff}# comment\r\n  a/  \r\n\r\n #b\n\t/c\n!/d/\nlast";
        let patterns = Patterns::parse(file.as_bytes()).unwrap();
        let seen: Vec<_> = patterns.patterns().iter().map(|p| (p.line, p.exception, p.text.as_str())).collect();
        assert_eq!(seen, [(2, false, "a"), (4, false, "#b"), (5, false, "c"), (6, true, "d"), (7, false, "last")]);
        assert!(patterns.has_exceptions());
        assert_eq!(Patterns::parse(b"").unwrap(), Patterns::default());
    }

    #[test]
    fn a_list_keeps_comments_and_leading_slashes() {
        let patterns = Patterns::from_list(["#a", "/b", " c/ ", ""]).unwrap();
        let texts: Vec<_> = patterns.patterns().iter().map(|pattern| pattern.text.as_str()).collect();
        assert_eq!(texts, ["#a", "/b", "c"]);
    }

    #[test]
    fn errors_name_the_line() {
        for (file, line) in [
            ("a\n!", 2),
            ("!  ", 1),
            ("a\n\n[", 3),
            ("x[]", 1),
            ("[z-a]", 1),
            ("\\", 1),
            ("\\p", 1),
            ("é\\é", 1),
            ("[[:foo:]]", 1),
            ("[a-*]", 1),
        ] {
            let found = match Patterns::parse(file.as_bytes()) {
                Err(IgnoreError::Empty { line } | IgnoreError::Malformed { line, .. }) => line,
                Ok(patterns) => panic!("{file:?} gave {patterns:?}"),
            };
            assert_eq!(found, line, "{file:?}");
        }
        let error = Patterns::parse(b"ok\n/x/[\n").unwrap_err();
        assert_eq!(error.to_string(), "pattern \"x/[\" in line 2: syntax error in pattern");
    }

    #[test]
    fn the_deciding_pattern_is_told() {
        let patterns = Patterns::parse(b"# top\n*\n!src\n**/*.tmp\n").unwrap();
        let line = |path: &str| patterns.matches(path).decided_by.map(|index| patterns.patterns()[index].line);
        assert_eq!(line("lib"), Some(2));
        assert_eq!(line("src/a"), Some(3));
        assert_eq!(line("src/a.tmp"), Some(4));
        assert_eq!(Patterns::default().matches("a").decided_by, None);
    }

    #[test]
    fn walks_may_skip_what_no_exception_reaches() {
        let rows: &[(&str, &str, bool)] = &[
            ("target", "target", false),
            ("*\n!src/main.rs", "src", true),
            ("*\n!src/main.rs", "lib", false),
            ("*\n!src/main.rs", "src/main.rs", false),
            ("*\n!src/*/x", "src/a", true),
            ("*\n!src/*/x", "src/a/b", false),
            ("*\n!s*/x", "src", true),
            ("*\n!s*/x", "lib", false),
            ("*\n!a/**", "a", true),
            ("*\n!a/b/**", "a", true),
            ("*\n!a/b/**", "c", false),
            ("*\n!**/keep", "a/b", true),
            ("*\n!a/**/k*", "a/b/c", true),
            ("*\n!a/**/k*", "b", false),
            ("!src/main.rs\n*", "src", false),
        ];
        for (file, directory, expected) in rows {
            let patterns = Patterns::parse(file.as_bytes()).unwrap();
            let said = patterns.matches(directory);
            assert!(said.excluded || *directory == "src/main.rs", "{file:?} {directory:?}");
            assert_eq!(patterns.may_reinclude_below(&said, directory), *expected, "{file:?} {directory:?}");
        }
        let parents = Patterns::from_list(["src/**/*.txt"]).unwrap();
        assert!(parents.may_match_below("src/a"));
        assert!(!parents.may_match_below("lib"));
    }

    /// The rule as patternmatcher states it: in order, each pattern against the path and all its parents.
    fn by_definition(patterns: &Patterns, path: &str) -> bool {
        let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).collect();
        patterns.patterns().iter().fold(false, |excluded, pattern| {
            let hit = ends.iter().any(|end| pattern.matcher.matches(&path.as_bytes()[..*end]));
            if hit { !pattern.exception } else { excluded }
        })
    }

    /// A matcher for the patterns of the property tests, by trying everything: `**` is any text if it ends
    /// the pattern, else any text up to a slash or nothing.
    fn naive(pattern: &str, path: &str) -> bool {
        if let Some(rest) = pattern.strip_prefix("**") {
            let rest = rest.strip_prefix('/').unwrap_or(rest);
            return rest.is_empty()
                || naive(rest, path)
                || path.match_indices('/').any(|(at, _)| naive(rest, &path[at + 1..]));
        }
        match (pattern.chars().next(), path.chars().next()) {
            (None, None) => true,
            (Some('*'), first) => {
                naive(&pattern[1..], path) || first.is_some_and(|c| c != '/' && naive(pattern, &path[c.len_utf8()..]))
            }
            (Some('?'), Some(c)) => c != '/' && naive(&pattern[1..], &path[c.len_utf8()..]),
            (Some(own), Some(c)) => own == c && naive(&pattern[own.len_utf8()..], &path[c.len_utf8()..]),
            _ => false,
        }
    }

    const PATH: &str = "[ab]{1,2}(/[abc]{1,2}){0,3}";
    const PATTERN: &str = "!?([ab*?]|\\*\\*/?|/|[ab]){1,6}";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn walking_gives_what_the_rule_says(
            lines in prop::collection::vec(PATTERN, 1..5), path in PATH,
        ) {
            let Ok(patterns) = Patterns::parse(lines.join("\n").as_bytes()) else { return Ok(()) };
            let said = patterns.matches(&path);
            prop_assert_eq!(said.excluded, by_definition(&patterns, &path));
            // Where a walk would skip a parent, nothing below is wanted.
            let mut above = Match::default();
            for (end, _) in path.match_indices('/') {
                above = patterns.below(&above, &path[..end]);
                if above.excluded && !patterns.may_reinclude_below(&above, &path[..end]) {
                    prop_assert!(said.excluded, "{:?} is skipped with {}", path, &path[..end]);
                }
            }
        }

        #[test]
        fn one_pattern_agrees_with_trying_everything(pattern in "([ab]|\\?|/){0,3}(\\*\\*?([ab]|/a|\\?)){0,2}[ab]?", path in PATH) {
            let cleaned = clean(&pattern);
            // A plain suffix (`**a`) is compared as text, which is more than its regular expression says.
            if cleaned.starts_with("**") || cleaned == "." {
                return Ok(());
            }
            let Ok(matcher) = Matcher::compile(&cleaned) else { return Ok(()) };
            prop_assert_eq!(matcher.matches(path.as_bytes()), naive(&cleaned, &path), "{:?} {:?}", cleaned, path);
        }

        #[test]
        fn no_bytes_make_it_panic(file in prop::collection::vec(any::<u8>(), 0..40), text in "[!\\[\\]:^\\\\*?/#a-d \n-]{0,20}", path in "\\PC{0,10}") {
            for file in [file.as_slice(), text.as_bytes()] {
                if let Ok(patterns) = Patterns::parse(file) {
                    let said = patterns.matches(&path);
                    patterns.may_reinclude_below(&said, &path);
                }
            }
        }
    }
}
