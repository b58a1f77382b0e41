//! npm packages: the `package.json` of what stands in a `node_modules`, whoever put it there.
//!
//! Source: <https://docs.npmjs.com/cli/configuring-npm/package-json>.

use serde_json::Value;

use crate::sbom::file::Findings;
use crate::sbom::json::{licences, name_of};
use crate::sbom::package::{Kind, Package};

/// Tells whether a directory is that of a package: `node_modules/NAME` or `node_modules/@SCOPE/NAME`, and nothing in it.
pub(in crate::sbom) fn is_package(directory: &[u8]) -> bool {
    let mut parts = directory.rsplit(|byte| *byte == b'/');
    let (name, parent) = (parts.next(), parts.next());
    let is_in = match parent {
        Some(scope) if scope.starts_with(b"@") => parts.next() == Some(b"node_modules"),
        parent => parent == Some(b"node_modules"),
    };
    is_in && name.is_some_and(|name| !name.starts_with(b".") && !name.starts_with(b"@"))
}

/// Reads a `package.json`; one without a name or a version describes no package.
pub(in crate::sbom) fn package(_: &[u8], text: &[u8]) -> Result<Findings, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let json: Value = serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let (Some(name), Some(version)) = (json["name"].as_str(), json["version"].as_str()) else {
        return Ok(Findings::default());
    };
    let stated = json.get("license").or_else(|| json.get("licenses"));
    let package = Package {
        licences: stated.map(licences).unwrap_or_default(),
        supplier: json.get("author").and_then(name_of),
        ..Package::new(Kind::Npm, name, version)
    };
    Ok(Findings::of(vec![package]))
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    #[test]
    fn what_node_finds_is_found() {
        let json = br#"{"name": "@babel/core", "version": "7.23.0", "license": "MIT", "author": {"name": "Team"}}"#;
        let there = ["app/node_modules/@babel/core", "node_modules/core", "a/node_modules/.pnpm/c@1/node_modules/c"];
        for directory in there {
            let found = read(&format!("{directory}/package.json"), json);
            assert_eq!(names(&found), ["@babel/core 7.23.0"], "{directory}");
            assert_eq!(found.packages[0].licences, ["MIT"]);
            assert_eq!(found.packages[0].supplier.as_deref(), Some("Team"));
        }
        for directory in ["app", "node_modules/core/esm", "node_modules/@babel", "node_modules/.cache"] {
            assert!(read(&format!("{directory}/package.json"), json).is_empty(), "{directory}");
        }
        assert!(read("node_modules/a/package.json", br#"{"type": "module"}"#).is_empty());
        assert_eq!(read("node_modules/a/package.json", b"{").notes.len(), 1);
    }

    #[test]
    fn licences_have_had_many_forms() {
        let licences = |json: &str| {
            let text = format!(r#"{{"name": "a", "version": "1", {json}}}"#);
            read("node_modules/a/package.json", text.as_bytes()).packages.remove(0).licences
        };
        assert_eq!(licences(r#""license": {"type": "ISC", "url": "x"}"#), ["ISC"]);
        assert_eq!(licences(r#""licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]"#), ["MIT", "GPL-2.0"]);
        assert_eq!(licences(r#""license": "(MIT OR Apache-2.0)""#), ["(MIT OR Apache-2.0)"]);
        assert!(licences(r#""license": 7"#).is_empty());
    }
}
