//! Which files are read, and how: by their paths, and by how they begin.

use super::file::Parse;
use super::readers::rpm::Database;
use super::readers::{apk, composer, copyright, dotnet, dpkg, gem, locks, npm, os_release, python};
use super::text::Lines;

/// How a file is read.
pub(super) enum Chosen {
    /// It may be a program; its first bytes tell.
    Program,
    /// Line by line, of any length.
    Lines(fn(path: &[u8]) -> Lines),
    /// As a whole, where it has no more than `most` bytes.
    Whole { most: u64, parse: Parse },
    /// As a Java archive, of any length.
    Jar,
    /// As a database of rpm.
    Rpm(Database),
    /// Not at all; the reason is told.
    Unread(&'static str),
}

/// The largest file that describes one package.
const LARGEST_DESCRIPTION: u64 = 1 << 20;
/// The largest file that lists packages, and is read as a whole.
const LARGEST_LIST: u64 = 32 << 20;
/// No program is smaller.
const SMALLEST_PROGRAM: u64 = 1024;

const JAVA_ARCHIVES: [&[u8]; 7] = [b".jar", b".war", b".ear", b".par", b".sar", b".jpi", b".hpi"];

/// Tells whether a file of this path and size in bytes is one that its path alone makes interesting.
pub fn is_record(path: &[u8], size: u64) -> bool {
    choose(path, size).is_some_and(|chosen| !matches!(chosen, Chosen::Program))
}

/// Decides by its path and size what a regular file is; none where nothing of it can matter.
pub(super) fn choose(path: &[u8], size: u64) -> Option<Chosen> {
    let (directory, name) = match memchr::memrchr(b'/', path) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    let system = of_system(path, directory, name, size);
    if system.is_some() {
        return system;
    }
    // Nothing at all is in an empty file.
    let language = of_language(directory, name);
    if language.is_some() {
        return language.filter(|_| size > 0);
    }
    (size >= SMALLEST_PROGRAM).then_some(Chosen::Program)
}

/// What package managers of distributions keep.
fn of_system(path: &[u8], directory: &[u8], name: &[u8], size: u64) -> Option<Chosen> {
    Some(match (directory, name) {
        (b"etc" | b"usr/lib", b"os-release") => Chosen::Lines(|_| Lines::new(os_release::Reader::default())),
        (b"var/lib/dpkg", b"status") => Chosen::Lines(|_| Lines::new(dpkg::Reader::default())),
        (b"var/lib/dpkg/status.d", name) if !name.ends_with(b".md5sums") => {
            Chosen::Lines(|_| Lines::new(dpkg::Reader::default()))
        }
        (b"lib/apk/db" | b"usr/lib/apk/db", b"installed") => Chosen::Lines(|_| Lines::new(apk::Reader::default())),
        (b"var/lib/rpm" | b"usr/lib/sysimage/rpm" | b"usr/share/rpm", name) => rpm(name, size)?,
        (b"var/lib/rpmmanifest", b"container-manifest-2") => {
            Chosen::Unread("a list of rpm packages that stands in place of their database is not read")
        }
        (_, b"copyright") if path.starts_with(b"usr/share/doc/") => {
            Chosen::Lines(|_| Lines::new(copyright::Reader::default()))
        }
        (_, b"desc") if path.starts_with(b"var/lib/pacman/local/") => Chosen::Unread("packages of pacman are not read"),
        (_, name) if directory.ends_with(b"conda-meta") && name.ends_with(b".json") => {
            Chosen::Unread("packages of conda are not read")
        }
        _ => return None,
    })
}

fn rpm(name: &[u8], size: u64) -> Option<Chosen> {
    Some(match name {
        b"rpmdb.sqlite" => Chosen::Rpm(Database::Sqlite),
        b"Packages.db" => Chosen::Rpm(Database::Ndb),
        b"Packages" if size > 0 => {
            Chosen::Unread("an rpm database in Berkeley DB's form is not read: what it lists is not in this document")
        }
        b"rpmdb.sqlite-wal" if size > 0 => {
            Chosen::Unread("the rpm database was not closed: what its log holds is not in this document")
        }
        _ => return None,
    })
}

/// What package managers of languages keep.
fn of_language(directory: &[u8], name: &[u8]) -> Option<Chosen> {
    let list = |parse| Chosen::Whole { most: LARGEST_LIST, parse };
    Some(match name {
        b"METADATA" if directory.ends_with(b".dist-info") && python::is_installed(directory) => {
            Chosen::Lines(|_| Lines::new(python::Reader::default()))
        }
        b"PKG-INFO"
            if (directory.ends_with(b".egg-info") || directory.ends_with(b".egg/EGG-INFO"))
                && python::is_installed(directory) =>
        {
            Chosen::Lines(|_| Lines::new(python::Reader::default()))
        }
        name if name.ends_with(b".egg-info") && python::is_installed(directory) => {
            Chosen::Lines(|_| Lines::new(python::Reader::default()))
        }
        b"package.json" if npm::is_package(directory) => {
            Chosen::Whole { most: LARGEST_DESCRIPTION, parse: npm::package }
        }
        b"package-lock.json" | b"npm-shrinkwrap.json" if locks::counts(directory) => list(locks::npm),
        b"yarn.lock" if locks::counts(directory) => Chosen::Lines(|_| Lines::new(locks::Yarn::default())),
        b"pnpm-lock.yaml" if locks::counts(directory) => Chosen::Lines(|_| Lines::new(locks::Pnpm::default())),
        b"Cargo.lock" if locks::counts(directory) => Chosen::Lines(|_| Lines::new(locks::Cargo::default())),
        b"installed.json" if directory.ends_with(b"/composer") => list(composer::installed),
        name if name.ends_with(b".gemspec") && gem::is_installed(directory) => {
            Chosen::Lines(|path| Lines::new(gem::Reader::new(path)))
        }
        name if name.ends_with(b".deps.json") => list(dotnet::dependencies),
        name if JAVA_ARCHIVES.iter().any(|end| name.len() > end.len() && name.ends_with(end)) => Chosen::Jar,
        _ => return None,
    })
}
