//! Python distributions: `METADATA` of `*.dist-info`, `PKG-INFO` of `*.egg-info`.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/core-metadata/>.

use crate::sbom::file::Findings;
use crate::sbom::package::{Kind, Package};
use crate::sbom::text::{LineReader, field, stated};

/// Tells whether a directory of metadata is one that `pip list` would show: not the copies that packages carry within.
pub(in crate::sbom) fn is_installed(directory: &[u8]) -> bool {
    !directory.split(|byte| *byte == b'/').any(|part| part == b"_vendor")
}

/// Reads the header of a message; the description after it is not looked at.
#[derive(Default)]
pub(in crate::sbom) struct Reader {
    name: String,
    version: String,
    licence: Option<String>,
    expression: Option<String>,
    classified: Vec<String>,
    supplier: Option<String>,
}

impl LineReader for Reader {
    fn line(&mut self, line: &str) -> bool {
        if line.is_empty() {
            // A blank line before the first field is a stray one.
            return self.name.is_empty();
        }
        let Some((name, value)) = field(line) else { return true };
        match name {
            "Name" => value.clone_into(&mut self.name),
            "Version" => value.clone_into(&mut self.version),
            "License" => self.licence = stated(value),
            "License-Expression" => self.expression = stated(value),
            "Author" => self.supplier = stated(value),
            "Classifier" => self.classified.extend(classified(value)),
            _ => {}
        }
        true
    }

    fn end(self: Box<Self>) -> Findings {
        if self.name.is_empty() {
            return Findings::unread("it does not name a package");
        }
        let licences = match (self.expression, self.licence) {
            (Some(expression), _) => vec![expression],
            (None, Some(licence)) if licence.len() <= 80 => vec![licence],
            // Some have the whole text there.
            (None, _) => self.classified,
        };
        let package = Package::new(Kind::Python, self.name, self.version);
        Findings::of(vec![Package { licences, supplier: self.supplier, ..package }])
    }
}

/// Returns the licence that a classifier names.
fn classified(value: &str) -> Option<String> {
    let (_, name) = value.strip_prefix("License :: ")?.rsplit_once(":: ").unwrap_or(("", value));
    stated(name.trim_start_matches("License :: ")).filter(|name| name != "OSI Approved")
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    const METADATA: &str = "\
Metadata-Version: 2.1
Name: Flask_Login
Version: 0.6.3
Summary: User authentication.
Author: Matthew Frazier
License: MIT
Classifier: License :: OSI Approved :: MIT License
Description-Content-Type: text/markdown

Name: not this
Version: 9
";

    #[test]
    fn the_header_alone_counts() {
        for path in ["Flask_Login-0.6.3.dist-info/METADATA", "Flask_Login.egg-info/PKG-INFO", "x.egg-info"] {
            let path = format!("usr/lib/python3/dist-packages/{path}");
            let found = read(&path, METADATA.as_bytes());
            assert_eq!(names(&found), ["Flask_Login 0.6.3"]);
            assert_eq!(found.packages[0].licences, ["MIT"]);
        }
        assert!(read("lib/setuptools/_vendor/a-1.dist-info/METADATA", METADATA.as_bytes()).is_empty());
        assert_eq!(read("a-1.dist-info/METADATA", b"Version: 1\n").notes.len(), 1);
    }

    #[test]
    fn a_licence_is_taken_where_it_is_said_best() {
        let licences = |lines: &str| {
            let text = format!("Name: a\nVersion: 1\n{lines}\n");
            read("a-1.dist-info/METADATA", text.as_bytes()).packages.remove(0).licences
        };
        assert_eq!(licences("License: BSD\nLicense-Expression: BSD-3-Clause"), ["BSD-3-Clause"]);
        let long = format!("License: {}\nClassifier: License :: OSI Approved :: BSD License", "x ".repeat(99));
        assert_eq!(licences(&long), ["BSD License"]);
        assert!(licences("License: UNKNOWN\nClassifier: License :: OSI Approved").is_empty());
    }
}
