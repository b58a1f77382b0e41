//! Compressors as writers, which use all processors and give the same bytes on any number of them.
//!
//! Knows gzip and zstd; does not know what is compressed. gzip is cut into blocks, each of which becomes a member of its own
//! (`gzip`): libdeflate, which makes them, is faster than what can join blocks, and its members are smaller even so.
//!
//! *Invariant: the bytes depend on the input, the level and the version of the compressing library alone: not on how
//! many threads there are, nor on how the input was cut into writes. Memory is bounded by [`MOST_THREADS`].*

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use zstd::zstd_safe::CParameter;

use super::gzip::Members;
use crate::request::Compression;

/// How much one thread compresses at a time. Changing it changes the digest of every layer.
pub(super) const BLOCK: usize = 512 << 10;

/// More threads than this cost memory (1.5 MiB each) and find no more work: hashing cannot follow them.
const MOST_THREADS: usize = 16;

/// zstd's workers take tens of megabytes each at high levels.
const MOST_ZSTD_THREADS: u32 = 4;

/// How much a zstd worker compresses at a time. Changing it changes the digest of every layer.
const ZSTD_JOB: u32 = 4 << 20;

/// A piece of the input, shared by those who read it.
pub(super) type Block = Arc<Vec<u8>>;

/// Compresses what is written to it into `W`, in other threads; nothing is complete before [`Compressor::finish`].
pub struct Compressor<W> {
    pending: Vec<u8>,
    pipe: Pipe<W>,
}

/// Where blocks go. Threads are only started when there is more than one block.
enum Pipe<W> {
    Idle {
        compression: Compression,
        threads: usize,
        output: W,
    },
    Running(Running<W>),
    /// An error was already returned.
    Broken,
}

struct Running<W> {
    blocks: Input,
    workers: Vec<JoinHandle<()>>,
    /// Writes the output in order.
    writer: JoinHandle<io::Result<W>>,
}

/// How blocks reach the threads.
enum Input {
    Gzip { jobs: SyncSender<Job>, order: SyncSender<Receiver<io::Result<Vec<u8>>>> },
    Serial(SyncSender<Block>),
}

struct Job {
    block: Block,
    done: SyncSender<io::Result<Vec<u8>>>,
}

impl<W: Write + Send + 'static> Compressor<W> {
    /// Compresses into `output` with as many threads as the machine and its cgroup give.
    pub fn new(output: W, compression: Compression) -> Self {
        Self::with_threads(output, compression, thread::available_parallelism().map_or(1, NonZero::get))
    }

    /// Compresses into `output` with `threads` threads; their number does not change the bytes.
    pub fn with_threads(output: W, compression: Compression, threads: usize) -> Self {
        let threads = threads.clamp(1, MOST_THREADS);
        Self { pending: Vec::new(), pipe: Pipe::Idle { compression, threads, output } }
    }

    /// Compresses the rest and returns the output.
    ///
    /// # Errors
    /// When the output could not be written.
    pub fn finish(mut self) -> io::Result<W> {
        let rest = std::mem::take(&mut self.pending);
        self.finish_with(rest)
    }

    /// Compresses `block`, which must have [`BLOCK`] bytes, as none but the last may be shorter.
    pub(super) fn push(&mut self, block: Block) -> io::Result<()> {
        debug_assert!(block.len() == BLOCK && self.pending.is_empty(), "a short block would change the bytes");
        self.pipe = match std::mem::replace(&mut self.pipe, Pipe::Broken) {
            Pipe::Idle { compression, threads, output } => Pipe::Running(Running::start(compression, threads, output)?),
            running @ (Pipe::Running(_) | Pipe::Broken) => running,
        };
        let Pipe::Running(running) = &mut self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
        if running.blocks.send(block) {
            return Ok(());
        }
        // The writer has ended before its time: its error says why.
        match std::mem::replace(&mut self.pipe, Pipe::Broken) {
            Pipe::Running(running) => running.finish(None).and(Err(io::ErrorKind::BrokenPipe.into())),
            Pipe::Idle { .. } | Pipe::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Compresses `rest` as the last block and returns the output.
    pub(super) fn finish_with(&mut self, rest: Vec<u8>) -> io::Result<W> {
        match std::mem::replace(&mut self.pipe, Pipe::Broken) {
            Pipe::Idle { compression, mut output, .. } => {
                compress_alone(&rest, compression, &mut output)?;
                Ok(output)
            }
            Pipe::Running(running) => running.finish(Some(rest)),
            Pipe::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl<W: Write + Send + 'static> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() == BLOCK {
            let block = std::mem::take(&mut self.pending);
            self.push(Arc::new(block))?;
        }
        if self.pending.capacity() == 0 && bytes.len() < BLOCK {
            self.pending.reserve_exact(BLOCK);
        }
        let count = bytes.len().min(BLOCK - self.pending.len());
        self.pending.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Does nothing: a flush in the middle would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W> Drop for Compressor<W> {
    fn drop(&mut self) {
        // Waits for the threads, so that the output is closed when this returns.
        if let Pipe::Running(running) = std::mem::replace(&mut self.pipe, Pipe::Broken) {
            drop(running.blocks);
            for worker in running.workers {
                let _ = worker.join();
            }
            let _ = running.writer.join();
        }
    }
}

impl Input {
    /// Hands a block on; false when nobody takes it any more.
    fn send(&mut self, block: Block) -> bool {
        match self {
            Self::Serial(blocks) => blocks.send(block).is_ok(),
            Self::Gzip { jobs, order } => {
                let (done, result) = sync_channel(1);
                order.send(result).is_ok() && jobs.send(Job { block, done }).is_ok()
            }
        }
    }
}

impl<W: Write + Send + 'static> Running<W> {
    fn start(compression: Compression, threads: usize, output: W) -> io::Result<Self> {
        match compression {
            Compression::Gzip { level } => Self::start_gzip(level, threads, output),
            Compression::Zstd { level } => {
                let (blocks, received) = sync_channel(1);
                let threads = u32::try_from(threads).unwrap_or(1);
                let writer = named("zstd").spawn(move || {
                    let mut encoder = zstd_encoder(output, level, threads)?;
                    write_all_of(&received, &mut encoder)?;
                    encoder.finish()
                })?;
                Ok(Self { blocks: Input::Serial(blocks), workers: Vec::new(), writer })
            }
            Compression::Uncompressed => {
                let (blocks, received) = sync_channel(2);
                let mut output = output;
                let writer = named("layer").spawn(move || write_all_of(&received, &mut output).map(|()| output))?;
                Ok(Self { blocks: Input::Serial(blocks), workers: Vec::new(), writer })
            }
        }
    }

    fn start_gzip(level: u32, threads: usize, mut output: W) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        // What bounds the memory: no more than these blocks are anywhere between the reader and the output.
        let (order, results) = sync_channel::<Receiver<io::Result<Vec<u8>>>>(threads + 1);
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            workers.push(named("gzip").spawn(move || make_members(&queue, level))?);
        }
        let writer = named("gzip").spawn(move || {
            for result in results {
                let member = result.recv().map_err(|_| io::Error::other("a thread that compressed has failed"))??;
                output.write_all(&member)?;
            }
            Ok(output)
        })?;
        Ok(Self { blocks: Input::Gzip { jobs, order }, workers, writer })
    }

    fn finish(mut self, rest: Option<Vec<u8>>) -> io::Result<W> {
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            // A failure shows in the writer's result.
            self.blocks.send(Arc::new(rest));
        }
        drop(self.blocks);
        let failed = |_| io::Error::other("a thread that compressed has failed");
        for worker in self.workers {
            worker.join().map_err(failed)?;
        }
        self.writer.join().map_err(failed)?
    }
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

fn write_all_of(blocks: &Receiver<Block>, output: &mut impl Write) -> io::Result<()> {
    blocks.iter().try_for_each(|block| output.write_all(&block))
}

/// Compresses the whole input, which is shorter than two blocks, in this thread; the same bytes as by many threads.
fn compress_alone(bytes: &[u8], compression: Compression, output: &mut impl Write) -> io::Result<()> {
    match compression {
        Compression::Uncompressed => output.write_all(bytes),
        Compression::Zstd { level } => {
            let mut encoder = zstd_encoder(output, level, 1)?;
            encoder.write_all(bytes)?;
            encoder.finish().map(|_| ())
        }
        Compression::Gzip { level } => output.write_all(&Members::new(level).member(bytes)?),
    }
}

/// From this level on zstd takes a window of up to 128 MiB, and most of a gigabyte for its tables.
const ZSTD_ULTRA: i32 = 20;

/// Window and tables of level 19, which the levels above keep. The window is the one that every decoder is asked to
/// have (RFC 8878, 3.1.1.1.2): a larger one would take its memory on each node that pulls the image.
const ZSTD_LARGEST: [CParameter; 3] = [CParameter::WindowLog(23), CParameter::ChainLog(24), CParameter::HashLog(22)];

/// zstd gives the same bytes for any number of workers, but others for none: there is always one.
///
/// Source: zstd.h, `ZSTD_c_nbWorkers`.
fn zstd_encoder<W: Write>(output: W, level: i32, threads: u32) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(output, level.clamp(1, 22))?;
    encoder.multithread(threads.clamp(1, MOST_ZSTD_THREADS))?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
    if level >= ZSTD_ULTRA {
        ZSTD_LARGEST.into_iter().try_for_each(|parameter| encoder.set_parameter(parameter))?;
    }
    encoder.include_checksum(true)?;
    Ok(encoder)
}

fn make_members(queue: &Mutex<Receiver<Job>>, level: u32) {
    let mut members = Members::new(level);
    loop {
        let next = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = next else { return };
        // Nobody listens when the output has failed.
        let _ = job.done.send(members.member(&job.block));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::image::decompressed;

    const ALL: [Compression; 4] = [
        Compression::Gzip { level: 1 },
        Compression::Gzip { level: 6 },
        Compression::Zstd { level: 3 },
        Compression::Uncompressed,
    ];

    /// Bytes that look a little like text, and a little not.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| if next() < 200 { b"etaoin shrdlu"[usize::from(next()) % 13] } else { next() }).collect()
    }

    fn compressed(bytes: &[u8], compression: Compression, threads: usize, cut: usize) -> Vec<u8> {
        let mut compressor = Compressor::with_threads(Vec::new(), compression, threads);
        for piece in bytes.chunks(cut) {
            compressor.write_all(piece).expect("memory");
        }
        compressor.finish().expect("memory")
    }

    fn undone(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        decompressed(bytes).and_then(|mut reader| reader.read_to_end(&mut plain)).expect("whole");
        plain
    }

    #[test]
    fn bytes_depend_neither_on_threads_nor_on_writes() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK / 2] {
            let bytes = sample(length);
            for compression in ALL {
                let once = compressed(&bytes, compression, 1, usize::MAX);
                assert!(undone(&once) == bytes, "{compression:?} {length}");
                for (threads, cut) in [(2, usize::MAX), (1, 1000), (7, 100_001)] {
                    let again = compressed(&bytes, compression, threads, cut);
                    assert!(once == again, "{compression:?} {length} {threads} {cut}");
                }
            }
        }
    }

    #[test]
    fn gzip_has_a_member_for_each_block_with_a_fixed_header() {
        let bytes = sample(5 * BLOCK / 2);
        let gzip = compressed(&bytes, Compression::Gzip { level: 5 }, 2, usize::MAX);
        let (mut plain, mut rest) = (Vec::new(), &gzip[..]);
        for _ in 0..3 {
            assert_eq!(rest[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
            flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut plain).expect("a member");
        }
        assert!(plain == bytes && rest.is_empty());
    }

    /// What the documents say of the default.
    #[test]
    fn the_default_is_no_larger_than_one_stream_of_zlib() {
        let bytes = include_bytes!("../../Cargo.lock").repeat(8);
        let gzip = compressed(&bytes, Compression::Gzip { level: 5 }, 2, usize::MAX).len();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&bytes).expect("memory");
        let zlib = encoder.finish().expect("memory").len();
        assert!(gzip < zlib + zlib * 3 / 100, "{gzip} {zlib}");
    }

    /// Another decoder than the one that belongs to our encoder.
    #[test]
    fn gzip_itself_reads_it() {
        let bytes = sample(5 * BLOCK / 2);
        let mut child = std::process::Command::new("gzip")
            .arg("-dc")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("gzip is part of every Debian");
        let gzip = compressed(&bytes, Compression::Gzip { level: 3 }, 2, usize::MAX);
        let mut input = child.stdin.take().expect("piped");
        let writing = thread::spawn(move || input.write_all(&gzip));
        let output = child.wait_with_output().expect("runs");
        writing.join().expect("no panic").expect("written");
        assert!(output.status.success() && output.stdout == bytes);
    }

    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_at_once_or_at_the_end() {
        let bytes = sample(6 * BLOCK);
        for compression in ALL {
            for room in [0, 100_000] {
                let mut compressor = Compressor::with_threads(Full(room), compression, 2);
                let error =
                    compressor.write_all(&bytes).and_then(|()| compressor.finish().map(|_| ())).expect_err("full");
                assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{compression:?}");
            }
            let mut abandoned = Compressor::with_threads(Vec::new(), compression, 2);
            abandoned.write_all(&bytes).expect("memory");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_input_survives(bytes in prop::collection::vec(any::<u8>(), 0..3000), repeats in 1..400_usize, level in 1..=9_u32) {
            let bytes = bytes.repeat(repeats);
            let gzip = compressed(&bytes, Compression::Gzip { level }, 3, usize::MAX);
            prop_assert!(undone(&gzip) == bytes);
        }
    }
}
