//! Following a path name by name: with mounts, with the rights of whoever asks, with links that lead anywhere.
//!
//! Source: path_resolution(7).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::people::Credentials;
use super::view::{Found, Kind, Mounted, PLACE, Special, View, Where, is_directory, is_link};
use super::{machine, processes};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;
const NAME_MAX: usize = 255;

/// A directory on the way.
struct Level {
    at: OwnedFd,
    /// Where RUN sees it.
    path: PathBuf,
    kind: Kind,
}

/// What a name in a directory is.
pub(super) enum Child {
    /// Something that is there.
    Here(Found),
    /// A link, with its text.
    Link(OsString),
    /// Something elsewhere, with where RUN sees it if that is anywhere.
    Elsewhere(OwnedFd, Option<PathBuf>),
}

struct Walk<'a> {
    view: &'a View,
    who: &'a Credentials,
    /// From RUN's root to where the walk is.
    levels: Vec<Level>,
    names: VecDeque<OsString>,
    links: usize,
    follow: bool,
    /// Whether the path ends with a slash, and so names a directory.
    directory: bool,
}

/// Follows `path` from the directory that RUN sees at `start`.
pub(super) fn walk(view: &View, who: &Credentials, start: &Path, path: &OsStr, follow: bool) -> Result<Where, Errno> {
    let bytes = path.as_bytes();
    let directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes == b".";
    let from = if bytes.starts_with(b"/") { &who.root } else { start };
    let levels = levels_to(view, from)?;
    begin(view, who, parts(bytes).collect(), levels, follow || directory, directory).go()
}

/// Goes to a directory that a process stands in or has as its root: it needs no right to the way there.
fn levels_to(view: &View, place: &Path) -> Result<Vec<Level>, Errno> {
    let levels = vec![level(&view.mounts[0])?];
    if place == Path::new("/") {
        return Ok(levels);
    }
    let all = Credentials::new(0, 0, Vec::new(), u64::MAX);
    let mut walk = begin(view, &all, parts(place.as_os_str().as_bytes()).collect(), levels, true, true);
    walk.go()?;
    Ok(walk.levels)
}

fn begin<'a>(
    view: &'a View,
    who: &'a Credentials,
    names: Vec<OsString>,
    levels: Vec<Level>,
    follow: bool,
    directory: bool,
) -> Walk<'a> {
    Walk { view, who, levels, names: names.into(), links: 0, follow, directory }
}

fn parts(path: &[u8]) -> impl Iterator<Item = OsString> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(|name| OsString::from_vec(name.to_vec()))
}

fn level(mounted: &Mounted) -> Result<Level, Errno> {
    Ok(Level {
        at: rustix::io::fcntl_dupfd_cloexec(&mounted.root, 3)?,
        path: mounted.target.clone(),
        kind: mounted.kind,
    })
}

impl Walk<'_> {
    fn go(&mut self) -> Result<Where, Errno> {
        while let Some(name) = self.names.pop_front() {
            if name.len() > NAME_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            self.check_search()?;
            if name == "." {
                continue;
            }
            if name == ".." {
                if self.levels.len() > 1 && self.here_level().path != self.who.root {
                    self.levels.pop();
                }
                continue;
            }
            let is_last = self.names.is_empty();
            match self.child(&name) {
                Ok(Child::Here(found)) => match self.enter(&name, found, is_last)? {
                    None => {}
                    Some(found) => return Ok(Where::There(found)),
                },
                Ok(Child::Link(text)) => {
                    if is_last && !self.follow {
                        return self.here(&name).map(Where::There);
                    }
                    self.follow_link(&text)?;
                }
                Ok(Child::Elsewhere(..)) if is_last && !self.follow => return self.here(&name).map(Where::There),
                Ok(Child::Elsewhere(at, path)) => match self.jump(at, path, is_last)? {
                    None => {}
                    Some(found) => return Ok(Where::There(found)),
                },
                Err(Errno::NOENT) if is_last => {
                    let parent = rustix::io::fcntl_dupfd_cloexec(&self.here_level().at, 3)?;
                    return Ok(Where::Missing { parent: parent.into(), name });
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(Where::There(rustix::io::fcntl_dupfd_cloexec(&self.here_level().at, 3)?.into()))
    }

    fn here_level(&self) -> &Level {
        // The root stays.
        &self.levels[self.levels.len() - 1]
    }

    fn check_search(&self) -> Result<(), Errno> {
        if self.who.passes() {
            return Ok(());
        }
        let stat = self.view.stat(&self.here_level().at)?;
        if self.who.may(stat.st_uid, stat.st_gid, stat.st_mode, 1) { Ok(()) } else { Err(Errno::ACCESS) }
    }

    /// Says what a name in the innermost directory is.
    fn child(&self, name: &OsStr) -> Result<Child, Errno> {
        let here = self.here_level();
        match here.kind {
            Kind::Plain => {
                let at = rustix::fs::openat(&here.at, name, PLACE, Mode::empty())?;
                if is_link(&rustix::fs::fstat(&at)?) {
                    let text = rustix::fs::readlinkat(&at, "", Vec::new())?;
                    return Ok(Child::Link(OsString::from_vec(text.into_bytes())));
                }
                Ok(Child::Here(at.into()))
            }
            Kind::Processes => processes::child(self.view, &here.at, &here.path, name),
            Kind::System => machine::child(&here.at, &here.path, name),
        }
    }

    /// Returns the link `name` of the innermost directory itself.
    fn here(&self, name: &OsStr) -> Result<Found, Errno> {
        let here = self.here_level();
        let at = rustix::fs::openat(&here.at, name, PLACE, Mode::empty())?;
        Ok(match here.kind {
            Kind::Processes => Found::special(at, Special::Process(below(&here.path, "/proc").join(name))),
            Kind::Plain | Kind::System => at.into(),
        })
    }

    /// Goes into a directory; returns what is no directory, and ends the way.
    fn enter(&mut self, name: &OsStr, found: Found, is_last: bool) -> Result<Option<Found>, Errno> {
        let stat = found.real()?;
        let path = self.here_level().path.join(name);
        let (found, kind) = match self.view.crossing(&stat) {
            Some(mounted) => (rustix::io::fcntl_dupfd_cloexec(&mounted.root, 3)?.into(), mounted.kind),
            None => (found, self.here_level().kind),
        };
        if is_directory(&found.real()?) {
            self.levels.push(Level { at: found.at, path, kind });
            return Ok(None);
        }
        if is_last && !self.directory { Ok(Some(found)) } else { Err(Errno::NOTDIR) }
    }

    fn follow_link(&mut self, text: &OsStr) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        if text.is_empty() {
            return Err(Errno::NOENT);
        }
        let bytes = text.as_bytes();
        if bytes.starts_with(b"/") {
            self.levels = levels_to(self.view, &self.who.root)?;
        }
        self.directory |= self.names.is_empty() && bytes.ends_with(b"/");
        for name in parts(bytes).collect::<Vec<_>>().into_iter().rev() {
            self.names.push_front(name);
        }
        Ok(())
    }

    /// Goes on where a link of `/proc` leads, which no path may.
    fn jump(&mut self, at: OwnedFd, path: Option<PathBuf>, is_last: bool) -> Result<Option<Found>, Errno> {
        if !is_directory(&rustix::fs::fstat(at.as_fd())?) {
            let found = Found::special(at, Special::Descriptor);
            return if is_last && !self.directory { Ok(Some(found)) } else { Err(Errno::NOTDIR) };
        }
        let Some(path) = path else { return if is_last { Ok(Some(at.into())) } else { Err(Errno::NOENT) } };
        self.levels.truncate(1);
        let rest = std::mem::take(&mut self.names);
        self.names.extend(parts(path.as_os_str().as_bytes()));
        self.names.extend(rest);
        Ok(None)
    }
}

/// Returns a path without the place that it is in.
pub(super) fn below(path: &Path, place: &str) -> PathBuf {
    path.strip_prefix(place).unwrap_or(path).to_owned()
}
