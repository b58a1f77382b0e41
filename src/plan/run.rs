//! RUN becomes a [`RunStep`]: what is executed, in which environment, and what is mounted for it.
//!
//! *Invariant: nothing in a [`RunStep`] is a secret's value; secrets and agents are named by their ids.*

use crate::dockerfile::{self, CommandLine, MountError, MountKind, MountSpec, Program, Security, Sharing, Span};

use crate::request::RunNetwork;

use super::draft::{Draft, absolute, clean};
use super::step::{Action, CacheMount, CopyFrom, Mount, Mounted, RunStep};
use super::{Error, ErrorReason, arguments, history};

/// Where BuildKit shows a script that names its interpreter. Source: BuildKit, dockerfile2llb.
const SCRIPTS: &str = "/dev/pipes";
/// Where secrets are shown unless `target` says otherwise.
/// Source: <https://docs.docker.com/reference/dockerfile/#run---mounttypesecret>.
const SECRETS: &str = "/run/secrets";
/// Where agents' sockets are shown unless `target` says otherwise, followed by their number.
const AGENTS: &str = "/run/buildkit/ssh_agent.";
/// The build argument that keeps the cache mounts of one project from those of others.
/// Source: <https://docs.docker.com/reference/dockerfile/#buildkit-built-in-build-args>.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// The build argument that names the host that RUN sees.
///
/// Source: <https://docs.docker.com/reference/dockerfile/#buildkit-built-in-build-args>.
const HOSTNAME_ARGUMENT: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// Plans a RUN; also returns its line of history.
pub(super) fn plan_run(
    draft: &Draft<'_>,
    run: &dockerfile::Run,
    span: Span,
) -> Result<(Action, Option<String>), Error> {
    if let Some(device) = run.devices.first() {
        let error = Error::unsupported(span, &format!("`RUN --device={}`", device.name));
        return Err(
            error.with_hint("devices are given to a pod by Kubernetes, and RUN sees those of the pod".to_owned())
        );
    }
    match run.security {
        None | Some(Security::Sandbox) => {}
        Some(Security::Insecure) => {
            let error = Error::unsupported(span, "`RUN --security=insecure`");
            let hint =
                "RUN never has more rights than the executor's own container; do what needs them outside of the build";
            return Err(error.with_hint(hint.to_owned()));
        }
    }
    let mut mounts = Mounts { draft, span, mounts: Vec::new(), agents: 0, first_agent: None };
    let argv = match run.program() {
        Program::Shell(text) => draft.with_shell(&CommandLine::Shell(text)),
        Program::Exec(words) => words,
        Program::File { name, content } => {
            let path = format!("{SCRIPTS}/{name}");
            mounts.mounts.push(Mount { target: Some(clean(&path)), what: Mounted::Script(content) });
            draft.with_shell(&CommandLine::Shell(path))
        }
    };
    for mount in &run.mounts {
        mounts.add(mount)?;
    }
    let Mounts { mut mounts, first_agent, .. } = mounts;
    // Secrets that are only variables have no path: they are sorted by name, so that the order of the flags does not matter.
    mounts.sort_by(|one, other| (&one.target, variable(one)).cmp(&(&other.target, variable(other))));
    let created_by = Some(history::run(&draft.declared(), &argv));
    let mut environment = draft.variables().to_vec();
    let size = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
    draft.scope.budget.spend(size, span)?;
    if let Some(socket) = first_agent
        && draft.variable("SSH_AUTH_SOCK").is_none()
    {
        environment.push(("SSH_AUTH_SOCK".to_owned(), socket));
    }
    let network = match run.network {
        None | Some(dockerfile::Network::Default) => draft.scope.request.run.network,
        Some(dockerfile::Network::Host) => RunNetwork::Host,
        Some(dockerfile::Network::None) => RunNetwork::None,
    };
    let hosts = draft.scope.request.run.hosts.clone();
    let hostname = draft.scope.request.build_args.get(HOSTNAME_ARGUMENT).filter(|name| !name.is_empty()).cloned();
    let proxies = arguments::proxy_environment(draft.scope.request);
    let (user, directory) = (draft.config.user.clone(), clean(&draft.config.working_dir));
    let step = RunStep { argv, environment, proxies, user, directory, network, hosts, hostname, mounts };
    Ok((Action::Run(step), created_by))
}

fn variable(mount: &Mount) -> Option<&str> {
    match &mount.what {
        Mounted::Secret { variable, .. } => variable.as_deref(),
        Mounted::Bind { .. } | Mounted::Cache(_) | Mounted::Tmpfs { .. } | Mounted::Ssh { .. } | Mounted::Script(_) => {
            None
        }
    }
}

/// The mounts of one RUN while they are planned.
struct Mounts<'a> {
    draft: &'a Draft<'a>,
    span: Span,
    mounts: Vec<Mount>,
    agents: usize,
    first_agent: Option<String>,
}

impl Mounts<'_> {
    fn add(&mut self, mount: &dockerfile::Mount) -> Result<(), Error> {
        let spec =
            mount.resolve(&mut |text| self.draft.expand(text, self.span)).map_err(|error| self.wrong(mount, error))?;
        let (target, what) = match spec.kind {
            MountKind::Bind => (self.target(&spec)?, self.bind(&spec)?),
            MountKind::Cache(sharing) => (self.target(&spec)?, self.cache(&spec, sharing)?),
            MountKind::Tmpfs { size } => (self.target(&spec)?, Mounted::Tmpfs { size }),
            MountKind::Secret => self.secret(spec)?,
            MountKind::Ssh => self.ssh(spec)?,
        };
        self.mounts.push(Mount { target, what });
        Ok(())
    }

    fn wrong(&self, mount: &dockerfile::Mount, error: MountError) -> Error {
        let (message, hint) = match error {
            MountError::Expand(error) => {
                let (word, reason) = (mount.text.clone(), error.reason.to_string());
                return Error::at(self.span, ErrorReason::Expansion { word, reason });
            }
            MountError::Field { message, hint } => (message, hint),
        };
        let error = Error::invalid(self.span, format!("`--mount={}`: {message}", mount.text));
        hint.into_iter().fold(error, Error::with_hint)
    }

    /// Returns where a mount goes: relative paths are taken from the working directory.
    fn target(&self, spec: &MountSpec) -> Result<Option<String>, Error> {
        let given = spec.target.as_deref().unwrap_or_default();
        let target = self.absolute(given);
        if given.is_empty() {
            let error = Error::invalid(self.span, "a mount cannot cover the whole root: it has no target".to_owned());
            return Err(error.with_hint("say where it is for RUN, for example target=/mnt".to_owned()));
        }
        if target == "/" {
            let error = Error::invalid(self.span, format!("a mount cannot cover the whole root (target `{given}`)"));
            return Err(error.with_hint("give it a target such as /mnt".to_owned()));
        }
        Ok(Some(target))
    }

    fn absolute(&self, path: &str) -> String {
        clean(&absolute(&self.draft.config.working_dir, path))
    }

    fn from(&self, name: &str) -> Result<CopyFrom, Error> {
        let found = self.draft.node.sources.get(name).cloned();
        found.ok_or_else(|| Error::at(self.span, ErrorReason::UnknownStageNumber(name.to_owned())))
    }

    fn bind(&self, spec: &MountSpec) -> Result<Mounted, Error> {
        let from = match &spec.from {
            None => CopyFrom::Context,
            Some(name) => self.from(name)?,
        };
        Ok(Mounted::Bind { from, source: source(spec), read_only: spec.read_only })
    }

    fn cache(&self, spec: &MountSpec, sharing: Sharing) -> Result<Mounted, Error> {
        let id = match (&spec.id, spec.target.as_deref().unwrap_or_default()) {
            (Some(id), _) => id.clone(),
            (None, target) if target.starts_with('/') => clean(target),
            (None, target) => clean(target).trim_start_matches('/').to_owned(),
        };
        let namespace = self.draft.scope.request.build_args.get(CACHE_NAMESPACE);
        let id = namespace.filter(|namespace| !namespace.is_empty()).map_or(id.clone(), |ns| format!("{ns}/{id}"));
        let from = spec.from.as_deref().map(|name| self.from(name)).transpose()?;
        let (source, owner, read_only) = (source(spec), spec.owner, spec.read_only);
        Ok(Mounted::Cache(CacheMount { id, sharing, from, source, owner, read_only }))
    }

    fn secret(&self, spec: MountSpec) -> Result<(Option<String>, Mounted), Error> {
        let from_target = || spec.target.as_deref().and_then(base_name).map(str::to_owned);
        let id = spec.source.clone().or_else(|| spec.id.clone()).or_else(from_target);
        let id = id.ok_or_else(|| Error::invalid(self.span, "a secret needs an id".to_owned()))?;
        let target = match (&spec.target, &spec.env) {
            (Some(target), _) => Some(self.absolute(target)),
            (None, Some(_)) => None,
            (None, None) => Some(format!("{SECRETS}/{}", base_name(&id).unwrap_or(&id))),
        };
        let variable = spec.env.map(|name| if name.is_empty() { id.clone() } else { name });
        Ok((target, Mounted::Secret { id, required: spec.required, variable, owner: spec.owner }))
    }

    fn ssh(&mut self, spec: MountSpec) -> Result<(Option<String>, Mounted), Error> {
        if spec.source.is_some() {
            return Err(Error::invalid(self.span, "a mount of type ssh has no source".to_owned()));
        }
        let target = match &spec.target {
            Some(target) => self.absolute(target),
            None => format!("{AGENTS}{}", self.agents),
        };
        self.agents += 1;
        self.first_agent.get_or_insert_with(|| target.clone());
        let id = spec.id.unwrap_or_else(|| "default".to_owned());
        Ok((Some(target), Mounted::Ssh { id, required: spec.required, owner: spec.owner }))
    }
}

fn source(spec: &MountSpec) -> String {
    clean(spec.source.as_deref().unwrap_or_default())
}

fn base_name(path: &str) -> Option<&str> {
    path.rsplit('/').find(|name| !name.is_empty())
}
