//! What of `.gitconfig` matters to us: other spellings of URLs, files of credentials and headers.

use std::path::{Path, PathBuf};

use git2::Config as GitConfig;

/// Settings of all configuration files, the first one to be asked first.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    /// What URLs begin with, and what stands there instead.
    instead: Vec<(String, String)>,
    /// Files of `credential.helper = store --file=…`.
    pub(super) stores: Vec<PathBuf>,
    /// Headers by the beginning of URLs, which is empty for all.
    headers: Vec<(String, String)>,
}

impl Config {
    /// Reads the `.gitconfig` of each directory that has one; what cannot be read says nothing.
    pub(super) fn read(homes: &[PathBuf]) -> Self {
        let mut config = Self::default();
        for home in homes {
            let Ok(file) = GitConfig::open(&home.join(".gitconfig")) else { continue };
            let Ok(entries) = file.entries(None) else { continue };
            // Visiting fails only where our function does, and it does not.
            let _ = entries.for_each(|entry| {
                if let (Ok(name), Ok(value)) = (entry.name(), entry.value()) {
                    config.take(name, value, home);
                }
            });
        }
        config
    }

    fn take(&mut self, name: &str, value: &str, home: &Path) {
        let of = |section: &str, key: &str| {
            let rest = name.strip_prefix(section)?.strip_prefix('.')?;
            if rest == key { Some("") } else { rest.strip_suffix(key)?.strip_suffix('.') }
        };
        if let Some(base) = of("url", "insteadof") {
            self.instead.push((value.to_owned(), base.to_owned()));
        } else if of("credential", "helper").is_some() {
            let words: Vec<&str> = value.split_whitespace().collect();
            if let ["store", options @ ..] = &words[..] {
                let file = options.iter().find_map(|word| word.strip_prefix("--file="));
                let file = file.or(match options {
                    ["--file", file] => Some(file),
                    _ => None,
                });
                self.stores.extend(file.map(|file| home.join(file.strip_prefix("~/").unwrap_or(file))));
            }
        } else if let Some(base) = of("http", "extraheader") {
            self.headers.push((base.to_owned(), value.to_owned()));
        }
    }

    /// Applies `url.BASE.insteadOf`, the longest that fits.
    pub(super) fn rewritten(&self, url: &str) -> String {
        let fitting = self.instead.iter().filter(|(start, _)| url.starts_with(start.as_str()));
        match fitting.max_by_key(|(start, _)| start.len()) {
            Some((start, base)) => format!("{base}{}", &url[start.len()..]),
            None => url.to_owned(),
        }
    }

    /// Returns the headers for a URL, as `NAME: VALUE`.
    pub(super) fn headers<'a>(&'a self, url: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(|(base, _)| is_for(base, url)).map(|(_, header)| header.as_str())
    }
}

/// Tells whether settings of `base` hold for a URL: scheme and host are the same, and the path is below.
fn is_for(base: &str, url: &str) -> bool {
    base.is_empty()
        || url
            .strip_prefix(base)
            .is_some_and(|rest| base.ends_with('/') || rest.is_empty() || rest.starts_with(['/', '?']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_matter() {
        let home = tempfile::tempdir().expect("tempdir");
        let text = "[url \"https://mirror/\"]\n insteadOf = git@h:\n insteadOf = https://h/\n\
                    [url \"https://best/\"]\n insteadOf = https://h/team/\n\
                    [credential]\n helper = store --file=~/secrets\n\
                    [credential \"https://h\"]\n username = x\n\
                    [http \"https://h\"]\n extraHeader = X-A: 1\n";
        std::fs::write(home.path().join(".gitconfig"), text).expect("write");
        let config = Config::read(&[home.path().join("none"), home.path().to_owned()]);
        assert_eq!(config.rewritten("git@h:x.git"), "https://mirror/x.git");
        assert_eq!(config.rewritten("https://h/team/x.git"), "https://best/x.git");
        assert_eq!(config.rewritten("https://other/x.git"), "https://other/x.git");
        assert_eq!(config.stores, [home.path().join("secrets")]);
        assert_eq!(config.headers("https://h/x").collect::<Vec<_>>(), ["X-A: 1"]);
        assert_eq!(config.headers("https://h.evil/x").count(), 0);
    }
}
