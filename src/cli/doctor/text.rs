//! The findings as text.

use std::fmt::Write as _;

use super::{Access, Disk, Findings, Kernel, Memory, Process, Tried};
use crate::cli::report::bytes;
use crate::cli::version::Version;

/// Writes everything.
pub(super) fn of(findings: &Findings) -> String {
    let mut text = of_version(&findings.version, &findings.kernel, &findings.isolations);
    process(&mut text, &findings.process);
    section(&mut text, "Disks");
    findings.disks.iter().for_each(|found| disk(&mut text, found));
    memory(&mut text, &findings.memory);
    section(&mut text, "Engines");
    let engines =
        if findings.engines.is_empty() { "none is known by its marks".to_owned() } else { findings.engines.join(", ") };
    row(&mut text, "found", &engines);
    access(&mut text, &findings.access);
    text
}

/// Writes who we are, the kernel, and what came of isolations.
pub(super) fn of_version(version: &Version, kernel: &Kernel, isolations: &[Tried]) -> String {
    let mut text = format!("yadokari {}\n", version.version);
    row(&mut text, "commit", version.commit);
    row(&mut text, "features", &version.features.join(", "));
    row(&mut text, "target", version.target);
    row(&mut text, "compiler", version.compiler);
    section(&mut text, "Kernel");
    row(&mut text, "release", &format!("{} ({})", kernel.release, kernel.machine));
    let landlock = if kernel.landlock == 0 { "no".to_owned() } else { format!("version {}", kernel.landlock) };
    row(&mut text, "Landlock", &landlock);
    for (name, value) in &kernel.settings {
        row(&mut text, &name.replace('/', "."), value);
    }
    if !kernel.emulators.is_empty() {
        row(&mut text, "emulators", &kernel.emulators.join(", "));
    }
    section(&mut text, "Isolations");
    for tried in isolations {
        let taken = match tried.taken.as_str() {
            "none" => "no".to_owned(),
            taken if taken == tried.asked => "yes".to_owned(),
            taken => taken.to_owned(),
        };
        row(&mut text, &tried.asked, &format!("{taken}: {}", tried.reason));
        for warning in &tried.warnings {
            row(&mut text, "", &format!("but {warning}"));
        }
        if let Some(remedy) = &tried.remedy {
            row(&mut text, "", &format!("to have it: {remedy}"));
        }
    }
    text
}

fn process(text: &mut String, process: &Process) {
    section(text, "Process");
    row(text, "user", &format!("uid {}, gid {}, groups {}", process.uid, process.gid, or_none(&process.groups)));
    row(text, "number", &process.pid.to_string());
    row(text, "capabilities", or_none(&process.capabilities.join(", ")));
    row(text, "bounding set", or_none(&process.bounding.join(", ")));
    row(text, "no new rights", if process.no_new_privileges { "yes" } else { "no" });
    row(text, "seccomp", process.seccomp);
    if let Some(label) = &process.label {
        row(text, "label", label);
    }
    let whole = if process.all_ids { "all: the machine's own" } else { &process.uid_map };
    row(text, "user ids", whole);
    row(text, "open files", &process.open_files.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string()));
}

fn disk(text: &mut String, disk: &Disk) {
    let flags = [
        (!disk.writable, "not writable"),
        (disk.no_exec, "noexec"),
        (disk.no_setuid, "nosuid"),
        (disk.no_devices, "nodev"),
    ];
    let flags: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| format!(", {name}")).collect();
    let room = format!("{} of {} free", bytes(disk.free), bytes(disk.size));
    row(text, disk.purpose, &format!("{}: {}, {room}{flags}", disk.path.display(), disk.kind));
}

fn memory(text: &mut String, memory: &Memory) {
    section(text, "Memory and processors");
    let shown = |size: Option<u64>| size.map_or_else(|| "unknown".to_owned(), bytes);
    row(text, "machine", &format!("{}, {} available", shown(memory.machine), shown(memory.available)));
    let limit = memory.limit.map_or_else(|| "no limit".to_owned(), bytes);
    row(text, "control group", &format!("{limit}, {} in use", shown(memory.used)));
    row(text, "processes", &memory.processes.map_or_else(|| "no limit".to_owned(), |count| count.to_string()));
    row(text, "processors", &memory.processors.to_string());
}

fn access(text: &mut String, access: &Access) {
    section(text, "Credentials");
    for source in &access.credentials {
        row(text, &source.source, &source.has);
    }
    if let Some(error) = &access.error {
        row(text, "cannot be used", error);
    }
    if !access.registries.is_empty() {
        section(text, "Registries");
    }
    for answer in &access.registries {
        let by = answer.credentials.as_ref().map_or_else(|| "anonymously".to_owned(), |source| format!("by {source}"));
        let told = match &answer.error {
            None => format!("may push, {by}"),
            Some(error) => format!("no, asked {by}: {error}"),
        };
        row(text, &answer.repository, &told);
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn section(text: &mut String, name: &str) {
    let _ = write!(text, "\n{name}\n");
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<22} {value}");
}
