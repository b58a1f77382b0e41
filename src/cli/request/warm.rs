//! The warmer: flags become a request.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Network, UsageError, Warning, absolute, build, legacy, network, resolve};
use crate::cli::args::{Command, Invocation, WarmerArgs, parse};
use crate::cli::env::Environment;
use crate::cli::exit::Failure;
use crate::oci::{Platform, Reference};
use crate::request::BuildRequest;

/// What the warmer is to bring.
pub struct WarmRequest {
    /// The images that flags name.
    pub images: Vec<Reference>,
    /// A build whose Dockerfile names further ones; nothing of it is built.
    pub dockerfile: Option<BuildRequest>,
    /// For which platform.
    pub platform: Platform,
    /// Where to.
    pub cache: PathBuf,
    /// Whether to bring again what is there.
    pub again: bool,
    /// How registries are spoken to.
    pub network: Network,
    /// What the user should be warned about, in order.
    pub warnings: Vec<Warning>,
}

/// Makes a request of flags and environment.
///
/// # Errors
/// A [`Failure`] of kind usage for values that cannot be used.
pub fn resolve_warm(args: &WarmerArgs, environment: &Environment) -> Result<WarmRequest, Failure> {
    let image = |text: &String| {
        let (flag, value) = ("--image", text.clone());
        text.parse().map_err(|error: crate::oci::ReferenceError| UsageError::Value {
            flag,
            value,
            reason: error.reason,
        })
    };
    let images: Vec<Reference> =
        args.image.iter().filter(|text| !text.is_empty()).map(image).collect::<Result<_, _>>()?;
    let dockerfile = args.dockerfile.as_deref().filter(|path| !path.is_empty());
    if images.is_empty() && dockerfile.is_none() {
        let message = "the warmer needs at least one --image, or a --dockerfile that names some";
        return Err(UsageError::Missing { message }.into());
    }
    let mut warnings = legacy::of_environment(environment);
    if args.cache_ttl.is_some() {
        warnings.push(legacy::does_nothing(("--cache-ttl", "what is kept has the digest that it is asked for by")));
    }
    Ok(WarmRequest {
        images,
        dockerfile: dockerfile.map(|path| build_of(path, args, environment)).transpose()?,
        platform: build::platform(args.custom_platform.as_deref())?,
        cache: absolute(Path::new(&args.cache_dir), &environment.directories.working),
        again: args.force,
        network: network::network(&args.registry, environment)?,
        warnings,
    })
}

/// Makes the request of a build with this Dockerfile.
fn build_of(dockerfile: &str, args: &WarmerArgs, environment: &Environment) -> Result<BuildRequest, Failure> {
    let mut words = vec!["yadokari".to_owned(), "--dryrun".to_owned(), format!("--dockerfile={dockerfile}")];
    words.extend(args.build_arg.iter().map(|argument| format!("--build-arg={argument}")));
    words.extend(args.custom_platform.iter().map(|platform| format!("--custom-platform={platform}")));
    match parse(words.into_iter().map(OsString::from))? {
        Invocation::Command(Command::Plan(plan)) => Ok(resolve(&plan.build, environment)?.request),
        Invocation::Build(_)
        | Invocation::Command(_)
        | Invocation::Print(_)
        | Invocation::Init
        | Invocation::Try(_) => Err(UsageError::Missing { message: "the warmer's --dockerfile is no path" }.into()),
    }
}
