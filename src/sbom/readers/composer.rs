//! PHP packages: composer's `vendor/composer/installed.json`, of version 1 and 2.
//!
//! Source: <https://getcomposer.org/doc/04-schema.md>, and Composer's `Repository\FilesystemRepository`.

use serde::Deserialize;
use serde_json::Value;

use crate::sbom::file::Findings;
use crate::sbom::json::licences;
use crate::sbom::package::{Kind, Package};

#[derive(Deserialize)]
#[serde(untagged)]
enum Installed {
    List(Vec<Entry>),
    Object { packages: Vec<Entry> },
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    license: Value,
}

/// Reads the list.
pub(in crate::sbom) fn installed(_: &[u8], text: &[u8]) -> Result<Findings, String> {
    let installed: Installed =
        serde_json::from_slice(text).map_err(|error| format!("it is no list of composer's: {error}"))?;
    let (Installed::List(entries) | Installed::Object { packages: entries }) = installed;
    let package = |entry: Entry| Package {
        licences: licences(&entry.license),
        ..Package::new(Kind::Composer, entry.name, entry.version)
    };
    Ok(Findings::of(entries.into_iter().map(package).collect()))
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    #[test]
    fn both_versions_are_read() {
        let entry =
            r#"{"name": "monolog/monolog", "version": "3.5.0", "version_normalized": "3.5.0.0", "license": ["MIT"]}"#;
        for text in [format!("[{entry}]"), format!(r#"{{"packages": [{entry}], "dev": true}}"#)] {
            let found = read("app/vendor/composer/installed.json", text.as_bytes());
            assert_eq!(names(&found), ["monolog/monolog 3.5.0"]);
            assert_eq!(found.packages[0].licences, ["MIT"]);
        }
        assert_eq!(read("app/vendor/composer/installed.json", b"7").notes.len(), 1);
    }
}
