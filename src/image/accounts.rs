//! Users and groups as an image knows them, and what USER and `--chown` mean by their names.
//!
//! Knows the form of passwd and group files; does not know where they come from.
//!
//! Sources: passwd(5), group(5); for what a name means, BuildKit's behaviour: USER is resolved as `runc` does
//! (github.com/moby/sys/user), `--chown` by rules of its own, which [`Accounts::owner`] tells.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Error;

/// The largest account file that is looked at: 1 MiB.
pub const LARGEST_ACCOUNT_FILE: u64 = 1 << 20;

/// Ids above this are refused, as by container runtimes.
const LARGEST_ID: u32 = i32::MAX.unsigned_abs();

/// One of the two files that hold an image's accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFile {
    /// `/etc/passwd`.
    Passwd,
    /// `/etc/group`.
    Group,
}

impl AccountFile {
    /// Returns its path, relative to the root.
    pub fn path(self) -> &'static Path {
        match self {
            Self::Passwd => Path::new("etc/passwd"),
            Self::Group => Path::new("etc/group"),
        }
    }

    /// Tells which of them a file of this path and size in bytes is, if it is one and not too large.
    pub(super) fn of(path: &Path, size: u64) -> Option<Self> {
        let file = [Self::Passwd, Self::Group].into_iter().find(|file| file.path() == path);
        file.filter(|_| size <= LARGEST_ACCOUNT_FILE)
    }
}

/// A line of passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: Vec<u8>,
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
}

/// A line of group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's name.
    pub name: Vec<u8>,
    /// The group id.
    pub gid: u32,
    /// The login names of its members.
    pub members: Vec<Vec<u8>>,
}

/// The users and groups of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// In the order of the file: of two with the same name, the first counts.
    pub users: Vec<User>,
    /// In the order of the file.
    pub groups: Vec<Group>,
}

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups, in the order of the group file, without the primary one unless it is listed.
    pub groups: Vec<u32>,
    /// The home directory by passwd, else `/`.
    pub home: PathBuf,
}

/// To whom a file belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

impl Accounts {
    /// Reads the two files; lines that are malformed are skipped, as is one that begins with `#`.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: lines(passwd).filter_map(user).collect(), groups: lines(group).filter_map(group_of).collect() }
    }

    /// Finds a user by name.
    pub fn user(&self, name: &[u8]) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Finds a user by id.
    pub fn user_by_id(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    /// Finds a group by name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Returns the ids of the groups that list `name` as a member.
    pub fn groups_of(&self, name: &[u8]) -> Vec<u32> {
        let listed = |group: &&Group| group.members.iter().any(|member| member == name);
        self.groups.iter().filter(listed).map(|group| group.gid).collect()
    }

    /// Resolves USER's argument, `user[:group]`, to what a process gets.
    ///
    /// A number is always an id, and needs no line in the files; its group is that of its passwd line, else 0.
    /// Supplementary groups come from the group file, but only where no group is given. An empty user is `0`.
    ///
    /// # Errors
    /// [`Error::User`], [`Error::Group`] for a name without a line, [`Error::Id`] for a number out of range.
    pub fn credentials(&self, user: &str) -> Result<Credentials, Error> {
        let (name, group) = split(user);
        let (uid, line) = match (name, id(name)?) {
            ("", _) => (0, self.user_by_id(0)),
            (_, Some(uid)) => (uid, self.user_by_id(uid)),
            (_, None) => {
                let line = self.user(name.as_bytes()).ok_or_else(|| Error::User { name: name.to_owned() })?;
                (line.uid, Some(line))
            }
        };
        let (gid, groups) = match group {
            Some(group) => (self.group_id(group)?, Vec::new()),
            None => (line.map_or(0, |line| line.gid), line.map_or_else(Vec::new, |line| self.groups_of(&line.name))),
        };
        let home = line.map(|line| line.home.clone()).filter(|home| !home.as_os_str().is_empty());
        Ok(Credentials { uid, gid, groups, home: home.unwrap_or_else(|| PathBuf::from("/")) })
    }

    /// Resolves the value of `--chown`, `user[:group]`, to the owner of copied files.
    ///
    /// Without a group, a numeric user `N` means `N:N`, and a name its line's primary group. `root` is 0 without a
    /// look at the files. A name without a line is an error, as Docker documents it (BuildKit itself takes root then,
    /// which gives files to the wrong owner without a word).
    ///
    /// # Errors
    /// [`Error::User`], [`Error::Group`] for a name without a line, [`Error::Id`] for a number out of range.
    pub fn owner(&self, chown: &str) -> Result<Owner, Error> {
        let (name, group) = split(chown);
        let Owner { uid, gid } = match (name, id(name)?) {
            ("" | "root", _) => Owner::default(),
            (_, Some(id)) => Owner { uid: id, gid: id },
            (_, None) => {
                let line = self.user(name.as_bytes()).ok_or_else(|| Error::User { name: name.to_owned() })?;
                Owner { uid: line.uid, gid: line.gid }
            }
        };
        match group {
            // A group that is empty is group 0, as BuildKit has it.
            None if chown.ends_with(':') => Ok(Owner { uid, gid: 0 }),
            Some("root") => Ok(Owner { uid, gid: 0 }),
            Some(group) => Ok(Owner { uid, gid: self.group_id(group)? }),
            None => Ok(Owner { uid, gid }),
        }
    }

    fn group_id(&self, group: &str) -> Result<u32, Error> {
        if let Some(gid) = id(group)? {
            return Ok(gid);
        }
        let line = self.group(group.as_bytes());
        line.map(|line| line.gid).ok_or_else(|| Error::Group { name: group.to_owned() })
    }
}

/// Tells whether resolving `user[:group]` for `--chown` needs the image's files at all.
pub fn owner_needs_accounts(chown: &str) -> bool {
    let (name, group) = split(chown);
    let is_name = |part: &str| !matches!(part, "" | "root") && matches!(id(part), Ok(None));
    is_name(name) || group.is_some_and(is_name)
}

/// Splits at the first colon; nothing behind it is no group.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    }
}

/// Reads an id; none where the text is a name.
fn id(text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse().ok().filter(|id| *id <= LARGEST_ID);
    id.map(Some).ok_or_else(|| Error::Id { id: text.to_owned() })
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty() && line[0] != b'#')
}

fn number(field: Option<&[u8]>) -> Option<u32> {
    std::str::from_utf8(field?).ok()?.parse().ok()
}

/// `name:password:uid:gid:comment:home:shell`; all after the gid may be missing.
fn user(line: &[u8]) -> Option<User> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_vec();
    let (uid, gid) = (number(fields.nth(1))?, number(fields.next())?);
    let home = fields.nth(1).unwrap_or_default();
    Some(User { name, uid, gid, home: PathBuf::from(OsString::from_vec(home.to_vec())) })
}

/// `name:password:gid:member,member`.
fn group_of(line: &[u8]) -> Option<Group> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_vec();
    let gid = number(fields.nth(1))?;
    let members = fields.next().unwrap_or_default().split(|byte| *byte == b',').filter(|member| !member.is_empty());
    Some(Group { name, gid, members: members.map(<[u8]>::to_vec).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment:x:1:1:::\n\nbroken\nbad:x:one:1:::\n  app:x:1000:1001:App:/home/app:/bin/sh  \nshort:x:7:8\n1234:x:99:99::/odd:\napp:x:5:5::/second:\n";
    const GROUP: &[u8] =
        b"root:x:0:\nwheel:x:10:root,app\nbroken\napp:x:1001:\naudio:x:29:app,,other\nbad:x:x:app\nwheel:x:11:\n";

    fn accounts() -> Accounts {
        Accounts::parse(PASSWD, GROUP)
    }

    fn shown<T>(result: Result<T, Error>, show: impl Fn(T) -> String) -> String {
        result.map_or_else(|error| error.to_string(), show)
    }

    #[test]
    fn malformed_lines_are_skipped() {
        let accounts = accounts();
        let names: Vec<_> = accounts.users.iter().map(|user| String::from_utf8_lossy(&user.name)).collect();
        assert_eq!(names, ["root", "app", "short", "1234", "app"]);
        assert_eq!(accounts.groups.len(), 5);
    }

    #[test]
    fn user_means_what_it_means_to_a_runtime() {
        for (user, expected) in [
            ("root", "0:0 [10] /root"),
            ("", "0:0 [10] /root"),
            ("app", "1000:1001 [10, 29] /home/app"),
            ("1000", "1000:1001 [10, 29] /home/app"),
            ("app:wheel", "1000:10 [] /home/app"),
            ("app:", "1000:1001 [10, 29] /home/app"),
            ("app:50", "1000:50 [] /home/app"),
            ("4242", "4242:0 [] /"),
            ("4242:4343", "4242:4343 [] /"),
            ("1234", "1234:0 [] /"),
            ("short", "7:8 [] /"),
            (":wheel", "0:10 [] /root"),
            ("nobody", "user `nobody` is not in /etc/passwd of the image"),
            ("app:none", "group `none` is not in /etc/group of the image"),
            ("2147483648", "user or group id `2147483648` is out of range: ids go from 0 to 2147483647"),
        ] {
            let found = shown(accounts().credentials(user), |found| {
                format!("{}:{} {:?} {}", found.uid, found.gid, found.groups, found.home.display())
            });
            assert_eq!(found, expected, "USER {user}");
        }
    }

    #[test]
    fn chown_means_what_it_means_to_docker() {
        for (chown, expected, needs) in [
            ("1000", "1000:1000", false),
            ("1000:5", "1000:5", false),
            ("root", "0:0", false),
            ("root:root", "0:0", false),
            ("app", "1000:1001", true),
            ("app:root", "1000:0", true),
            ("app:wheel", "1000:10", true),
            ("77:audio", "77:29", true),
            ("77:", "77:0", false),
            (":5", "0:5", false),
            ("nobody", "user `nobody` is not in /etc/passwd of the image", true),
            ("1:none", "group `none` is not in /etc/group of the image", true),
        ] {
            let found = shown(accounts().owner(chown), |owner| format!("{}:{}", owner.uid, owner.gid));
            assert_eq!(found, expected, "--chown={chown}");
            assert_eq!(owner_needs_accounts(chown), needs, "--chown={chown}");
        }
    }
}
