//! Which ids a new user namespace gets, and writing them into its maps.
//!
//! Source: user_namespaces(7), "User and group ID mappings"; subuid(5); newuidmap(1).

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sys;
use crate::sys::process::{CapabilitySet, Pid};

/// One line of a map: `count` ids from `inside` on are those from `outside` on in the namespace around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) inside: u32,
    pub(super) outside: u32,
    pub(super) count: u32,
}

/// How many ids the namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// Every id that the executor has itself.
    All,
    /// The range that `/etc/subuid` and `/etc/subgid` give to the user.
    Subordinate,
    /// The user's own id only, as 0.
    Single,
    /// No user namespace: the executor's own ids, with CAP_SYS_ADMIN.
    Own,
}

/// Finds the extents in the text of a `uid_map` file; a line that is not of its form is left out.
pub(super) fn parse_map(text: &str) -> Vec<Extent> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            let mut next = || numbers.next()?.ok();
            Some(Extent { inside: next()?, outside: next()?, count: next()? })
        })
        .collect()
}

/// Returns who started the executor: the user's id outside of the namespace that it has entered, or its own where it is
/// in none.
pub fn outer_user() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    outside(&parse_map(&map), own)
}

/// Finds what an id is in the namespace around.
fn outside(map: &[Extent], id: u32) -> u32 {
    let offset = |extent: &Extent| id.checked_sub(extent.inside).filter(|offset| *offset < extent.count);
    map.iter().find_map(|extent| extent.outside.checked_add(offset(extent)?)).unwrap_or(id)
}

/// Plans a map that gives each id of the namespace around to the new one under the same number.
pub(super) fn identity(around: &[Extent]) -> Vec<Extent> {
    around.iter().map(|extent| Extent { outside: extent.inside, ..*extent }).collect()
}

/// Plans a map for an ordinary user: itself as 0, and its subordinate ids from 1 on, in the file's order.
///
/// None when the file gives the user nothing. Source: subuid(5), lines `name or id:first:count`.
pub(super) fn subordinate(file: &str, name: Option<&str>, id: u32) -> Option<Vec<Extent>> {
    let mut extents = vec![Extent { inside: 0, outside: id, count: 1 }];
    let mut next = 1_u32;
    for line in file.lines() {
        let mut fields = line.trim().split(':');
        let owner = fields.next().unwrap_or_default();
        if Some(owner) != name && owner.parse() != Ok(id) {
            continue;
        }
        let (Some(Ok(first)), Some(Ok(count))) =
            (fields.next().map(str::parse::<u32>), fields.next().map(str::parse::<u32>))
        else {
            continue;
        };
        let Some(end) = next.checked_add(count).filter(|_| count > 0) else { continue };
        extents.push(Extent { inside: next, outside: first, count });
        next = end;
    }
    (extents.len() > 1).then_some(extents)
}

/// Finds the name of user `id` in the text of a passwd file.
pub(super) fn user_name(passwd: &str, id: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

/// Maps the ids of `child`, which has just moved into a user namespace of its own: as many as the rights
/// of this process allow. Must be called from the namespace around, since only there the rights count.
pub(super) fn map(child: Pid) -> Result<Ids, sys::Error> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let rights = CapabilitySet::SETUID | CapabilitySet::SETGID;
    if uid == 0 && sys::process::capabilities().contains(rights) && map_all(child).is_ok() {
        return Ok(Ids::All);
    }
    if map_subordinate(child, uid, gid).is_ok() {
        return Ok(Ids::Subordinate);
    }
    write(child, "setgroups", "deny")?;
    write(child, "uid_map", &format!("0 {uid} 1"))?;
    write(child, "gid_map", &format!("0 {gid} 1"))?;
    Ok(Ids::Single)
}

fn map_all(child: Pid) -> Result<(), sys::Error> {
    // Users first: without CAP_SETFCAP the kernel refuses that map only, and then nothing is written yet.
    for (own, file) in [("/proc/self/uid_map", "uid_map"), ("/proc/self/gid_map", "gid_map")] {
        let text = std::fs::read_to_string(own).map_err(|error| sys::Error::from_io(format!("read({own})"), &error))?;
        write(child, file, &lines(&identity(&parse_map(&text))))?;
    }
    Ok(())
}

fn lines(extents: &[Extent]) -> String {
    let line = |extent: &Extent| format!("{} {} {}\n", extent.inside, extent.outside, extent.count);
    extents.iter().map(line).collect()
}

/// Lets the setuid helpers of the shadow package write the maps.
fn map_subordinate(child: Pid, uid: u32, gid: u32) -> io::Result<()> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = user_name(&passwd, uid);
    for (helper, file, own) in [("newuidmap", "/etc/subuid", uid), ("newgidmap", "/etc/subgid", gid)] {
        // Both files name the *user*; only the id that becomes 0 is the group's own in the second.
        let mut extents = subordinate(&std::fs::read_to_string(file)?, name, uid)
            .ok_or_else(|| io::Error::other("no subordinate ids"))?;
        extents[0].outside = own;
        let numbers = extents.iter().flat_map(|extent| [extent.inside, extent.outside, extent.count]);
        let status = Command::new(helper)
            .arg(child.to_string())
            .args(numbers.map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(io::Error::other("helper refused"));
        }
    }
    Ok(())
}

fn write(child: Pid, file: &str, text: &str) -> Result<(), sys::Error> {
    let path = format!("/proc/{child}/{file}");
    // One write(2): the kernel takes a map only whole.
    std::fs::write(Path::new(&path), text)
        .map_err(|error| sys::Error::from_io(format!("write({path}, {:?})", text.trim_end()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    #[test]
    fn an_id_is_known_by_its_name_outside() {
        let map = [extent(0, 1000, 1), extent(1, 100_000, 65_536)];
        assert_eq!([0, 7, 65_536, 65_537].map(|id| outside(&map, id)), [1000, 100_006, 165_535, 65_537]);
        assert_eq!(outside(&[], 7), 7);
    }

    #[test]
    fn identity_has_the_ids_that_exist_around() {
        let around = parse_map("         0     100000      65536\n     70000          5          1\nbad\n");
        assert_eq!(around, [extent(0, 100_000, 65_536), extent(70_000, 5, 1)]);
        assert_eq!(identity(&around), [extent(0, 0, 65_536), extent(70_000, 70_000, 1)]);
        assert_eq!(lines(&identity(&around)), "0 0 65536\n70000 70000 1\n");
        assert_eq!(identity(&parse_map("0 0 4294967295")), [extent(0, 0, u32::MAX)]);
    }

    #[test]
    fn subordinate_ids_follow_the_own_one() {
        let file = "other:100000:65536\nann:200000:1000\n1000:300000:10\nann:bad:1\nann:5:0\nann:1:4294967295\n";
        let both = vec![extent(0, 1000, 1), extent(1, 200_000, 1000), extent(1001, 300_000, 10)];
        for (name, id, expected) in [
            (Some("ann"), 1000, Some(both)),
            (None, 1000, Some(vec![extent(0, 1000, 1), extent(1, 300_000, 10)])),
            (Some("bob"), 7, None),
        ] {
            assert_eq!(subordinate(file, name, id), expected, "{name:?} {id}");
        }
    }

    #[test]
    fn user_name_is_found_by_id() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000), Some("ann"));
        assert_eq!(user_name(passwd, 100), None);
    }
}
