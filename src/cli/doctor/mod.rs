//! `yadokari doctor` and `yadokari version --verbose`: what this pod allows, and who we are.
//!
//! *Invariant: nothing is decided here: isolations are opened as a build opens them, by this program started once more
//! for each ([`tried`]), and registries are asked as before a build.*

mod access;
mod pod;
pub(super) mod room;
mod text;
mod tried;

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

pub(super) use access::Access;
pub(super) use pod::{Kernel, Process};
pub(super) use room::{Disk, Memory};
pub use tried::run as try_isolation;
pub(super) use tried::{Tried, all as try_all};

use super::args::{DoctorArgs, VersionArgs};
use super::env::Environment;
use super::exit::Failure;
use super::report::Report;
use super::version::Version;
use super::work::print;

/// All that is told.
#[derive(Debug, Serialize)]
struct Findings {
    version: Version,
    kernel: Kernel,
    process: Process,
    isolations: Vec<Tried>,
    disks: Vec<Disk>,
    memory: Memory,
    engines: Vec<&'static str>,
    access: Access,
}

/// Tells about the pod on standard output.
pub(super) fn run(args: &DoctorArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let state = args.state_dir.as_deref().filter(|path| !path.as_os_str().is_empty());
    // Before anything else: what speaks with registries makes threads.
    let isolations = try_all(state);
    let state = environment.directories.working.join(state.unwrap_or(&environment.directories.state));
    let findings = Findings {
        version: Version::own(),
        kernel: Kernel::look(),
        process: Process::look(),
        isolations,
        disks: room::disks(&state, &environment.directories.working),
        memory: Memory::look(),
        engines: engines(environment),
        access: Access::look(args, environment, report)?,
    };
    if !args.json {
        return print(&text::of(&findings));
    }
    let json = serde_json::to_string_pretty(&findings);
    let json = json.map_err(|error| Failure::from_error(super::exit::Kind::Bug, &error))?;
    print(&format!("{json}\n"))
}

/// Tells who we are, and with `--verbose` what a report of a fault needs of the machine.
pub(super) fn version(args: &VersionArgs) -> Result<(), Failure> {
    let version = Version::own();
    if !args.verbose {
        return print(&format!("yadokari {}\n", version.version));
    }
    print(&text::of_version(&version, &Kernel::look(), &try_all(None)))
}

/// Lists the engines whose marks are here.
fn engines(environment: &Environment) -> Vec<&'static str> {
    let is_set = |name| environment.is_set(name);
    let is_there = |path| Path::new(path).exists();
    let marks = [
        ("Kubernetes", is_set("KUBERNETES_SERVICE_HOST") || is_there("/var/run/secrets/kubernetes.io/serviceaccount")),
        ("Tekton", environment.tekton || is_there("/tekton/run")),
        ("Argo Workflows", is_set("ARGO_TEMPLATE") || is_there("/var/run/argo")),
        ("Cloud Build", is_set("BUILDER_OUTPUT")),
        ("GitHub Actions", is_set("GITHUB_OUTPUT")),
        ("GitLab CI", is_set("CI_PROJECT_DIR")),
        ("Jenkins", is_there("/home/jenkins/agent")),
    ];
    marks.into_iter().filter(|(_, is_here)| *is_here).map(|(name, _)| name).collect()
}
