//! A tree as text, for tests: one line a file, every attribute a layer carries.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use super::contents::hash_file;
use super::walk::walk;
use super::{Exclusions, FileKind, Inode, Tree};

/// Returns a line for each file: path, kind, mode, owner, size, time, link, attributes, content.
pub(super) fn listing(path: &Path) -> String {
    let tree = Tree::open(path).unwrap();
    let mut text = String::new();
    let mut names: HashMap<Inode, String> = HashMap::new();
    walk(&tree, &Exclusions::default(), &mut |visit| {
        let (stat, directory) = (visit.stat, visit.parent);
        if visit.path.as_os_str().is_empty() {
            return Ok(());
        }
        let name = visit.path.display().to_string();
        let what = match stat.kind {
            FileKind::Regular => format!("{:032x}", hash_file(directory.open_file(visit.name())?).unwrap()),
            FileKind::Symlink => format!("-> {}", directory.read_link(visit.name())?.display()),
            _ => String::new(),
        };
        let same =
            if stat.linked { names.entry(stat.inode).or_insert_with(|| name.clone()).clone() } else { name.clone() };
        // Layers hold whole seconds.
        let mtime = stat.mtime.seconds;
        let xattrs: Vec<String> = directory
            .xattrs(visit.name())?
            .iter()
            .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
            .collect();
        writeln!(
            text,
            "{name} {:?} {:04o} {}:{} {} {mtime} {what} {} ={same}",
            stat.kind,
            stat.mode,
            stat.uid,
            stat.gid,
            stat.size,
            xattrs.join(",")
        )
        .unwrap();
        Ok(())
    })
    .unwrap();
    text
}
