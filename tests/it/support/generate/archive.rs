//! Archives that no `tar` of this machine would make: entries of many owners, twice the same name, links to what the
//! archive itself has, names with a dot or a slash before them.
//!
//! No entry is below one that is no directory: who follows which link then is tested by itself, and no file becomes a
//! directory.

use std::collections::BTreeMap;
use std::io::Write as _;

use tar::{Builder, EntryType, Header};

use super::{MODES, Random};

const NAMES: [&str; 6] = ["a", "b", "c", "e.txt", "h i", "é"];
const OWNERS: [u64; 5] = [0, 1001, 7, 65534, 70_000];

/// Returns the bytes of one.
pub(super) fn archive(random: &mut Random) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    let mut made: BTreeMap<String, EntryType> = BTreeMap::new();
    for number in 0..2 + random.below(6) {
        let mut path = String::new();
        for _ in 0..=random.below(3) {
            path = if path.is_empty() { path } else { path + "/" } + random.pick(&NAMES);
        }
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        let is_below = parents.clone().any(|parent| made.get(parent).is_some_and(|kind| *kind != EntryType::Directory));
        let has_below = made.keys().any(|other| other.starts_with(&format!("{path}/")));
        let files: Vec<String> = made
            .iter()
            .filter(|(other, kind)| **kind == EntryType::Regular && **other != path)
            .map(|(other, _)| other.clone())
            .collect();
        let kind = match random.below(8) {
            0..=2 => EntryType::Regular,
            3 | 4 => EntryType::Directory,
            5 => EntryType::Symlink,
            6 if !files.is_empty() => EntryType::Link,
            _ => EntryType::Fifo,
        };
        let before = made.get(&path);
        if is_below || has_below && kind != EntryType::Directory || before.is_some_and(|before| *before != kind) {
            continue;
        }
        for parent in parents {
            made.entry(parent.to_owned()).or_insert(EntryType::Directory);
        }
        let name =
            [random.pick(&["", "./", "/", ""]), &*path, if kind == EntryType::Directory { "/" } else { "" }].concat();
        let content = format!("{number} {}\n", random.below(1000));
        let content = if kind == EntryType::Regular { content.as_bytes() } else { &[] };
        let link = match kind {
            EntryType::Symlink => Some(random.pick(&["a", "../a", "nowhere", "/etc/passwd", ".", "b/c"]).to_owned()),
            EntryType::Link => Some(files[random.below(files.len())].clone()),
            _ => None,
        };
        append(&mut archive, random, (kind, &name, link.as_deref()), content);
        made.insert(path, kind);
    }
    archive.into_inner().expect("memory")
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    random: &mut Random,
    (kind, name, link): (EntryType, &str, Option<&str>),
    content: &[u8],
) {
    if kind == EntryType::Regular && random.one_in(4) {
        archive.append_pax_extensions([("SCHILY.xattr.user.mark", &b"of the archive"[..])]).expect("memory");
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    // As it stands: the crate's own way takes the dot and the slash away.
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        (&mut header.as_old_mut().linkname[..]).write_all(link.as_bytes()).expect("it is short");
    }
    header.set_mode(u32::from_str_radix(random.pick(&MODES), 8).expect("octal"));
    header.set_uid(OWNERS[random.below(OWNERS.len())]);
    header.set_gid(OWNERS[random.below(OWNERS.len())]);
    header.set_mtime(1_500_000_000 + u64::try_from(random.below(1000)).expect("small"));
    header.set_size(u64::try_from(content.len()).expect("small"));
    header.set_device_major(0).expect("a number");
    header.set_device_minor(0).expect("a number");
    header.set_cksum();
    archive.append(&header, content).expect("memory");
}
