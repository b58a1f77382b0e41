//! Flags for signatures: who signs, who must have signed, and the commands `sign` and `verify`.

use std::path::PathBuf;

use clap::Args;

use super::{MessageArgs, RegistryArgs, values};

/// Who signs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing")]
pub struct SigningArgs {
    /// Sign with the private key in this PEM file: PKCS#8, SEC 1 or PKCS#1, or cosign's own form.
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<String>,
    /// Read the key's password from this file; else it is that of COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub sign_key_password_file: Option<PathBuf>,
}

/// Which images may be used.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing")]
pub struct TrustArgs {
    /// Use only images that meet the rules in this file, which is in the form of containers-policy.json(5).
    ///
    /// Before anything runs, every image that the Dockerfile or a named context brings is checked: for FROM, COPY --from
    /// and RUN --mount alike.
    #[arg(long, value_name = "POLICY", value_parser = values::path)]
    pub verify_base: Option<PathBuf>,
}

/// Signs images that are in a registry.
///
/// The signature goes beside the image, in the form of cosign: under the tag `sha256-….sig`. A tag is signed as what it
/// points to now: better name the digest. Of an index the index itself is signed.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The images, `[registry/]repository@digest` or with a tag.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Sign the images of an index, too: some readers look for a signature of the very image that they run.
    #[arg(long)]
    pub recursive: bool,
    /// Who signs.
    #[command(flatten)]
    pub signing: SigningArgs,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// Tells whether an image is signed by whom it must be.
///
/// Ends with 0 where a signature holds, and with 78 where none does.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The image, `[registry/]repository@digest` or with a tag.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The public key in this PEM file must have signed; may be given many times, and then one of them must have.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub key: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}
