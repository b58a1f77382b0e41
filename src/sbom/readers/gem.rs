//! Ruby gems: the specifications of what is installed.
//!
//! RubyGems writes them itself, as Ruby, one assignment a line; nothing is executed here.
//!
//! Source: <https://guides.rubygems.org/specification-reference/>.

use crate::sbom::file::Findings;
use crate::sbom::package::{Kind, Package};
use crate::sbom::text::LineReader;

/// Tells whether a directory is one in which RubyGems keeps what is installed.
pub(in crate::sbom) fn is_installed(directory: &[u8]) -> bool {
    directory.ends_with(b"/specifications") || directory.ends_with(b"/specifications/default")
}

/// Reads the assignments of one specification.
pub(in crate::sbom) struct Reader {
    /// `NAME-VERSION`, of the file's name.
    stem: String,
    name: Option<String>,
    version: Option<String>,
    platform: Option<String>,
    licences: Vec<String>,
}

impl Reader {
    pub(in crate::sbom) fn new(path: &[u8]) -> Self {
        let path = String::from_utf8_lossy(path);
        let name = path.rsplit('/').next().unwrap_or_default();
        let stem = name.strip_suffix(".gemspec").unwrap_or(name).to_owned();
        Self { stem, name: None, version: None, platform: None, licences: Vec::new() }
    }
}

impl LineReader for Reader {
    fn line(&mut self, line: &str) -> bool {
        let line = line.trim_start();
        let Some((field, value)) = line.split_once('.').and_then(|(_, rest)| rest.split_once('=')) else { return true };
        let mut texts = quoted(value);
        match field.trim() {
            "name" => self.name = self.name.take().or(texts.next()),
            "version" => self.version = self.version.take().or(texts.next()),
            "platform" => self.platform = texts.next().filter(|platform| platform != "ruby"),
            "license" | "licenses" => self.licences = texts.collect(),
            _ => {}
        }
        true
    }

    fn end(self: Box<Self>) -> Findings {
        let by_file = self.stem.rsplit_once('-');
        let name = self.name.or_else(|| by_file.map(|(name, _)| name.to_owned()));
        let version = self.version.or_else(|| by_file.map(|(_, version)| version.to_owned()));
        match (name, version) {
            (Some(name), Some(version)) => Findings::of(vec![Package {
                architecture: self.platform,
                licences: self.licences,
                ..Package::new(Kind::Gem, name, version)
            }]),
            _ => Findings::unread("it does not name a gem and its version"),
        }
    }
}

/// Returns what stands in quotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(['"', '\''])?;
        let quote = &rest[start..=start];
        let inner = &rest[start + 1..];
        let end = inner.find(quote)?;
        rest = &inner[end + 1..];
        Some(inner[..end].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    const SPECIFICATION: &str = "\
# -*- encoding: utf-8 -*-
# stub: nokogiri 1.15.4 x86_64-linux lib

Gem::Specification.new do |s|
  s.name = \"nokogiri\".freeze
  s.version = \"1.15.4\"
  s.platform = \"x86_64-linux\".freeze

  s.required_rubygems_version = Gem::Requirement.new(\">= 0\".freeze) if s.respond_to? :required_rubygems_version=
  s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]
  s.description = \"s.name = other\".freeze
end
";

    #[test]
    fn assignments_are_read_and_nothing_is_executed() {
        let directory = "usr/local/bundle/specifications";
        let found = read(&format!("{directory}/nokogiri-1.15.4-x86_64-linux.gemspec"), SPECIFICATION.as_bytes());
        assert_eq!(names(&found), ["nokogiri 1.15.4"]);
        assert_eq!(found.packages[0].licences, ["MIT", "Ruby"]);
        assert_eq!(found.packages[0].architecture.as_deref(), Some("x86_64-linux"));
        let old = b"Gem::Specification.new do |s|\n  s.version = Gem::Version.new(\"1.2\")\nend\n";
        assert_eq!(names(&read(&format!("{directory}/default/json-1.2.gemspec"), old)), ["json 1.2"]);
        assert!(read("app/mine.gemspec", SPECIFICATION.as_bytes()).is_empty());
    }
}
