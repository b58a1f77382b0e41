//! Chooses the isolation that the system allows, and says why.
//!
//! *Invariant: opening never fails for want of rights: a build that needs no root file system needs none.*

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::chroot::Chroot;
use super::container::Container;
use super::enter::{Ground, Inside, State};
use super::ids::Ids;
#[cfg(target_arch = "x86_64")]
use super::mediated::Mediated;
use super::namespace::Namespace;
use super::preference::Untried;
use super::rights::{self, Reach};
use super::{
    Abilities, Cancel, Capacity, Error, Exit, HostFiles, Isolation, Mounting, Process, Stream, mountinfo, remedy,
};
use crate::oci::Platform;
use crate::progress::{Event, Reporter};
use crate::request::IsolationChoice;
use crate::rootfs::{Fidelity, Rootfs};
use crate::sys::process::{CapabilitySet, capabilities};
use crate::sys::seccomp;

/// What an isolation is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which one is wanted.
    pub choice: IsolationChoice,
    /// The directory for everything temporary. Of the form `<name>-<token>`: `container` isolation also leaves
    /// alone what lies beside it under names that begin with `<name>-`.
    pub state_directory: PathBuf,
    /// What the build is for: programs of platforms that are not the machine's own may have to be executed.
    pub platforms: Vec<Platform>,
    /// Paths that no image gets anything at: `container` isolation leaves them alone.
    pub ignore_paths: Vec<PathBuf>,
    /// Paths of `/` that `container` isolation leaves alone, too, because they outlive the build.
    pub kept_paths: Vec<PathBuf>,
    /// Files that no RUN may read: credentials, secrets. Where they are a part of `/`, `container` isolation holds them in
    /// memory meanwhile.
    pub confidential: Vec<PathBuf>,
    /// Whether `container` isolation may run where no container was found.
    pub force: bool,
    /// Whether the environment names a container (`KUBERNETES_SERVICE_HOST`, `container`).
    pub named_by_environment: bool,
    /// Ends running processes.
    pub cancel: Cancel,
}

/// Which isolation was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its name as `--isolation` takes it; `none` where none is possible.
    pub name: &'static str,
    /// Why this one, for the log.
    pub reason: String,
    /// What happens where it cannot give a file its owner or attributes.
    pub fidelity: Fidelity,
    /// What will not work, or is weaker than elsewhere.
    pub warnings: Vec<String>,
}

impl Chosen {
    /// Tells which isolation was taken, why, and what will not work.
    pub fn tell(&self, reporter: &dyn Reporter) {
        reporter.report(Event::Note(&format!("isolation {}: {}", self.name, self.reason)));
        for message in &self.warnings {
            reporter.report(Event::Warning { rule: "Isolation", line: None, message });
        }
    }
}

/// Opens the isolation that `options` and the system want. `ground` is what [`super::enter()`] returned.
///
/// Where nothing fits, the isolation that is returned gives the error when a root file system is asked for.
/// An error here means that an earlier build's files cannot be put back, or that the build was cancelled.
///
/// To be called before anything else is read from `/` (TLS roots, credentials): `container` isolation waits
/// here for another build in the same container, and puts back what a killed one has left set aside.
pub fn open(options: &Options, ground: Ground) -> Result<(Box<dyn Isolation>, Chosen), Error> {
    let namespaces = match ground.0 {
        State::Inside(inside) => return Ok(open_namespace(options, inside)),
        State::Refused(reason) if options.choice == IsolationChoice::Namespace => reason,
        State::Refused(reason) => format!("namespaces are refused ({reason})"),
        State::PassedOver(weakness) => weakness.to_owned(),
        State::Outside => "namespaces were not tried".to_owned(),
    };
    match options.choice {
        IsolationChoice::Namespace => Ok(unavailable("namespace", &namespaces, remedy::NAMESPACE)),
        IsolationChoice::Container => open_container(options, "asked for".to_owned(), true),
        IsolationChoice::Chroot => Ok(match chroot_is_possible() {
            Ok(()) => open_chroot(options, "asked for".to_owned()),
            Err(reason) => unavailable("chroot", &reason, remedy::CHROOT),
        }),
        IsolationChoice::Mediated => Ok(open_mediated(options, "asked for")),
        IsolationChoice::Auto => open_next_best(options, &namespaces),
    }
}

fn open_namespace(options: &Options, inside: Inside) -> (Box<dyn Isolation>, Chosen) {
    let (reason, warning) = match inside.ids {
        Ids::All => ("user, mount and pid namespaces are allowed, with all ids", None),
        Ids::Subordinate => ("user, mount and pid namespaces are allowed, with the user's subordinate ids", None),
        Ids::Own => (
            "user namespaces are refused, but CAP_SYS_ADMIN gives mount and pid namespaces",
            Some("RUN has no user namespace of its own: a root user in it is the container's"),
        ),
        Ids::Single => (
            "user, mount and pid namespaces are allowed, with one id",
            Some(
                "only one user id exists here: files of other owners cannot be made, and RUN as another user \
                 fails; newuidmap with /etc/subuid and /etc/subgid gives more",
            ),
        ),
    };
    let mut warnings: Vec<String> = warning.into_iter().map(str::to_owned).collect();
    if !inside.fresh_proc {
        warnings.push("a fresh /proc is refused: RUN sees the container's, with other process numbers".to_owned());
    }
    let fidelity = match inside.ids {
        Ids::Single => Fidelity::Lossy,
        Ids::All | Ids::Subordinate | Ids::Own => Fidelity::Strict,
    };
    let files = HostFiles::read();
    let isolation = Namespace::new(&options.state_directory, inside, files, options.cancel.clone());
    (Box::new(isolation), Chosen { name: "namespace", reason: reason.to_owned(), fidelity, warnings })
}

fn open_container(options: &Options, reason: String, asked_for: bool) -> Result<(Box<dyn Isolation>, Chosen), Error> {
    if container_marker(options).is_none() && !options.force {
        let looked_at = "/.dockerenv, /run/.containerenv, a service account, control groups, an overlay root";
        let error = || Error::NotAContainer { looked_at: looked_at.to_owned() };
        return Ok((Box::new(Unavailable(Box::new(error))), nothing("container isolation was asked for outside one")));
    }
    if let Some(missing) = missing_for_container() {
        return Ok(unavailable("container", &missing, remedy::CONTAINER));
    }
    let reach = Reach::find(rights::CAPABILITIES);
    let (isolation, lost) = Container::open(options, asked_for, reach.kept())?;
    let mut warnings = vec!["RUN sees what is mounted in this container, secrets among it".to_owned()];
    warnings.extend(reach.warning().into_iter().chain(without_filter()));
    if !lost.is_empty() {
        let names: Vec<String> = lost.iter().map(|path| path.display().to_string()).collect();
        warnings.push(format!(
            "an earlier build in this container was killed, and the files that it kept from RUN in its memory are lost: {}",
            names.join(", ")
        ));
    }
    Ok((Box::new(isolation), Chosen { name: "container", reason, fidelity: Fidelity::Strict, warnings }))
}

fn open_chroot(options: &Options, reason: String) -> (Box<dyn Isolation>, Chosen) {
    let mut warnings =
        vec!["RUN has no /proc and no /sys, and shares processes and network with the executor".to_owned()];
    if let Some(missing) = missing_for_owners() {
        warnings.push(format!("{missing}: files of other owners cannot be made, and RUN as another user fails"));
    }
    let reach = Reach::find(rights::in_chroot());
    warnings.extend(reach.warning().into_iter().chain(without_filter()));
    let isolation = Chroot::new(&options.state_directory, HostFiles::read(), reach.kept(), options.cancel.clone());
    (Box::new(isolation), Chosen { name: "chroot", reason, fidelity: Fidelity::Strict, warnings })
}

#[cfg(target_arch = "x86_64")]
fn open_mediated(options: &Options, reason: &str) -> (Box<dyn Isolation>, Chosen) {
    let isolation = Mediated::open(&options.state_directory, HostFiles::read(), options.cancel.clone());
    let isolation = match isolation {
        Ok(isolation) => isolation,
        Err(reason) => return unavailable("mediated", &reason, remedy::MEDIATED),
    };
    let warnings = isolation.warnings();
    let fidelity = Fidelity::Strict;
    (Box::new(isolation), Chosen { name: "mediated", reason: reason.to_owned(), fidelity, warnings })
}

#[cfg(not(target_arch = "x86_64"))]
fn open_mediated(_: &Options, _: &str) -> (Box<dyn Isolation>, Chosen) {
    unavailable("mediated", "it is built for x86-64 alone", remedy::MEDIATED)
}

/// Opens what `auto` takes where no namespaces were entered: `mediated`, `container`, `chroot`, in this order.
fn open_next_best(options: &Options, namespaces: &str) -> Result<(Box<dyn Isolation>, Chosen), Error> {
    let untried = Untried::find(&options.platforms);
    let mediated = match &untried {
        Some(untried) => untried.reason(),
        None => match try_mediated(options, namespaces) {
            Ok(opened) => return Ok(opened),
            Err(reason) => format!("mediated isolation is not possible ({reason})"),
        },
    };
    let others = format!("{namespaces}; {mediated}");
    let container = match (container_marker(options), missing_for_container()) {
        (Some(marker), None) => {
            return open_container(options, format!("{others}; this is a container ({marker})"), false);
        }
        (None, _) => "this does not look like a container".to_owned(),
        (Some(_), Some(missing)) => missing,
    };
    let others = format!("{others}; not container isolation: {container}");
    if let Some(Untried::Platform(_)) = untried
        && let Ok(opened) = try_mediated(options, &others)
    {
        // Steps for the machine's own platform can run, and files need no program: better than chroot, or nothing.
        return Ok(opened);
    }
    Ok(match chroot_is_possible() {
        Ok(()) => open_chroot(options, others),
        Err(chroot) => unavailable("any", &format!("{others}; chroot: {chroot}"), remedy::ANY),
    })
}

/// Opens `mediated` isolation, or says why not.
fn try_mediated(options: &Options, reason: &str) -> Result<(Box<dyn Isolation>, Chosen), String> {
    let (isolation, chosen) = open_mediated(options, reason);
    if chosen.name == "mediated" { Ok((isolation, chosen)) } else { Err(chosen.reason) }
}

/// Opens what `auto` takes where `container` isolation would hide files of the image, if that is possible.
pub(super) fn instead_of_container(options: &Options, reason: &str) -> Option<(Box<dyn Isolation>, Chosen)> {
    chroot_is_possible().ok().map(|()| open_chroot(options, reason.to_owned()))
}

/// Says that RUN may use all system calls, where that is so: a pod's own filter is the only one it can have without
/// rights, since the other way would take setuid programs from it.
fn without_filter() -> Option<String> {
    let gets_one = capabilities().contains(CapabilitySet::SYS_ADMIN) || seccomp::is_filtered();
    let text = "RUN has no seccomp filter, since the pod has none: `seccompProfile: {type: RuntimeDefault}` gives one";
    (!gets_one).then(|| text.to_owned())
}

fn unavailable(wanted: &'static str, reason: &str, remedy: &str) -> (Box<dyn Isolation>, Chosen) {
    let (told, remedy) = (reason.to_owned(), remedy.to_owned());
    let error = move || Error::Refused { wanted, reason: told.clone(), remedy: remedy.clone() };
    (Box::new(Unavailable(Box::new(error))), nothing(reason))
}

fn nothing(reason: &str) -> Chosen {
    Chosen { name: "none", reason: reason.to_owned(), fidelity: Fidelity::Strict, warnings: Vec::new() }
}

fn chroot_is_possible() -> Result<(), String> {
    if capabilities().contains(CapabilitySet::SYS_CHROOT) { Ok(()) } else { Err("no CAP_SYS_CHROOT".to_owned()) }
}

/// What is missing to write files of any owner, and to become any user.
fn missing_for_owners() -> Option<String> {
    let needed = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID;
    if !rustix::process::geteuid().is_root() {
        return Some("the user is not root".to_owned());
    }
    let missing = needed - capabilities();
    let names: Vec<_> = missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    (!names.is_empty()).then(|| format!("no {}", names.join(", ")))
}

/// What is missing to give RUN the container's own `/`.
fn missing_for_container() -> Option<String> {
    let is_read_only = || statvfs("/").is_ok_and(|root| root.f_flag.contains(StatVfsMountFlags::RDONLY));
    missing_for_owners().or_else(|| is_read_only().then(|| "the root file system is read-only".to_owned()))
}

/// What shows whether this is a container.
#[derive(Debug, Default)]
struct Evidence {
    docker: bool,
    podman: bool,
    service_account: bool,
    environment: bool,
    cgroup: String,
    root: String,
    /// Whether a system manager runs: overlay roots are also those of live systems.
    booted: bool,
}

fn container_marker(options: &Options) -> Option<&'static str> {
    let mounts = mountinfo::read().unwrap_or_default();
    let root = mounts.iter().rev().find(|mount| mount.target == Path::new("/"));
    marker(&Evidence {
        docker: Path::new("/.dockerenv").exists(),
        podman: Path::new("/run/.containerenv").exists(),
        service_account: Path::new("/var/run/secrets/kubernetes.io/serviceaccount").exists(),
        environment: options.named_by_environment,
        cgroup: fs::read_to_string("/proc/1/cgroup").unwrap_or_default(),
        root: root.map(|mount| mount.kind.clone()).unwrap_or_default(),
        booted: Path::new("/run/systemd/system").exists(),
    })
}

fn marker(evidence: &Evidence) -> Option<&'static str> {
    let runtimes = ["docker", "kubepods", "containerd", "libpod", "/lxc", "/ecs/", "garden", "buildkit", "crio"];
    if evidence.docker {
        Some("/.dockerenv")
    } else if evidence.podman {
        Some("/run/.containerenv")
    } else if evidence.service_account {
        Some("a Kubernetes service account")
    } else if evidence.environment {
        Some("the environment")
    } else if runtimes.iter().any(|runtime| evidence.cgroup.contains(runtime)) && !evidence.booted {
        Some("the control group of process 1")
    } else if evidence.root == "overlay" && !evidence.booted {
        Some("an overlay as root")
    } else {
        None
    }
}

/// Returns an isolation that refuses everything: for looking at a build that is not carried out.
pub fn none() -> Box<dyn Isolation> {
    Box::new(Unavailable(Box::new(|| Error::NeverOpened)))
}

/// Stands where no isolation is possible; the error comes only when one is needed, to each stage that needs one.
struct Unavailable(Box<dyn Fn() -> Error + Send + Sync>);

impl Isolation for Unavailable {
    fn rootfs(&self, _stage: usize, _tell: &dyn Fn(&str)) -> Result<Rootfs, Error> {
        Err((self.0)())
    }

    fn run(&self, _: &Rootfs, _: &Process, _: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
        Err(Error::NeverOpened)
    }

    fn discard(&self, _rootfs: Rootfs) -> Result<(), Error> {
        Ok(())
    }

    fn holds(&self) -> Capacity {
        // Stages that need none can be built at the same time.
        Capacity::Many
    }

    fn abilities(&self) -> Abilities {
        // The first root file system that is asked for tells what is wrong.
        Abilities { isolation: "no", mounting: Mounting::Mounted }
    }

    fn workspace(&self) -> Result<PathBuf, Error> {
        Err(Error::NeverOpened)
    }

    fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_any_marker_and_a_machine_is_not_one() {
        let cgroup = |text: &str| Evidence { cgroup: text.to_owned(), ..Evidence::default() };
        let overlay = |booted| Evidence { root: "overlay".to_owned(), booted, ..Evidence::default() };
        for (evidence, expected) in [
            (Evidence::default(), None),
            (Evidence { docker: true, ..Evidence::default() }, Some("/.dockerenv")),
            (Evidence { podman: true, ..Evidence::default() }, Some("/run/.containerenv")),
            (Evidence { environment: true, ..Evidence::default() }, Some("the environment")),
            (cgroup("0::/kubepods.slice/pod1"), Some("the control group of process 1")),
            (cgroup("0::/init.scope"), None),
            (Evidence { booted: true, ..cgroup("1:name=systemd:/docker") }, None),
            (overlay(false), Some("an overlay as root")),
            (overlay(true), None),
        ] {
            assert_eq!(marker(&evidence), expected, "{evidence:?}");
        }
    }

    #[test]
    fn what_is_not_possible_fails_only_when_it_is_needed() {
        let options = Options {
            choice: IsolationChoice::Namespace,
            state_directory: PathBuf::from("/nonexistent"),
            platforms: Vec::new(),
            ignore_paths: Vec::new(),
            kept_paths: Vec::new(),
            confidential: Vec::new(),
            force: false,
            named_by_environment: false,
            cancel: Cancel::new().unwrap(),
        };
        let ground = Ground(State::Refused("unshare(CLONE_NEWUSER): EPERM".to_owned()));
        let (isolation, chosen) = open(&options, ground).unwrap();
        assert_eq!(chosen.name, "none");
        let text = isolation.rootfs(0, &|_| {}).unwrap_err().to_string();
        assert!(text.contains("unshare(CLONE_NEWUSER): EPERM") && text.contains("hostUsers: false"), "{text}");
        isolation.finish().unwrap();
    }
}
