//! Flags for signatures: who signs, who must have signed, and the commands `sign` and `verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{MessageArgs, RegistryArgs, values};

/// Who signs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing")]
pub struct SigningArgs {
    /// Sign with the private key in this PEM file (PKCS#8, SEC 1, PKCS#1, or cosign's own form), or with a key in a KMS:
    /// awskms://, gcpkms:// or azurekms://, as cosign writes them.
    #[arg(long, value_name = "FILE|URI")]
    pub sign_key: Option<String>,
    /// Read the key's password from this file; else it is that of COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub sign_key_password_file: Option<PathBuf>,
    /// Sign as whom a token names, with a certificate for it and a key that nobody keeps.
    ///
    /// The token is that of --identity-token-file, of SIGSTORE_ID_TOKEN, of a GitHub job with `id-token: write`, or in
    /// /var/run/sigstore/cosign/oidc-token, where a pod mounts it. Certificate and log are public where the services are.
    #[arg(long)]
    pub sign_keyless: bool,
    /// Read the token for --sign-keyless from this file; its audience must be `sigstore`.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub identity_token_file: Option<PathBuf>,
    /// The certificate authority of --sign-keyless (Fulcio).
    #[arg(long, value_name = "URL", default_value = "https://fulcio.sigstore.dev")]
    pub fulcio_url: String,
    /// The transparency log of --sign-keyless (Rekor, version 1): that of sigstore by itself; with a key, a log that
    /// shall know of the signature, too.
    #[arg(long, value_name = "URL")]
    pub rekor_url: Option<String>,
    /// Where signatures go: under cosign's tag, in a bundle that refers to the image (cosign 3), or both.
    #[arg(long, value_name = "FORMAT", default_value = "both", ignore_case = true)]
    pub signature_format: SignatureFormatName,
}

/// Where signatures go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignatureFormatName {
    /// Under the tag `sha256-….sig`, statements under `sha256-….att`.
    Tag,
    /// In a bundle that refers to the image.
    Bundle,
    /// In both.
    Both,
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
/// The signature goes beside the image, in the forms of cosign. A tag is signed as what it
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

/// Who must have signed.
#[derive(Debug, Args)]
pub struct WhoArgs {
    /// The public key in this PEM file, or that of a key in a KMS (awskms://, gcpkms:// or azurekms://), must have signed; may
    /// be given many times, and then one of them must have.
    #[arg(long, value_name = "FILE|URI", value_parser = values::path)]
    pub key: Vec<PathBuf>,
    /// This identity must have signed: a mail address, or the URL of a workflow or service account; `*` stands for any
    /// text.
    #[arg(long, value_name = "IDENTITY", requires = "certificate_oidc_issuer", conflicts_with = "key")]
    pub certificate_identity: Option<String>,
    /// Who must have vouched for the identity: the issuer of its token; `*` stands for any text.
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    pub certificate_oidc_issuer: Option<String>,
    /// The authorities and logs that are trusted: a `trusted_root.json` of sigstore.
    #[arg(long, value_name = "FILE", value_parser = values::path, requires = "certificate_identity")]
    pub trusted_root: Option<PathBuf>,
}

/// Tells whether an image is signed by whom it must be.
///
/// Ends with 0 where a signature holds, and with 78 where none does.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The image, `[registry/]repository@digest` or with a tag.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Who must have signed.
    #[command(flatten)]
    pub who: WhoArgs,
    /// A signed statement of this type is wanted (`https://slsa.dev/provenance/v1`, say), and not a signature.
    #[arg(long, value_name = "URI")]
    pub predicate_type: Option<String>,
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
