//! How a Git repository is written: `URL[?QUERY][#REFERENCE[:DIRECTORY][#COMMIT]]`.
//!
//! Sources: <https://docs.docker.com/build/concepts/context/#url-fragments>, `#url-queries` there; kaniko's second `#`.
//! Knows neither flags nor which texts are repositories at all: whoever reads a context or an ADD decides that.
//!
//! *Invariant: nothing in the text is passed over: what is not known, or contradicts itself, is refused.*

use std::path::{Component, Path, PathBuf};

use super::{GitSource, SecretUrl};

impl GitSource {
    /// Means one commit of what HEAD names, with its submodules; the URL is still to be [read](Self::read).
    pub fn head() -> Self {
        Self {
            url: SecretUrl(String::new()),
            reference: None,
            commit: None,
            checksum: None,
            sub_directory: None,
            depth: Some(1),
            submodules: true,
            skip_tls_verify: false,
            keep_git_directory: false,
        }
    }

    /// Reads a repository's URL and what stands behind it; what it does not say stays as it is.
    ///
    /// # Errors
    /// What is wrong, without the URL, which may hold a password.
    pub fn read(mut self, given: &str) -> Result<Self, String> {
        let (address, fragment) = given.split_once('#').unwrap_or((given, ""));
        let (address, query) = address.split_once('?').unwrap_or((address, ""));
        self.url = SecretUrl(address.to_owned());
        let (reference, commit) = fragment.split_once('#').unwrap_or((fragment, ""));
        let (reference, directory) = reference.split_once(':').unwrap_or((reference, ""));
        let (reference, directory) = (some(reference), sub_directory(directory)?);
        let said = Said { reference: reference.clone(), directory: directory.clone() };
        self.reference = reference.or(self.reference);
        self.commit = some(commit);
        self.sub_directory = directory;
        self.read_query(query, said)?;
        for id in [&mut self.commit, &mut self.checksum].into_iter().flatten() {
            // Commit ids are compared as Git writes them.
            *id = id.to_lowercase();
            check_id(id)?;
        }
        Ok(self)
    }

    fn read_query(&mut self, query: &str, mut said: Said) -> Result<(), String> {
        let mut by_commit = false;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let flag = || if value.is_empty() { Ok(true) } else { boolean(key, value) };
            let is_flag = matches!(key, "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_flag {
                return Err(format!("`{key}` has no value in its query"));
            }
            match key {
                "ref" => self.reference = said.reference(value.to_owned())?,
                "branch" => self.reference = said.reference(below("refs/heads/", value))?,
                "tag" => self.reference = said.reference(below("refs/tags/", value))?,
                "commit" | "checksum" => self.checksum = Some(value.to_owned()),
                "subdir" => self.sub_directory = said.directory(sub_directory(value)?)?,
                "submodules" => self.submodules = flag()?,
                "keep-git-dir" => self.keep_git_directory = flag()?,
                "fetch-by-commit" => by_commit = flag()?,
                // Files always have the commit's time: that of the checkout would be another in each build.
                "mtime" if matches!(value, "commit" | "checkout") => {}
                "mtime" => return Err("`mtime` in its query may be commit or checkout".to_owned()),
                _ => return Err(format!("`{key}` is not known in its query")),
            }
        }
        if by_commit {
            let Some(checksum) = self.checksum.take() else {
                return Err("`fetch-by-commit` in its query needs `commit` there as well".to_owned());
            };
            self.commit = Some(checksum);
        }
        Ok(())
    }
}

/// What was said already, so that a contradiction shows.
struct Said {
    reference: Option<String>,
    directory: Option<PathBuf>,
}

impl Said {
    fn reference(&mut self, name: String) -> Result<Option<String>, String> {
        match &self.reference {
            Some(before) if *before != name => Err(format!("it names two references, `{before}` and `{name}`")),
            Some(_) | None => Ok(self.reference.insert(name).clone().into()),
        }
    }

    fn directory(&mut self, path: Option<PathBuf>) -> Result<Option<PathBuf>, String> {
        match &self.directory {
            Some(before) if Some(before) != path.as_ref() => Err("it names two directories".to_owned()),
            Some(_) | None => {
                self.directory.clone_from(&path);
                Ok(path)
            }
        }
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn below(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// Reads a switch as Go does.
fn boolean(key: &str, text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{key}` in its query is neither true nor false")),
    }
}

/// Checks a commit id, whole or short; a short one is only compared, so that one digit will do.
fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("the commit is no commit id: write up to 64 hexadecimal digits".to_owned());
    }
    Ok(())
}

fn sub_directory(given: &str) -> Result<Option<PathBuf>, String> {
    let path = Path::new(given);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("its directory leaves the repository by `..`".to_owned());
    }
    let parts: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    Ok(Some(parts).filter(|path| !path.as_os_str().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let source = GitSource::head().read(text)?;
        let path = source.sub_directory.map(|path| path.display().to_string());
        let parts = [source.reference, source.commit, source.checksum, path].map(Option::unwrap_or_default);
        Ok(format!("{} {} {}", source.url.0, parts.join(" "), u8::from(source.keep_git_directory)))
    }

    #[test]
    fn fragments_and_queries_say_the_same() {
        for (text, expected) in [
            ("https://h/x.git", "https://h/x.git     0"),
            ("https://h/x.git#v1:a/b", "https://h/x.git v1   a/b 0"),
            ("https://h/x.git?ref=v1&subdir=a/b#v1:a/b", "https://h/x.git v1   a/b 0"),
            ("https://h/x.git?tag=v1&keep-git-dir", "https://h/x.git refs/tags/v1    1"),
            ("https://h/x.git?branch=refs/heads/b&commit=A1", "https://h/x.git refs/heads/b  a1  0"),
            ("https://h/x.git?commit=a1&fetch-by-commit", "https://h/x.git  a1   0"),
            ("git@h:x#main#abcd", "git@h:x main abcd   0"),
            ("https://h/x.git?mtime=commit", "https://h/x.git     0"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_contradicts_itself_or_is_unknown_is_refused() {
        for (text, expected) in [
            ("https://h/x.git?ref=a#b", "two references"),
            ("https://h/x.git?tag=a&branch=a", "two references"),
            ("https://h/x.git?subdir=a#:b", "two directories"),
            ("https://h/x.git?subdir=../a", "`..`"),
            ("https://h/x.git?commit=xyz", "no commit id"),
            ("https://h/x.git?fetch-by-commit", "needs `commit`"),
            ("https://h/x.git?submodules=maybe", "neither true nor false"),
            ("https://h/x.git?ref", "has no value"),
            ("https://h/x.git?mtime=now", "`mtime`"),
            ("https://h/x.git?colour=1", "not known"),
        ] {
            assert!(read(text).expect_err(text).contains(expected), "{text}: {:?}", read(text));
        }
    }
}
