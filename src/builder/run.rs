//! RUN: a process in a root file system on disk, and the layer of what it changed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::image::{
    Credentials, Entry, EntryKind, Inventory, Layer, LayerContent, LayerInventory, LayerReader, LayerWriter,
};
use crate::isolation::{Environment, Exit, Network, Process, Resources, User, WrittenFile};
use crate::oci::Platform;
use crate::plan::RunStep;
use crate::progress::{Activity, Event, Phase, StepId, Stream};
use crate::request::RunNetwork;
use crate::rootfs::{self, Contents, Rootfs, Snapshot, Tree};
use crate::sys::control_groups::Groups;

use super::stage::{Progress, Shared};
use super::witness::Witness;
use super::{Error, Services, ahead, failed, files, layers, room, unpoisoned, volumes};

/// How much of the end of a command's output is looked through for why it has failed, in bytes.
const END: usize = 16 << 10;

/// A shell's exit status for a command that cannot be executed, which [`crate::isolation`] takes over.
const CANNOT_EXECUTE: i32 = 126;

/// A shell's exit status for a command that is not there.
const NOT_FOUND: i32 = 127;

/// A root file system on disk, and what is known of its state.
pub(super) struct Live {
    rootfs: Rootfs,
    /// The state when the last layer was made; none before the first process.
    snapshot: Option<Snapshot>,
    /// What was in the files that were written since.
    contents: Contents,
    /// Whether something was unpacked since the snapshot.
    stale: bool,
}

impl Live {
    /// Unpacks one more layer; returns its inventory, which comes for nothing on the way. Where a RUN will see it, all of
    /// it must be there.
    pub(super) fn unpack(
        &mut self,
        services: &Services,
        layer: &Layer,
        is_seen: bool,
    ) -> Result<LayerInventory, Error> {
        let digest = || layer.descriptor.digest.to_string();
        let tar = layers::open_tar(services, layer).map_err(|source| Error::Fetch { digest: digest(), source })?;
        self.unpack_tar(services, layer, tar, is_seen)
    }

    fn unpack_tar(
        &mut self,
        services: &Services,
        layer: &Layer,
        tar: Box<dyn Read + Send>,
        is_seen: bool,
    ) -> Result<LayerInventory, Error> {
        let watch = services.packages.watch(Some(&layer.descriptor.digest), true);
        let mut reader = LayerReader::new(tar).watched(watch).until(services.stop());
        let warnings = rootfs::unpack(&mut self.rootfs, &mut reader, services.fidelity, &mut self.contents)?;
        self.stale = true;
        report(services, &warnings);
        let inventory = reader.into_inventory();
        if is_seen {
            volumes::check_layer(&inventory, services)?;
        }
        Ok(inventory)
    }

    /// Returns the files.
    pub(super) fn tree(&self) -> &Tree {
        &self.rootfs.tree
    }

    /// Tells whether no path of the image is hidden by something that is not the image's.
    pub(super) fn holds_everything(&self) -> bool {
        self.rootfs.excluded.is_empty()
    }

    /// Gives the root file system back.
    pub(super) fn into_rootfs(self) -> Rootfs {
        self.rootfs
    }

    /// Brings the snapshot up to what is on disk, so that only what comes after it counts as changed.
    fn settle(&mut self, mode: crate::request::SnapshotMode) -> Result<Snapshot, Error> {
        let contents = std::mem::take(&mut self.contents);
        let mut snapshot = match self.snapshot.take() {
            None => Snapshot::take(&self.rootfs, &contents)?,
            Some(snapshot) if self.stale => snapshot.changes(&self.rootfs, mode)?.into_snapshot(&contents),
            Some(snapshot) => snapshot,
        };
        self.stale = false;
        snapshot.settle();
        Ok(snapshot)
    }
}

pub(super) fn report(services: &Services, warnings: &[rootfs::Warning]) {
    for warning in warnings {
        let message = warning.to_string();
        services.reporter.report(Event::Warning { rule: "NotUnpacked", line: None, message: &message });
    }
}

impl Shared<'_> {
    /// Runs a process and returns the layer of its changes; none where it changed nothing.
    pub(super) fn run(
        &self,
        progress: &mut Progress,
        step: &RunStep,
        id: &StepId,
        witness: Option<&Witness>,
    ) -> Result<Option<Layer>, Error> {
        let mut live = match progress.live.take() {
            Some(live) => live,
            None => self.unpack(progress)?,
        };
        let accounts = files::accounts(self, progress)?;
        let credentials =
            accounts.credentials(&step.user).map_err(|source| Error::User { user: step.user.clone(), source })?;
        volumes::check_run(step, &credentials, &live.rootfs.tree, self.services)?;
        let mode = self.request.snapshot_mode;
        let snapshot = self.services.timed(Phase::Snapshot, |_| live.settle(mode))?;
        let directory = PathBuf::from(&step.directory);
        // As runc does: a working directory that does not exist is made, and so is in the layer.
        live.rootfs.tree.create_directories(&directory, 0o755)?;
        let mut process = process(step, &credentials, directory);
        let mut prepared = self.prepare(step, progress, witness)?;
        process.mounts = std::mem::take(&mut prepared.mounts);
        process.resources.shared_memory = self.request.run.shared_memory;
        process.resources.limits.clone_from(&self.request.run.limits);
        self.services.reporter.report(Event::Detail { about: "run", text: &described(&process) });
        for (name, value) in std::mem::take(&mut prepared.variables) {
            set(&mut process.environment.0, name, value);
        }
        let mut executed = self.before_run().and_then(|()| self.execute(&live.rootfs, &process, id));
        if let Err(Error::Run { exit: Exit::Status(CANNOT_EXECUTE), hint }) = &mut executed {
            *hint = foreign(&progress.image.config.platform, &self.request.build_platform).or(hint.take());
        }
        if !matches!(executed, Ok(()) | Err(Error::Run { .. })) {
            prepared.was_killed(self);
        }
        let looked = prepared.look_again(witness);
        let ended = executed.and(prepared.finish(self)).and(looked);
        if let (Err(Error::Run { .. }), Some(failed)) = (&ended, self.failed) {
            // What cannot be kept is no reason to tell another error than the RUN's.
            let layer = self.changed(&mut live, &snapshot, id).ok().flatten().map(|(layer, _)| layer);
            unpoisoned(failed).get_or_insert(failed::image(&progress.image, layer, step));
            return ended.map(|()| None);
        }
        ended?;
        let changed = self.changed(&mut live, &snapshot, id)?;
        if let Some((layer, inventory)) = &changed {
            // The disk has these changes already: only what is known of the image learns of them.
            self.added(progress, layer, inventory)?;
        }
        progress.live = Some(live);
        Ok(changed.map(|(layer, _)| layer))
    }

    /// Makes a layer of what a process has changed since `snapshot`; none where that is nothing.
    fn changed(
        &self,
        live: &mut Live,
        snapshot: &Snapshot,
        id: &StepId,
    ) -> Result<Option<(Layer, LayerInventory)>, Error> {
        let looking = Activity::new(Phase::Snapshot, "").for_step(id).begin(&*self.services.reporter);
        let changes = snapshot.changes(&live.rootfs, self.request.snapshot_mode)?;
        let written = self.services.isolation.written();
        if changes.is_empty() && written.is_empty() {
            live.snapshot = Some(changes.into_snapshot(&Contents::default()));
            return Ok(None);
        }
        let writer = LayerWriter::new(&self.services.store, self.request.compression, self.request.epoch)?;
        let packing = Activity::new(Phase::Snapshot, "layer").of(Some(changes.size())).for_step(id);
        let mut writer = writer.until(self.services.stop()).telling(packing.begin(&*self.services.reporter));
        let mut contents = Contents::default();
        let warnings = rootfs::pack(&live.rootfs, &changes, &mut writer, &mut contents)?;
        report(self.services, &warnings);
        written.iter().try_for_each(|file| append(&mut writer, file))?;
        live.snapshot = Some(changes.into_snapshot(&contents));
        let made = writer.finish()?;
        self.services.spent(Phase::Snapshot, looking.elapsed());
        Ok(Some(made))
    }

    /// Makes the root file system of a stage and unpacks all its layers; what files they hold is known then, too.
    pub(super) fn unpack(&self, progress: &mut Progress) -> Result<Live, Error> {
        let tell = |text: &str| self.services.reporter.report(Event::Note(text));
        let mut rootfs = self.services.room(|isolation| isolation.rootfs(progress.id.0, &tell))?;
        rootfs.excluded.extend(self.request.ignore_paths.iter().cloned());
        let mut live = Live { rootfs, snapshot: None, contents: Contents::default(), stale: false };
        let start = Instant::now();
        let mut files = Inventory::new();
        let is_seen = self.is_seen_by_run(progress);
        room::foresee(&progress.image.layers, live.tree(), self.services);
        for layer in &progress.image.layers {
            let text = format!("{} is unpacked: a step needs the files on disk", layer.descriptor.digest.short());
            layers::decided(self.services, &text);
        }
        self.services.timed(Phase::Unpack, |services| {
            let all = &progress.image.layers;
            ahead::each_tar(services, all, &mut |number, tar| {
                let inventory = live.unpack_tar(services, &all[number], tar, is_seen)?;
                if progress.files.is_none() {
                    files.apply(u32::try_from(number).unwrap_or(u32::MAX), &inventory)?;
                }
                if all[number].content != LayerContent::Stored {
                    layers::keep_inventory(services, &all[number].descriptor.digest, &inventory);
                }
                Ok(())
            })
        })?;
        progress.base_took += start.elapsed();
        progress.files.get_or_insert(files);
        Ok(live)
    }

    fn execute(&self, rootfs: &Rootfs, process: &Process, id: &StepId) -> Result<(), Error> {
        let reporter = std::sync::Arc::clone(&self.services.reporter);
        let mut end = Vec::new();
        let mut output = |stream: Stream, bytes: &[u8]| {
            reporter.report(Event::Output { step: id, stream, bytes });
            end.extend_from_slice(bytes);
            end.drain(..end.len().saturating_sub(END));
        };
        let groups = Groups::of_this_process();
        let killed = groups.killed_for_memory();
        let exit = self.services.timed(Phase::Run, |services| services.isolation.run(rootfs, process, &mut output))?;
        match exit {
            Exit::Status(0) => Ok(()),
            Exit::Status(_) | Exit::Signal(_) => {
                let hint = out_of_memory(&groups, killed)
                    .or_else(|| full(&rootfs.tree))
                    .or_else(|| absent(exit, process, &rootfs.tree))
                    .or_else(|| self.services.isolation.explain(&end));
                Err(Error::Run { exit, hint })
            }
        }
    }
}

/// Adds a file that is not in the root file system.
fn append(writer: &mut LayerWriter, file: &WrittenFile) -> Result<(), Error> {
    let WrittenFile { path, content, access, modified } = file;
    let entry = Entry {
        path: path.strip_prefix("/").unwrap_or(path).to_owned(),
        kind: EntryKind::File { size: content.len() as u64 },
        mode: access.mode,
        uid: access.uid,
        gid: access.gid,
        mtime: *modified,
        xattrs: BTreeMap::new(),
    };
    Ok(writer.append(&entry, &mut content.as_slice())?)
}

/// Says what a machine that cannot execute a program most likely lacks; nothing where the program is for it.
fn foreign(image: &Platform, machine: &Platform) -> Option<String> {
    let is_foreign = !image.architecture.is_empty() && image.architecture != machine.architecture;
    is_foreign.then(|| {
        format!(
            "the stage is for {image}, and this machine executes programs for {machine}: build on a node of that \
             platform, or register an emulator on this one (binfmt_misc, for example by tonistiigi/binfmt)"
        )
    })
}

fn process(step: &RunStep, credentials: &Credentials, directory: PathBuf) -> Process {
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in step.proxies.iter().chain(&step.environment) {
        set(&mut environment, name.into(), value.into());
    }
    if !environment.iter().any(|(name, _)| name == "HOME") {
        environment.push(("HOME".into(), credentials.home.clone().into_os_string()));
    }
    // The primary group is among the others, too, as container engines have it since CVE-2022-2989.
    let mut groups = vec![credentials.gid];
    groups.extend(credentials.groups.iter().filter(|gid| **gid != credentials.gid));
    Process {
        argv: step.argv.iter().map(OsString::from).collect(),
        environment: Environment(environment),
        directory,
        user: User { uid: credentials.uid, gid: credentials.gid, groups },
        hostname: step.hostname.clone(),
        confidential: step.mounts.iter().any(|mount| mount.what.is_confidential()),
        mounts: Vec::new(),
        network: match step.network {
            RunNetwork::Host => Network::Host,
            RunNetwork::None => Network::None,
        },
        hosts: step.hosts.clone(),
        resources: Resources::default(),
    }
}

/// Says how a process is run, but for its command and variables: they may hold secrets.
fn described(process: &Process) -> String {
    let User { uid, gid, groups } = &process.user;
    let mounts: Vec<String> = process.mounts.iter().map(|mount| mount.target.display().to_string()).collect();
    let mounts = if mounts.is_empty() { "none".to_owned() } else { mounts.join(", ") };
    let network = match process.network {
        Network::Host => "the host's",
        Network::None => "none",
    };
    format!(
        "user {uid}:{gid}, groups {groups:?}, directory {}, {} variables, network {network}, mounts: {mounts}",
        process.directory.display(),
        process.environment.0.len(),
    )
}

/// Says that the kernel has killed for memory since it had killed so many.
fn out_of_memory(groups: &Groups, before: Option<u64>) -> Option<String> {
    groups.killed_for_memory().zip(before).filter(|(now, before)| now > before)?;
    let limit = match groups.memory_limit() {
        Some(limit) => format!("the limit of {} MiB", limit >> 20),
        None => "all memory of the node".to_owned(),
    };
    Some(format!(
        "killed by the kernel: {limit} was used up; give the container more with `resources: {{limits: {{memory: …}}}}`, or \
         let the command use less"
    ))
}

/// Says that the image does not have the program of a RUN, where that is why it has failed.
fn absent(exit: Exit, process: &Process, tree: &Tree) -> Option<String> {
    let program = Path::new(process.argv.first()?);
    let is_absent = exit == Exit::Status(NOT_FOUND) && program.is_absolute() && tree.real_path(program).ok()?.is_none();
    is_absent.then(|| {
        format!(
            "the image has no {}: begin FROM one that has it, COPY it before, or write RUN [\"/PROGRAM\", …] with one that \
             is there",
            program.display()
        )
    })
}

/// How little is left of a disk that is full.
const NEARLY_NOTHING: u64 = 1 << 20;

/// Says that the disk is full that a command has written to.
fn full(tree: &Tree) -> Option<String> {
    let free = tree.free_space().filter(|free| *free < NEARLY_NOTHING)?;
    Some(format!(
        "the disk of RUN's files, {}, is full ({free} bytes are left): give --state-dir a larger one, or the pod more \
         ephemeral storage",
        tree.path().display()
    ))
}

/// Sets a variable; one that exists keeps its place.
fn set(environment: &mut Vec<(OsString, OsString)>, name: OsString, value: OsString) {
    match environment.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => environment.push((name, value)),
    }
}
