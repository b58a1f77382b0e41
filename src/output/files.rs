//! The files of an image, without the image: as one tar, or in a directory.
//!
//! *Invariant: nothing is written outside of the directory, whatever links the image or the directory holds.*

use std::ffi::OsStr;
use std::io::{self, BufWriter, PipeReader, Write};
use std::path::Path;

use crate::image::{self, Entry, Inventory, LayerReader, flatten};
use crate::request::{DirectoryMode, Target};
use crate::rootfs::{self, Contents, Fidelity, FileKind, Rootfs, Tree, Warning};

use super::staged::Staged;
use super::{Delivery, Error};

/// How much goes through the pipe at a time.
const PIECE: usize = 64 << 10;

/// Writes the files as a tar stream, with the owners that they have in the image.
pub(super) fn write_tar(target: &Target, delivery: &Delivery<'_>, files: &Inventory) -> Result<(), Error> {
    let mut staged = Staged::create(target, delivery.places)?;
    flattened(delivery, files, &|_| {}, &mut staged)?;
    staged.finish()
}

/// Writes the files into a directory. They belong to who runs this, as BuildKit has it: elsewhere the image's users
/// mean nothing, and who ordered the files could not remove them.
///
/// A directory that is not there yet appears whole. In one that is, files are added and replaced.
pub(super) fn write_directory(
    path: &Path,
    mode: DirectoryMode,
    delivery: &Delivery<'_>,
    files: &Inventory,
) -> Result<Vec<Warning>, Error> {
    let failure = |action| move |source| Error::Write { action, path: path.to_owned(), source };
    let folder = delivery.places.folder(path).map_err(failure("open"))?;
    if let Some(directory) = folder.open().map_err(failure("open"))? {
        let tree = Tree::of(directory, path)?;
        make_room(&tree, files)?;
        let warnings = unpack(tree.try_clone()?, delivery, files)?;
        if mode == DirectoryMode::Delete {
            prune(&tree, Path::new(""), files)?;
        }
        return Ok(warnings);
    }
    let staged = folder.stage().map_err(failure("create"))?;
    let directory = staged.open().map_err(failure("open"))?;
    let warnings = unpack(Tree::of(directory, path)?, delivery, files)?;
    staged.finish().map_err(failure("rename the files to"))?;
    Ok(warnings)
}

/// Removes what stands where the image has directories. In the stream these come after what is in them: a link in such
/// a place would lead the files elsewhere, or be taken away with nothing in its stead.
fn make_room(tree: &Tree, files: &Inventory) -> Result<(), rootfs::Error> {
    for (path, _) in files.walk(Path::new("")).filter(|(_, node)| node.is_directory()) {
        if path.as_os_str().is_empty() {
            continue;
        }
        if tree.stat(&path)?.is_some_and(|stat| stat.kind != FileKind::Directory) {
            tree.remove(&path)?;
        }
    }
    Ok(())
}

/// Unpacks the files into `tree`, through a pipe: what flattens reads the layers, perhaps from their registry.
fn unpack(tree: Tree, delivery: &Delivery<'_>, files: &Inventory) -> Result<Vec<Warning>, Error> {
    let path = tree.path().to_owned();
    let pipe = |source| Error::Write { action: "make a pipe to", path: path.clone(), source };
    let (reader, writer) = io::pipe().map_err(pipe)?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let adjust = |entry: &mut Entry| (entry.uid, entry.gid) = (uid, gid);
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(move || unpack_stream(tree, reader));
        let mut writer = BufWriter::with_capacity(PIECE, writer);
        let flattened = flattened(delivery, files, &adjust, &mut writer);
        let flushed = writer.flush();
        drop(writer);
        let unpacked = unpacking.join().map_err(|_| Error::Task("unpacking has panicked".to_owned()))?;
        match flattened {
            // The pipe is only broken by what unpacks: a full disk, perhaps.
            Ok(()) | Err(Error::Files { source: image::Error::Write { .. } }) => {
                let warnings = unpacked?;
                flushed.map_err(pipe).map(|()| warnings)
            }
            Err(error) => Err(error),
        }
    })
}

fn unpack_stream(tree: Tree, reader: PipeReader) -> Result<Vec<Warning>, Error> {
    let mut rootfs = Rootfs::of(tree);
    let mut reader = LayerReader::new(reader);
    Ok(rootfs::unpack(&mut rootfs, &mut reader, Fidelity::Lossy, &mut Contents::default())?)
}

fn flattened(
    delivery: &Delivery<'_>,
    files: &Inventory,
    adjust: &dyn Fn(&mut Entry),
    output: &mut dyn Write,
) -> Result<(), Error> {
    let layers = &delivery.image.layers;
    let mut open = |number: u32| (delivery.open)(&layers[number as usize]);
    flatten(files, &mut open, adjust, output, &delivery.stop).map_err(|source| Error::Files { source })
}

/// Removes what the image does not have; directories get back their times.
fn prune(tree: &Tree, relative: &Path, files: &Inventory) -> Result<(), rootfs::Error> {
    let directory = tree.directory(relative)?;
    let mut removed = false;
    for name in directory.names()? {
        let name = name.as_os_str();
        let path = relative.join(name);
        let is_directory = directory.stat(name)?.is_some_and(|stat| stat.kind == FileKind::Directory);
        match files.get(&path) {
            Some(node) if node.is_directory() && is_directory => prune(tree, &path, files)?,
            Some(_) => {}
            None => removed |= directory.remove_tree(name)?,
        }
    }
    match files.get(relative).filter(|node| removed && !node.is_implied()) {
        Some(node) => directory.set_mtime(OsStr::new("."), node.mtime),
        None => Ok(()),
    }
}
