//! The files of an image, without the image: as one tar, or in a directory.
//!
//! *Invariant: nothing is written outside of the directory, whatever links the image or the directory holds.*

use std::fs::{self, File, FileTimes};
use std::io::{self, BufWriter, PipeReader, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::image::{self, Entry, Inventory, LayerReader, Node, Timestamp, flatten};
use crate::request::{DirectoryMode, Target};
use crate::rootfs::{self, Contents, Fidelity, Rootfs, RootfsKind, Warning};

use super::staged::{Staged, beside};
use super::{Delivery, Error};

/// How much goes through the pipe at a time.
const PIECE: usize = 64 << 10;

/// Writes the files as a tar stream, with the owners that they have in the image.
pub(super) fn write_tar(target: &Target, delivery: &Delivery<'_>, files: &Inventory) -> Result<(), Error> {
    let mut staged = Staged::create(target)?;
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
    if fs::symlink_metadata(path).is_ok() {
        make_room(path, files).map_err(failure("make room for directories in"))?;
        let warnings = unpack(path, delivery, files)?;
        if mode == DirectoryMode::Delete {
            prune(path, Path::new(""), files).map_err(failure("remove what the image does not have from"))?;
        }
        return Ok(warnings);
    }
    let temporary = beside(path);
    // What a killed build has left would become part of this one's files: pods give many the same process id.
    match fs::remove_dir_all(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure("clear the place of")(error)),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&temporary).map_err(failure("create"))?;
    let unpacked = unpack(&temporary, delivery, files);
    let renamed = unpacked.and_then(|warnings| {
        fs::rename(&temporary, path).map_err(failure("rename the files to"))?;
        Ok(warnings)
    });
    if renamed.is_err() {
        // The error that made it useless is told; that it could not be removed adds nothing.
        let _ = fs::remove_dir_all(&temporary);
    }
    renamed
}

/// Removes what stands where the image has directories. In the stream these come after what is in them: a link in such
/// a place would lead the files elsewhere, or be taken away with nothing in its stead.
fn make_room(root: &Path, files: &Inventory) -> io::Result<()> {
    for (path, _) in files.walk(Path::new("")).filter(|(_, node)| node.is_directory()) {
        let place = root.join(path);
        match fs::symlink_metadata(&place) {
            Ok(found) if !found.is_dir() => fs::remove_file(&place)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Unpacks the files below `path`, through a pipe: what flattens reads the layers, perhaps from their registry.
fn unpack(path: &Path, delivery: &Delivery<'_>, files: &Inventory) -> Result<Vec<Warning>, Error> {
    let pipe = |source| Error::Write { action: "make a pipe to", path: path.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(pipe)?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let adjust = |entry: &mut Entry| (entry.uid, entry.gid) = (uid, gid);
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(move || unpack_stream(path, reader));
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

fn unpack_stream(path: &Path, reader: PipeReader) -> Result<Vec<Warning>, Error> {
    let mut rootfs = Rootfs::open(path, Vec::new(), RootfsKind::Plain)?;
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
    flatten(files, &mut open, adjust, output).map_err(|source| Error::Files { source })
}

/// Removes what the image does not have; directories get back their times.
fn prune(root: &Path, relative: &Path, files: &Inventory) -> io::Result<()> {
    let directory = root.join(relative);
    let mut removed = false;
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let path = relative.join(entry.file_name());
        let is_directory = entry.file_type()?.is_dir();
        match files.get(&path) {
            Some(node) if node.is_directory() && is_directory => prune(root, &path, files)?,
            Some(_) => {}
            None if is_directory => {
                fs::remove_dir_all(entry.path())?;
                removed = true;
            }
            None => {
                fs::remove_file(entry.path())?;
                removed = true;
            }
        }
    }
    match files.get(relative).filter(|node| removed && !node.is_implied()) {
        Some(node) => File::open(&directory)?.set_times(FileTimes::new().set_modified(moment(node))),
        None => Ok(()),
    }
}

fn moment(node: &Node) -> SystemTime {
    let Timestamp { seconds, nanoseconds } = node.mtime;
    let (whole, rest) = (Duration::from_secs(seconds.unsigned_abs()), Duration::from_nanos(nanoseconds.into()));
    let whole = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    whole + rest
}
