//! .NET: the packages in an application's `*.deps.json`.
//!
//! Source: <https://github.com/dotnet/sdk/blob/main/documentation/specs/runtime-configuration-file.md>.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::sbom::file::Findings;
use crate::sbom::package::{Kind, Package};

#[derive(Deserialize)]
struct Dependencies {
    libraries: BTreeMap<String, Library>,
}

#[derive(Deserialize)]
struct Library {
    #[serde(rename = "type", default)]
    kind: String,
}

/// Reads the list; what is the application's own project is no package.
pub(in crate::sbom) fn dependencies(_: &[u8], text: &[u8]) -> Result<Findings, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let parsed: Dependencies =
        serde_json::from_slice(text).map_err(|error| format!("it is no list of dependencies of .NET: {error}"))?;
    let packages = parsed.libraries.iter().filter(|(_, library)| library.kind == "package");
    let packages = packages.filter_map(|(name, _)| {
        let (name, version) = name.split_once('/')?;
        Some(Package::new(Kind::Nuget, name, version))
    });
    Ok(Findings::of(packages.collect()))
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    #[test]
    fn packages_are_read_and_projects_are_not() {
        let text = br#"{"runtimeTarget": {"name": ".NETCoreApp,Version=v8.0"}, "libraries": {
            "app/1.0.0": {"type": "project", "serviceable": false, "sha512": ""},
            "Newtonsoft.Json/13.0.3": {"type": "package", "serviceable": true, "sha512": "sha512-x"}}}"#;
        assert_eq!(names(&read("app/app.deps.json", text)), ["Newtonsoft.Json 13.0.3"]);
        assert_eq!(read("app/app.deps.json", b"{}").notes.len(), 1);
    }
}
