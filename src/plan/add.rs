//! ADD's sources that are elsewhere: which texts mean a repository or a URL, and what is asked of them.
//!
//! The rules are BuildKit's (`frontend/dockerfile/dfgitutil`, `dockerfile2llb`): the form alone decides.

use crate::dockerfile::{Add, Span};
use crate::http::{self, Url};
use crate::oci::Digest;
use crate::request::{GitSource, HttpsSource, SecretUrl};

use super::draft::Draft;
use super::{CopySource, Error};

/// What a file is called whose URL has no name for it, as in BuildKit.
const UNNAMED: &str = "__unnamed__";

/// What the flags of an ADD ask of its sources.
#[derive(Default)]
pub(super) struct Asked {
    checksum: Option<String>,
    keep_git_directory: Option<bool>,
}

impl Asked {
    pub(super) fn new(draft: &Draft<'_>, add: &Add, span: Span) -> Result<Self, Error> {
        let checksum = add.checksum.as_ref().map(|word| draft.word(word, span)).transpose()?;
        let checksum = checksum.filter(|checksum| !checksum.is_empty());
        Ok(Self { checksum, keep_git_directory: add.keep_git_directory })
    }

    /// Refuses a checksum of what has none.
    pub(super) fn check(&self, sources: &[CopySource], span: Span) -> Result<(), Error> {
        let invalid = |message: &str| Err(Error::invalid(span, message.to_owned()));
        match (&self.checksum, sources) {
            (None, _) | (Some(_), [CopySource::Url { .. } | CopySource::Git(_)]) => Ok(()),
            (Some(_), [_]) => invalid("`--checksum` is for a URL or a Git repository, not for a file of the context"),
            (Some(_), _) => invalid("`--checksum` is for one source; write an ADD for each"),
        }
    }

    /// Says what a source means if it is elsewhere.
    pub(super) fn source(&self, text: &str, span: Span) -> Result<Option<CopySource>, Error> {
        match form(text) {
            Form::Path => Ok(None),
            Form::Git => self.repository(text).map(Some).map_err(|reason| Error::invalid(span, reason)),
            Form::Url => self.file(text).map(Some).map_err(|reason| Error::invalid(span, reason)),
        }
    }

    fn repository(&self, text: &str) -> Result<CopySource, String> {
        let shown = shown(text);
        let wrong = |reason: &str| format!("the Git repository `{shown}` cannot be added: {reason}");
        let flag = self.keep_git_directory.unwrap_or(false);
        let defaults = GitSource { keep_git_directory: flag, ..GitSource::head() };
        let mut source = defaults.read(text).map_err(|reason| wrong(&reason))?;
        if self.keep_git_directory.is_some_and(|flag| flag != source.keep_git_directory) {
            return Err(wrong("`--keep-git-dir` and its query contradict each other"));
        }
        let Some(checksum) = self.checksum.as_ref().map(|checksum| checksum.to_lowercase()) else {
            return Ok(CopySource::Git(source));
        };
        if !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) || checksum.len() > 64 {
            return Err(wrong("`--checksum` of a Git repository is a commit's id, whole or short"));
        }
        let said = source.checksum.as_ref().or(source.commit.as_ref());
        if said.is_some_and(|said| *said != checksum) {
            return Err(wrong("`--checksum` and what stands in the URL contradict each other"));
        }
        source.checksum = Some(checksum);
        Ok(CopySource::Git(source))
    }

    fn file(&self, text: &str) -> Result<CopySource, String> {
        // A text that is no URL is not shown: it may hold a secret anywhere.
        let url = Url::parse(text).map_err(|error| format!("the URL of ADD is malformed: {error}"))?;
        let checksum = match self.checksum.as_ref().map(|text| text.parse::<Digest>()) {
            None => None,
            Some(Ok(digest)) => Some(digest),
            Some(Err(_)) => return Err("`--checksum` of a URL is `sha256:` and 64 hexadecimal digits".to_owned()),
        };
        let name = name(&url);
        Ok(CopySource::Url { name, source: HttpsSource { url: SecretUrl(text.to_owned()), checksum } })
    }
}

/// Writes a source for people and for the history: a password or a signature in it is left out.
pub(super) fn shown(text: &str) -> String {
    match form(text) {
        Form::Path => text.to_owned(),
        Form::Git => without_password(text),
        Form::Url if text.contains('?') => http::redact_text(text),
        Form::Url => without_password(text),
    }
}

fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rsplit_once('@') {
        // The user name of an SSH address is no secret.
        Some((user, _)) if scheme == "ssh" && !user.contains(':') => text.to_owned(),
        Some((login, _)) => format!("{scheme}://{}", &rest[login.len() + 1..]),
        None => text.to_owned(),
    }
}

enum Form {
    Path,
    Git,
    Url,
}

fn form(text: &str) -> Form {
    match text.split_once("://") {
        Some(("https" | "http", rest)) => {
            let path = rest.split(['#', '?']).next().unwrap_or_default();
            if path.ends_with(".git") { Form::Git } else { Form::Url }
        }
        Some(("git" | "ssh", _)) => Form::Git,
        Some(_) => Form::Path,
        None if is_scp(text) => Form::Git,
        None => Form::Path,
    }
}

/// Tells whether it is `user@host:path`.
fn is_scp(text: &str) -> bool {
    let is_word = |text: &str, also: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || also.contains(c))
    };
    let parts = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?.0)));
    parts.is_some_and(|(user, host)| is_word(user, "_") && is_word(host, "."))
}

/// Returns the last name in a URL's path.
fn name(url: &Url) -> String {
    let path = http::decoded(url.path());
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") || name.contains('\0') { UNNAMED.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_decides_what_a_source_is_and_no_password_is_shown() {
        for (text, kind, expected) in [
            ("a/b", "path", "a/b"),
            ("./https://h/x", "path", "./https://h/x"),
            ("github.com/a/b", "path", "github.com/a/b"),
            ("file:///etc/passwd", "path", "file:///etc/passwd"),
            ("https://h/x.git", "git", "https://h/x.git"),
            ("https://token@h/x.git?ref=a#b", "git", "https://h/x.git?ref=a#b"),
            ("git@h.example:a/b", "git", "git@h.example:a/b"),
            ("ssh://git@h/a", "git", "ssh://git@h/a"),
            ("ssh://git:secret@h/a", "git", "ssh://h/a"),
            ("git://h/a#v1", "git", "git://h/a#v1"),
            ("https://h/x.git/", "url", "https://h/x.git/"),
            ("http://user:secret@h/x", "url", "http://h/x"),
            ("https://h/x?sig=secret", "url", "https://h/x?sig=***"),
            ("a/b@c:d", "path", "a/b@c:d"),
        ] {
            let found = match form(text) {
                Form::Path => "path",
                Form::Git => "git",
                Form::Url => "url",
            };
            assert_eq!((found, shown(text).as_str()), (kind, expected), "{text}");
        }
    }

    #[test]
    fn a_file_is_called_as_in_its_url() {
        for (url, expected) in [
            ("https://h/a/b.tgz?x=y#z", "b.tgz"),
            ("https://h/a/", "a"),
            ("https://h", UNNAMED),
            ("https://h/a%20b", "a b"),
            ("https://h/%2e%2e%2f", UNNAMED),
            ("https://h/a%2Fb", "b"),
        ] {
            assert_eq!(name(&url.parse().expect("URL")), expected, "{url}");
        }
    }
}
