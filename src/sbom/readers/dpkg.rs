//! dpkg's list of packages, and the lists of one package each in images that are made without dpkg.
//!
//! Source: <https://www.debian.org/doc/debian-policy/ch-controlfields.html>, dpkg-query(1) for the states.

use crate::sbom::file::Findings;
use crate::sbom::package::{Kind, Package};
use crate::sbom::text::{LineReader, field, stated};

/// Reads paragraphs of fields.
#[derive(Default)]
pub(in crate::sbom) struct Reader {
    found: Vec<Package>,
    current: Paragraph,
}

#[derive(Default)]
struct Paragraph {
    name: String,
    version: String,
    architecture: Option<String>,
    source: Option<String>,
    supplier: Option<String>,
    /// Whether the package was removed and only its settings stay, or was never there.
    is_absent: bool,
}

impl Reader {
    fn paragraph(&mut self) {
        let paragraph = std::mem::take(&mut self.current);
        if paragraph.name.is_empty() || paragraph.version.is_empty() || paragraph.is_absent {
            return;
        }
        let source = paragraph.source.map(|source| match source.split_once(" (") {
            Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
            None => source,
        });
        self.found.push(Package {
            architecture: paragraph.architecture,
            source,
            supplier: paragraph.supplier,
            ..Package::new(Kind::Deb, paragraph.name, paragraph.version)
        });
    }
}

impl LineReader for Reader {
    fn line(&mut self, line: &str) -> bool {
        if line.is_empty() {
            self.paragraph();
            return true;
        }
        let Some((name, value)) = field(line) else { return true };
        let current = &mut self.current;
        match name {
            "Package" => value.clone_into(&mut current.name),
            "Version" => value.clone_into(&mut current.version),
            "Architecture" => current.architecture = stated(value),
            "Source" => current.source = stated(value),
            "Maintainer" => current.supplier = stated(value),
            "Status" => current.is_absent = value.ends_with(" not-installed") || value.ends_with(" config-files"),
            _ => {}
        }
        true
    }

    fn end(mut self: Box<Self>) -> Findings {
        self.paragraph();
        Findings::of(self.found)
    }
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    const STATUS: &str = "\
Package: libc6
Status: install ok installed
Priority: optional
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9+deb12u4
Description: GNU C Library: Shared libraries
 Contains the standard libraries.
 Version: 9

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1.0

Package: never
Status: purge ok not-installed
Version: 1

Package: half
Status: install ok unpacked
Architecture: all
Source: whole (2:1.0)
Version: 2:1.1";

    #[test]
    fn what_is_installed_is_found() {
        let found = read("var/lib/dpkg/status", STATUS.as_bytes());
        assert_eq!(names(&found), ["libc6 2.36-9+deb12u4", "half 2:1.1"]);
        assert_eq!(found.packages[0].source.as_deref(), Some("glibc"));
        assert_eq!(found.packages[0].architecture.as_deref(), Some("amd64"));
        assert_eq!(found.packages[1].source.as_deref(), Some("whole@2:1.0"));
    }

    #[test]
    fn an_image_without_dpkg_has_a_file_for_each_package() {
        let text = b"Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\n";
        assert_eq!(names(&read("var/lib/dpkg/status.d/tzdata", text)), ["tzdata 2024a-0+deb12u1"]);
        assert!(read("var/lib/dpkg/status.d/tzdata.md5sums", text).is_empty());
    }
}
