//! `--attest`, and its short forms `--sbom` and `--provenance`.
//!
//! Source: <https://docs.docker.com/build/metadata/attestations/>.

use super::{Build, truth, usage};
use crate::cli::exit::Failure;

/// The version of SLSA that our provenance is of, as buildx names it.
const VERSION: &str = "v1";

impl Build {
    /// Takes `type=sbom` or `type=provenance`, with the fields that its short form has.
    pub(super) fn attest(&mut self, value: &str) -> Result<(), Failure> {
        let (kinds, fields): (Vec<&str>, Vec<&str>) = value.split(',').partition(|field| field.starts_with("type="));
        let fields = if fields.is_empty() { "true".to_owned() } else { fields.join(",") };
        match kinds.as_slice() {
            ["type=sbom"] => self.sbom("--attest", &fields),
            ["type=provenance"] => self.provenance("--attest", &fields),
            _ => {
                Err(usage(format!("--attest cannot be `{value}`"))
                    .hint("it can be type=sbom or type=provenance,mode=max"))
            }
        }
    }

    /// Takes `true`, `false`, or a form of ours.
    pub(super) fn sbom(&mut self, flag: &str, value: &str) -> Result<(), Failure> {
        let word = match value.split_once('=') {
            None => match super::super::boolean(value) {
                Ok(true) => "--sbom=spdx".to_owned(),
                Ok(false) => "--sbom=off".to_owned(),
                Err(_) => format!("--sbom={value}"),
            },
            Some(("disabled", is)) => {
                if truth(flag, Some(is))? {
                    "--sbom=off".to_owned()
                } else {
                    "--sbom=spdx".to_owned()
                }
            }
            Some((name, _)) => {
                return Err(usage(format!("{flag}: `{name}=` is not possible: no other program looks into the image"))
                    .hint("write --sbom=true; what package managers have recorded is found by the executor itself"));
            }
        };
        self.words.push(word.into());
        Ok(())
    }

    /// Takes `true`, `false`, or fields such as `mode=max,version=v1`.
    pub(super) fn provenance(&mut self, flag: &str, value: &str) -> Result<(), Failure> {
        self.has_provenance = true;
        let mut extent = "true".to_owned();
        for field in value.split(',') {
            match field.split_once('=') {
                None => field.clone_into(&mut extent),
                Some(("mode", mode)) => mode.clone_into(&mut extent),
                Some(("builder-id", id)) => self.words.push(format!("--builder-id={id}").into()),
                Some(("version", VERSION)) => {}
                Some(("version", version)) => {
                    return Err(usage(format!("{flag}: version={version} is not possible"))
                        .hint(format!("write version={VERSION}, or leave it out: provenance is of SLSA {VERSION}")));
                }
                Some(("disabled", is)) => {
                    if truth(flag, Some(is))? {
                        "off".clone_into(&mut extent);
                    }
                }
                Some((name, _)) => {
                    return Err(usage(format!("{flag}: `{name}=` is not possible here"))
                        .hint("it can be mode=min or mode=max, builder-id= and version=v1"));
                }
            }
        }
        self.words.push(format!("--provenance={extent}").into());
        Ok(())
    }
}
