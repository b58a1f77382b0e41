//! The licences of a Debian package, where its copyright file has the form that machines read.
//!
//! Source: <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>.

use crate::sbom::file::Findings;
use crate::sbom::text::{LineReader, field, stated};

/// No package has more; a file that says so is of another form.
const MOST: usize = 256;

/// Reads paragraphs of fields, of which only the first line of `License` counts.
#[derive(Default)]
pub(in crate::sbom) struct Reader {
    has_begun: bool,
    licences: Vec<String>,
}

impl LineReader for Reader {
    fn line(&mut self, line: &str) -> bool {
        if !self.has_begun {
            if line.trim().is_empty() {
                return true;
            }
            self.has_begun = line.starts_with("Format:") || line.starts_with("Format-Specification:");
            return self.has_begun;
        }
        if let Some(("License", value)) = field(line)
            && let Some(licence) = stated(value)
            && !self.licences.contains(&licence)
        {
            self.licences.push(licence);
        }
        self.licences.len() < MOST
    }

    fn end(mut self: Box<Self>) -> Findings {
        self.licences.sort();
        Findings { licences: self.licences, ..Findings::default() }
    }
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::read;

    #[test]
    fn only_the_form_for_machines_is_read() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n\
                    Copyright: 2020 A\nLicense: GPL-2+\n On Debian, see.\n\nFiles: b\nLicense: Expat\n\nLicense: GPL-2+\n text\n";
        assert_eq!(read("usr/share/doc/bash/copyright", text.as_bytes()).licences, ["Expat", "GPL-2+"]);
        let prose = "This is the package.\n\nLicense: yes\n";
        assert!(read("usr/share/doc/bash/copyright", prose.as_bytes()).is_empty());
    }
}
