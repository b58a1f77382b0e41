//! The control groups of this process, as the kernel shows them in files.

use std::fs;
use std::path::{Path, PathBuf};

/// The control groups of this process. Source: cgroups(7).
#[derive(Debug)]
pub struct Groups {
    root: PathBuf,
    /// Of each hierarchy the controllers (none in version 2), and the group.
    own: Vec<(String, PathBuf)>,
    /// The version, 1 or 2; none where there are none.
    pub version: Option<u8>,
}

impl Groups {
    /// Finds those of this process.
    pub fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find(&own, Path::new("/sys/fs/cgroup"))
    }

    /// Finds those that the text of `/proc/self/cgroup` names, below `root`.
    pub fn find(own: &str, root: &Path) -> Self {
        let hierarchy = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?);
            Some((controllers.to_owned(), PathBuf::from(group.trim_start_matches('/'))))
        };
        let version = match (root.join("cgroup.controllers").exists(), root.join("memory").is_dir()) {
            (true, _) => Some(2),
            (false, true) => Some(1),
            (false, false) => None,
        };
        Self { root: root.to_owned(), own: own.lines().filter_map(hierarchy).collect(), version }
    }

    /// Returns what the group may use of memory, in bytes; none for all.
    pub fn memory_limit(&self) -> Option<u64> {
        self.least("memory", &["memory.max", "memory.limit_in_bytes"])
    }

    /// Returns how many processes the kernel has killed in the group because its memory was used up.
    pub fn killed_for_memory(&self) -> Option<u64> {
        let group = self.groups("memory").into_iter().next()?;
        let text = ["memory.events", "memory.oom_control"]
            .iter()
            .find_map(|file| fs::read_to_string(group.join(file)).ok())?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }

    /// Returns the values of the first of these files that is there, in the group and those above it, the group's first.
    fn values(&self, controller: &str, files: &[&str]) -> Vec<u64> {
        let value = |path: &PathBuf| {
            let text = files.iter().find_map(|file| fs::read_to_string(path.join(file)).ok())?;
            // Version 1 says with a number next to the largest one that there is no limit.
            text.trim().parse().ok().filter(|value| *value < u64::MAX >> 2)
        };
        self.groups(controller).iter().filter_map(value).collect()
    }

    /// Returns the directories of the group and those above it, the group's first.
    fn groups(&self, controller: &str) -> Vec<PathBuf> {
        let (base, wanted) = match self.version {
            Some(1) => (self.root.join(controller), controller),
            _ => (self.root.clone(), ""),
        };
        let is_wanted = |name: &str| name.split(',').any(|name| name == wanted);
        let group = self.own.iter().find(|(names, _)| is_wanted(names)).map(|(_, group)| base.join(group));
        // In a container the group's path may be that outside, which is not there; its files are at the root then.
        let from = group.filter(|group| group.is_dir()).unwrap_or_else(|| base.clone());
        let above = from.ancestors().take_while(|path| path.starts_with(&base));
        above.map(Path::to_owned).collect()
    }

    /// Returns the first value of a number's file: the group's own.
    pub fn first(&self, controller: &str, files: &[&str]) -> Option<u64> {
        self.values(controller, files).first().copied()
    }

    /// Returns the smallest value of a number's file, in the group and those above it.
    pub fn least(&self, controller: &str, files: &[&str]) -> Option<u64> {
        self.values(controller, files).into_iter().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_killed_for_memory_is_counted_in_both_versions() {
        for (controllers, file, text) in [
            (Some("cgroup.controllers"), "memory.events", "low 0\noom 2\noom_kill 3\noom_group_kill 0\n"),
            (None, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ] {
            let root = tempfile::tempdir().expect("tempdir");
            if let Some(name) = controllers {
                fs::write(root.path().join(name), "memory\n").expect("write");
            }
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("below the root")).expect("directory");
            fs::write(path, text).expect("write");
            let own = if controllers.is_some() { "0::/\n" } else { "4:memory:/\n" };
            assert_eq!(Groups::find(own, root.path()).killed_for_memory(), Some(3), "{file}");
        }
    }
}
