//! Which distribution an image is.
//!
//! Source: os-release(5).

use crate::sbom::file::Findings;
use crate::sbom::package::Distribution;
use crate::sbom::text::LineReader;

/// Reads assignments of a shell.
#[derive(Default)]
pub(in crate::sbom) struct Reader(Distribution);

impl LineReader for Reader {
    fn line(&mut self, line: &str) -> bool {
        let Some((name, value)) = line.trim().split_once('=') else { return true };
        let value = value.trim().trim_matches(|c| c == '"' || c == '\'');
        match name {
            "ID" => self.0.id = value.to_lowercase(),
            "VERSION_ID" => value.clone_into(&mut self.0.version),
            "PRETTY_NAME" => value.clone_into(&mut self.0.name),
            _ => {}
        }
        true
    }

    fn end(self: Box<Self>) -> Findings {
        let known = Some(self.0).filter(|distribution| !distribution.id.is_empty());
        Findings { distribution: known, ..Findings::default() }
    }
}

#[cfg(test)]
mod tests {
    use crate::sbom::package::Distribution;
    use crate::sbom::testing::read;

    #[test]
    fn quotes_are_no_part_of_values() {
        let text = "PRETTY_NAME=\"Rocky Linux 9.3 (Blue Onyx)\"\nID='rocky'\nVERSION_ID=\"9.3\"\nVERSION=\"9.3\"\n";
        let expected =
            Distribution { id: "rocky".into(), version: "9.3".into(), name: "Rocky Linux 9.3 (Blue Onyx)".into() };
        assert_eq!(read("etc/os-release", text.as_bytes()).distribution, Some(expected));
        assert_eq!(read("usr/lib/os-release", b"# nothing\n").distribution, None);
    }
}
