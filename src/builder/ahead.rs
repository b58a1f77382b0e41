//! Layers that are read one after the other; those that come next are fetched meanwhile.
//!
//! Each is written to a file while it comes, and read from there as far as it has come: so the one whose turn it is need
//! not be whole, and memory does not grow with layers.
//!
//! *Invariant: what is read, errors included, is what reading one after the other would give. At most [`AHEAD`] layers
//! are on disk at a time, in files without a name, so that nothing of them is ever left.*

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::image::{Layer, LayerContent};

use super::{Error, Services, layers, unpoisoned};

/// How many layers are fetched before their turn.
const AHEAD: usize = 3;
const PIECE: usize = 128 << 10;

/// Calls `act` with the number and the tar stream of each layer, in order.
///
/// # Errors
/// The first of reading or of `act`.
pub(super) fn each_tar(
    services: &Services,
    layers: &[Layer],
    act: &mut dyn FnMut(usize, Box<dyn Read + Send>) -> Result<(), Error>,
) -> Result<(), Error> {
    let is_elsewhere =
        |layer: &Layer| layer.content != LayerContent::Stored && !services.store.contains(&layer.descriptor.digest);
    // The first is wanted at once.
    let later = (1..layers.len()).filter(|number| is_elsewhere(&layers[*number]));
    let queue = Queue::new(later.collect());
    std::thread::scope(|scope| {
        let fetch = || queue.work(services, layers);
        let started = (0..AHEAD.min(queue.spools.len())).map_while(|_| {
            // Where no more threads are allowed, fewer do the same, or each layer is fetched when its turn comes.
            std::thread::Builder::new().spawn_scoped(scope, fetch).ok()
        });
        let is_ahead = started.count() > 0;
        let mut result = Ok(());
        for (number, layer) in layers.iter().enumerate() {
            queue.advance(number);
            let spool = queue.spool(number).filter(|_| is_ahead);
            let tar = match spool {
                // It comes into the store, and is read there when all of it is right.
                Some(spool) if is_lent(layer) => spool.ended().and_then(|()| layers::open_tar(services, layer)),
                Some(spool) => {
                    let blob = Box::new(Follower { spool: Arc::clone(spool), offset: 0 });
                    layers::unpacking(services, blob, layer)
                }
                None => layers::open_tar(services, layer),
            };
            let digest = || layer.descriptor.digest.to_string();
            let tar = tar.map_err(|source| Error::Fetch { digest: digest(), source });
            result = tar.and_then(|tar| act(number, tar));
            if result.is_err() {
                break;
            }
        }
        queue.advance(usize::MAX);
        result
    })
}

/// What is fetched ahead, and how far the reading is.
struct Queue {
    /// In the order of the layers, whose numbers stand beside.
    spools: Vec<(usize, Arc<Spool>)>,
    /// The first that nobody fetches yet.
    next: AtomicUsize,
    /// The number of the layer that is read.
    position: Mutex<usize>,
    moved: Condvar,
}

impl Queue {
    fn new(numbers: Vec<usize>) -> Self {
        let spools = numbers.into_iter().map(|number| (number, Arc::default())).collect();
        Self { spools, next: AtomicUsize::new(0), position: Mutex::new(0), moved: Condvar::new() }
    }

    fn spool(&self, number: usize) -> Option<&Arc<Spool>> {
        self.spools.iter().find(|(known, _)| *known == number).map(|(_, spool)| spool)
    }

    fn advance(&self, position: usize) {
        *unpoisoned(&self.position) = position;
        self.moved.notify_all();
    }

    fn is_over(&self) -> bool {
        *unpoisoned(&self.position) == usize::MAX
    }

    /// Fetches layers until all are, or nobody reads any more.
    fn work(&self, services: &Services, layers: &[Layer]) {
        while let Some((number, spool)) = self.spools.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let far = |position: &mut usize| *number > position.saturating_add(AHEAD);
            let waited = self.moved.wait_while(unpoisoned(&self.position), far);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            if self.is_over() {
                return;
            }
            let fetched = self.fetch(services, &layers[*number], spool);
            spool.end(fetched);
        }
    }

    fn fetch(&self, services: &Services, layer: &Layer, spool: &Spool) -> io::Result<()> {
        if is_lent(layer) {
            return layers::borrow(services, layer);
        }
        let mut blob = layers::open(services, layer, services.keep_layers)?;
        let mut file = nameless(services.store.root())?;
        spool.begin(file.try_clone()?);
        let mut piece = vec![0; PIECE];
        while !self.is_over() {
            let count = blob.read(&mut piece)?;
            if count == 0 {
                break;
            }
            file.write_all(&piece[..count])?;
            spool.grow(count);
        }
        Ok(())
    }
}

/// A layer that comes.
#[derive(Default)]
struct Spool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    file: Option<Arc<File>>,
    /// How many bytes have come.
    size: u64,
    end: Option<io::Result<()>>,
}

impl Spool {
    fn begin(&self, file: File) {
        unpoisoned(&self.state).file = Some(Arc::new(file));
    }

    fn grow(&self, count: usize) {
        unpoisoned(&self.state).size += count as u64;
        self.changed.notify_all();
    }

    fn end(&self, result: io::Result<()>) {
        unpoisoned(&self.state).end = Some(result);
        self.changed.notify_all();
    }

    /// Waits for the end.
    fn ended(&self) -> io::Result<()> {
        let state = self.changed.wait_while(unpoisoned(&self.state), |state| state.end.is_none());
        state.unwrap_or_else(PoisonError::into_inner).end.take().unwrap_or(Ok(()))
    }
}

/// Reads a layer as far as it has come, and waits for the rest.
struct Follower {
    spool: Arc<Spool>,
    offset: u64,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (changed, offset) = (&self.spool.changed, self.offset);
        let nothing_new = |state: &mut State| state.size == offset && state.end.is_none();
        let state = changed.wait_while(unpoisoned(&self.spool.state), nothing_new);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.size == offset {
            // An error is told once; what reads on then finds no end, either.
            let again = Some(Err(io::Error::other("the layer could not be fetched")));
            return match state.end.take() {
                Some(Err(error)) => {
                    state.end = again;
                    Err(error)
                }
                ended => {
                    state.end = ended;
                    Ok(0)
                }
            };
        }
        let (file, there) = (state.file.clone(), state.size - offset);
        drop(state);
        let wanted = usize::try_from(there).unwrap_or(usize::MAX).min(buffer.len());
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let count = file.read_at(&mut buffer[..wanted], offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

fn is_lent(layer: &Layer) -> bool {
    matches!(layer.content, LayerContent::Lent(_))
}

/// Makes a file and takes its name away at once.
fn nameless(directory: &Path) -> io::Result<File> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let path = directory.join(format!("ahead-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_read_while_it_comes() {
        let directory = tempfile::tempdir().expect("tempdir");
        let spool = Arc::new(Spool::default());
        let mut follower = Follower { spool: Arc::clone(&spool), offset: 0 };
        let mut file = nameless(directory.path()).expect("makes");
        assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 0);
        spool.begin(file.try_clone().expect("clones"));
        let mut piece = [0; 8];
        std::thread::scope(|scope| {
            let (first_was_read, wait) = std::sync::mpsc::channel();
            let spool = &spool;
            scope.spawn(move || {
                file.write_all(b"one").expect("writes");
                spool.grow(3);
                wait.recv().expect("it is read before more comes");
                file.write_all(b"two").expect("writes");
                spool.grow(3);
                spool.end(Err(io::Error::other("cut")));
            });
            assert_eq!(follower.read(&mut piece).expect("reads"), 3);
            first_was_read.send(()).expect("it waits");
            assert_eq!(follower.read(&mut piece).expect("reads"), 3);
            assert_eq!(&piece[..3], b"two");
        });
        assert_eq!(follower.read(&mut piece).expect_err("fails").to_string(), "cut");
        assert!(follower.read(&mut piece).is_err(), "a failure is no end");
    }

    #[test]
    fn a_layer_without_bytes_ends() {
        let spool = Arc::new(Spool::default());
        spool.end(Ok(()));
        let mut follower = Follower { spool, offset: 0 };
        assert_eq!(follower.read(&mut [0; 8]).expect("reads"), 0);
        assert_eq!(follower.read(&mut [0; 8]).expect("reads"), 0);
    }
}
