//! apk's list of packages.
//!
//! Source: <https://wiki.alpinelinux.org/wiki/Apk_spec#Installed_Database_V2>.

use crate::sbom::file::Findings;
use crate::sbom::package::{Kind, Package};
use crate::sbom::text::{LineReader, stated};

/// Reads paragraphs of one-letter fields.
#[derive(Default)]
pub(in crate::sbom) struct Reader {
    found: Vec<Package>,
    current: Option<Package>,
}

impl LineReader for Reader {
    fn line(&mut self, line: &str) -> bool {
        if line.is_empty() {
            self.found.extend(self.current.take());
            return true;
        }
        let Some((name, value)) = line.split_once(':') else { return true };
        let current = &mut self.current;
        let package = || Package::new(Kind::Apk, "", "");
        match name {
            "P" => value.clone_into(&mut current.get_or_insert_with(package).name),
            "V" => value.clone_into(&mut current.get_or_insert_with(package).version),
            "A" => current.get_or_insert_with(package).architecture = stated(value),
            "L" => current.get_or_insert_with(package).licences = stated(value).into_iter().collect(),
            "o" => current.get_or_insert_with(package).source = stated(value),
            "m" => current.get_or_insert_with(package).supplier = stated(value),
            _ => {}
        }
        true
    }

    fn end(mut self: Box<Self>) -> Findings {
        self.found.extend(self.current.take());
        self.found.retain(|package| !package.name.is_empty());
        for package in &mut self.found {
            package.source = package.source.take().filter(|source| *source != package.name);
        }
        Findings::of(self.found)
    }
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    const INSTALLED: &str = "\
C:Q1p78yvTLG094tHE1+dToJGbmYzQE=
P:musl
V:1.2.4-r1
A:x86_64
S:383459
I:622592
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Timo Teras <timo.teras@iki.fi>
p:so:libc.musl-x86_64.so.1=1
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1pD+5fPPxdtU1bQLjHPs3Zq2nLgI=

C:Q1
P:libcrypto3
V:3.1.2-r0
A:x86_64
L:Apache-2.0
o:openssl
";

    #[test]
    fn packages_have_licence_and_origin() {
        for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
            let found = read(path, INSTALLED.as_bytes());
            assert_eq!(names(&found), ["musl 1.2.4-r1", "libcrypto3 3.1.2-r0"]);
            assert_eq!(found.packages[0].licences, ["MIT"]);
            assert_eq!(found.packages[0].source, None);
            assert_eq!(found.packages[1].source.as_deref(), Some("openssl"));
        }
    }
}
