//! `yadokari push`: flags become a request.

use std::path::{Path, PathBuf};

use super::{Network, UsageError, absolute, build, destinations, network, results};
use crate::cli::args::PushArgs;
use crate::cli::env::Environment;
use crate::request::{PushRequest, ResultFiles};

/// Makes a request of flags and environment.
///
/// # Errors
/// [`UsageError`] for values that cannot be used.
pub fn resolve_push(args: &PushArgs, environment: &Environment) -> Result<(PushRequest, Network), UsageError> {
    let network = network::network(&args.registry, environment)?;
    let path = match args.path.as_path() {
        path if path.as_os_str().is_empty() => {
            return Err(UsageError::Missing { message: "push needs the path of an image" });
        }
        path if path == Path::new("-") => PathBuf::from("-"),
        path => absolute(path, &environment.directories.working),
    };
    let request = PushRequest {
        path,
        destinations: args.destination.iter().map(|text| destinations::read(text)).collect::<Result<_, _>>()?,
        check_push: network.check_push_permission,
        state_directory: build::state_directory(args.state_dir.as_deref(), environment),
        results: ResultFiles {
            named: results::named(&args.results, &args.destination)?,
            ..results::results(&args.results, environment, Vec::new())?
        },
    };
    Ok((request, network))
}
