//! What the isolation in use cannot give to a RUN, or nobody has given: found before anything is built.
//!
//! Knows abilities and the plan; makes nothing. *Invariant: what passes here fails later only for what a file system
//! or a program does.*

use std::collections::BTreeSet;
use std::path::Path;

use crate::dockerfile::suggest;
use crate::isolation::{Abilities, Isolation, Mounting};
use crate::plan::{BuildPlan, Mount, Mounted, RunStep, Step};
use crate::progress::{Event, Reporter};
use crate::request::{RunNetwork, RunSettings};

use super::{Error, RunServices};

/// Refuses what RUNs ask for and cannot get.
///
/// # Errors
/// [`Error::Unable`], [`Error::NotGiven`] and [`Error::Cache`], at the instruction.
pub(in crate::builder) fn check(
    plan: &BuildPlan,
    settings: &RunSettings,
    services: &RunServices,
    isolation: &dyn Isolation,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    let check = Check { settings, services, isolation, abilities: isolation.abilities(), reporter };
    check.unused(plan);
    for stage in &plan.stages {
        for (number, step) in stage.steps.iter().enumerate() {
            if let crate::plan::Action::Run(run) = &step.action {
                check.run(run, step).map_err(|error| error.at(step.span, Some(&stage.step_id(number))))?;
            }
        }
    }
    Ok(())
}

struct Check<'a> {
    settings: &'a RunSettings,
    services: &'a RunServices,
    isolation: &'a dyn Isolation,
    abilities: Abilities,
    reporter: &'a dyn Reporter,
}

impl Check<'_> {
    /// Tells of secrets and agents that are given and that no RUN mounts.
    fn unused(&self, plan: &BuildPlan) {
        let (mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new());
        for mount in plan.runs().flat_map(|run| &run.mounts) {
            match &mount.what {
                Mounted::Secret { id, .. } => drop(secrets.insert(id.as_str())),
                Mounted::Ssh { id, .. } => drop(agents.insert(id.as_str())),
                Mounted::Tmpfs { .. } | Mounted::Bind { .. } | Mounted::Cache(_) | Mounted::Script(_) => {}
            }
        }
        let given = self.settings.asked.iter().filter(|id| !secrets.contains(id.as_str()));
        let given = given
            .map(|id| ("secret", id))
            .chain(self.services.agents.keys().filter(|id| !agents.contains(id.as_str())).map(|id| ("ssh", id)));
        for (kind, id) in given {
            let message = format!("--{kind} gives `{id}`, and no RUN of the stages that are built mounts it");
            self.reporter.report(Event::Warning { rule: "NotMounted", line: None, message: &message });
        }
    }

    fn run(&self, run: &RunStep, step: &Step) -> Result<(), Error> {
        let is_mounted = self.abilities.mounting == Mounting::Mounted;
        if run.network == RunNetwork::None && !is_mounted {
            return Err(self.unable("RUN without a network"));
        }
        if self.settings.shared_memory.is_some() && !is_mounted {
            return Err(self.unable("a /dev/shm of another size (--shm-size)"));
        }
        if !run.hosts.is_empty() && self.abilities.mounting == Mounting::MovedBeside {
            let what = "an /etc/hosts of RUN's own (--add-host)";
            let hint = "use --isolation namespace, mediated or chroot, or give the pod `hostAliases`";
            return Err(self.unable_with(what, hint));
        }
        if let Some(name) = run.hostname.as_ref().filter(|_| !is_mounted) {
            let isolation = self.abilities.isolation;
            let message = format!("RUN sees the pod's host name, not `{name}`: {isolation} isolation has no other");
            let (rule, line) = ("HostnameNotSet", Some(step.span.first_line));
            self.reporter.report(Event::Warning { rule, line, message: &message });
        }
        let mut caches = BTreeSet::new();
        for mount in &run.mounts {
            self.mount(mount, step)?;
            if let (Mounted::Cache(_), Some(kept)) = (&mount.what, &self.services.caches) {
                kept.probe()?;
            }
            if let Mounted::Cache(cache) = &mount.what
                && !caches.insert(&cache.id)
                && !is_mounted
            {
                return Err(self.unable(&format!("the cache `{}` at two places at once", cache.id)));
            }
        }
        Ok(())
    }

    fn mount(&self, mount: &Mount, step: &Step) -> Result<(), Error> {
        match &mount.what {
            Mounted::Secret { id, required: true, .. } if !self.services.secrets.contains_key(id) => {
                let hint = match self.near(id) {
                    Some(near) => format!("--secret gives `{near}`; did you mean that?"),
                    None => format!("give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE"),
                };
                return Err(Error::NotGiven { what: format!("the secret `{id}`"), hint });
            }
            Mounted::Secret { id, .. } if !self.services.secrets.contains_key(id) => {
                if let Some(near) = self.near(id) {
                    let message =
                        format!("the secret `{id}` is not given, and not there for RUN; --secret gives `{near}`");
                    let (rule, line) = ("SecretNotGiven", Some(step.span.first_line));
                    self.reporter.report(Event::Warning { rule, line, message: &message });
                }
            }
            Mounted::Ssh { id, required: true, .. } if !self.services.agents.contains_key(id) => {
                let hint = match suggest::nearest(id, self.services.agents.keys().map(String::as_str)) {
                    Some(near) => format!("--ssh gives `{near}`; did you mean that?"),
                    None => format!("give it with --ssh {id} or --ssh {id}=SOCKET, or --ssh {id}=KEY"),
                };
                return Err(Error::NotGiven { what: format!("the SSH agent `{id}`"), hint });
            }
            Mounted::Tmpfs { size: Some(_) } if self.abilities.mounting != Mounting::Mounted => {
                let isolation = self.abilities.isolation;
                let message = format!("the size of a tmpfs is not enforced in {isolation} isolation");
                let (rule, line) = ("MountNotEnforced", Some(step.span.first_line));
                self.reporter.report(Event::Warning { rule, line, message: &message });
            }
            Mounted::Secret { .. }
            | Mounted::Ssh { .. }
            | Mounted::Tmpfs { .. }
            | Mounted::Bind { .. }
            | Mounted::Cache(_)
            | Mounted::Script(_) => {}
        }
        self.target(mount)
    }

    /// Returns the secret that is given under nearly this name.
    fn near(&self, id: &str) -> Option<&str> {
        suggest::nearest(id, self.services.secrets.keys().map(String::as_str))
    }

    /// Refuses a target that something of the container's is in the way of.
    fn target(&self, mount: &Mount) -> Result<(), Error> {
        let Some(target) = mount.target.as_deref() else { return Ok(()) };
        let Some(obstacle) = self.isolation.obstacle(Path::new(target)) else { return Ok(()) };
        let is_file = matches!(mount.what, Mounted::Secret { .. } | Mounted::Script(_));
        if is_file && !obstacle.is_below(Path::new(target)) {
            return Ok(());
        }
        let what = format!("a mount at {target}, where the container has {},", obstacle.0.display());
        Err(self.unable(&what))
    }

    fn unable(&self, what: &str) -> Error {
        self.unable_with(what, "use --isolation namespace or mediated where the cluster allows it")
    }

    fn unable_with(&self, what: &str, hint: &str) -> Error {
        let (what, hint) = (what.to_owned(), hint.to_owned());
        Error::Unable { what, isolation: self.abilities.isolation, hint }
    }
}
