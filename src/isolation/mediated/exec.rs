//! execve(2): the task executes the loader, which is then told what to load.
//!
//! The kernel would look the interpreter of a program up in the executor's root, and execute set-id bits of the disk. So
//! the supervisor opens program and interpreter, decides who the process becomes, and the loader (`src/sys/loader`) maps both
//! as the kernel would. Sources: execve(2); Linux, fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{MemfdFlags, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::CAPABILITY;
use super::kin;
use super::people::{Credentials, FileCapabilities};
use super::rewrite::Finish;
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::{Call, number};
use super::view::{Found, Start, kind, reopen};
use crate::sys::Error;
use crate::sys::process::Pid;

/// The loader, as `build.rs` has made it.
const LOADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader"));

/// As many interpreters of interpreters as the kernel takes.
const MOST_SCRIPTS: usize = 5;
/// What of a file is looked at to see what it is. Source: linux/binfmts.h, `BINPRM_BUF_SIZE`.
const BEGINNING: usize = 256;

/// What the loader is told; the same layout stands in `src/sys/loader/main.rs`.
const STRINGS: usize = 16 * 1024;
const TOLD: usize = 4 * 6 + 4 * 4 + 8 * 2 + 16 + STRINGS;

/// A program that is about to be loaded.
#[derive(Debug)]
struct Program {
    file: OwnedFd,
    interpreter: Option<OwnedFd>,
    /// What `AT_EXECFN` says, then what comes before the arguments.
    strings: Vec<OsString>,
    name: OsString,
    /// Where RUN sees it.
    path: OsString,
    who: Credentials,
}

/// What executes programs.
#[derive(Debug)]
pub(super) struct Loader {
    file: OwnedFd,
    /// By process: what the loader will ask for.
    pending: HashMap<i32, Program>,
    /// Processes whose loader has its answer, and maps the page next.
    loading: HashSet<i32>,
}

impl Loader {
    pub(super) fn new() -> Result<Self, Error> {
        let failed = |errno: Errno| Error::from_io("memfd_create(loader)", &errno.into());
        // What vm.memfd_noexec asks for by default would forbid to execute it.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::EXEC;
        let file = rustix::fs::memfd_create("loader", flags)
            .or_else(|_| rustix::fs::memfd_create("loader", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))
            .map_err(failed)?;
        let mut rest = LOADER;
        while !rest.is_empty() {
            let count = rustix::io::write(&file, rest).map_err(failed)?;
            rest = &rest[count..];
        }
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o555)).map_err(failed)?;
        let seals = rustix::fs::SealFlags::all();
        let _as_good_without = rustix::fs::fcntl_add_seals(&file, seals);
        let file = reopen(&file, OFlags::RDONLY).map_err(failed)?;
        Ok(Self { file, pending: HashMap::new(), loading: HashSet::new() })
    }
}

impl Loader {
    /// Tells whether a process executes the loader's file.
    pub(super) fn is_executed_by(&self, task: Pid) -> bool {
        let executed = rustix::fs::stat(format!("/proc/{task}/exe"));
        let same = |executed: Stat, ours: Stat| (executed.st_dev, executed.st_ino) == (ours.st_dev, ours.st_ino);
        executed.is_ok_and(|executed| rustix::fs::fstat(&self.file).is_ok_and(|ours| same(executed, ours)))
    }
}

/// What the beginning of a file says.
enum Format {
    Elf { interpreter: Option<OsString> },
    Script { interpreter: OsString, argument: Option<OsString> },
}

impl Supervisor {
    pub(super) fn execute(&mut self, call: &Call, start: &Start, path: u64, lists: [u64; 2], itself: bool) -> Outcome {
        let path = call.read_path(path)?;
        let (found, shown) = if path.is_empty() {
            if !itself {
                return Err(Errno::NOENT);
            }
            (Found::from(start.open()?), OsString::from(format!("/dev/fd/{}", call.int(0))))
        } else {
            (self.view.find_there(&call.who, start, &path, true)?, path)
        };
        let program = self.prepare(call, found, shown)?;
        let process = kin::process_of(call.task.as_raw());
        let loader = self.listener.insert(call.id, self.loader.file.as_fd(), true).map_err(super::supervisor::errno)?;
        self.loader.pending.insert(process, program);
        let arguments = [
            u64::from(loader.unsigned_abs()),
            self.pages.empty(),
            lists[0],
            lists[1],
            u64::from(libc::AT_EMPTY_PATH.unsigned_abs()),
            self.token,
        ];
        self.rewrite(call, libc::SYS_execveat, arguments, Finish::Exec)
    }

    /// Takes note that a program was not executed after all.
    pub(super) fn forget_program(&mut self, process: i32) {
        self.loader.pending.remove(&process);
    }

    /// Opens all that is needed, and decides who the process will be.
    fn prepare(&self, call: &Call, found: Found, shown: OsString) -> Result<Program, Errno> {
        let name = shown.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let mut prefix: Vec<OsString> = Vec::new();
        let (mut found, mut script) = (found, shown.clone());
        for _ in 0..MOST_SCRIPTS {
            let (file, who) = self.open_program(call, &found)?;
            match format(&file)? {
                Format::Elf { interpreter } => {
                    let interpreter = interpreter.map(|path| self.open_interpreter(call, &path)).transpose()?;
                    let path = super::view::real_path(&file).and_then(|path| self.view.inside(&path));
                    let path = path.map_or_else(|| script.clone(), std::path::PathBuf::into_os_string);
                    let mut strings = vec![shown];
                    strings.append(&mut prefix);
                    let name = OsString::from_vec(name);
                    return Ok(Program { file, interpreter, strings, name, path, who });
                }
                Format::Script { interpreter, argument } => {
                    if prefix.is_empty() {
                        prefix.push(script);
                    }
                    let mut before = vec![interpreter.clone()];
                    before.extend(argument);
                    before.append(&mut prefix);
                    prefix = before;
                    found =
                        self.view.find_there(&call.who, &Start::Directory(call.task.as_raw()), &interpreter, true)?;
                    script = interpreter;
                }
            }
        }
        Err(Errno::LOOP)
    }

    /// Opens a file that is to be executed; who the process is then.
    fn open_program(&self, call: &Call, found: &Found) -> Result<(OwnedFd, Credentials), Errno> {
        let real = found.real()?;
        let (told, row) = self.view.told(real);
        if kind(&told) != libc::S_IFREG || !call.who.may(told.st_uid, told.st_gid, told.st_mode, 1) {
            return Err(Errno::ACCESS);
        }
        // A file in memory has no name, and so no link.
        if real.st_nlink == 0 && is_memory(&found.at) && !self.view.is_mounted(&real) {
            return Err(Errno::ACCESS);
        }
        let ours = self.view.is_ours(&real);
        let set = |bits: u32, id: u32| (ours && told.st_mode & bits == bits).then_some(id);
        let user = set(libc::S_ISUID, told.st_uid);
        let group = set(libc::S_ISGID | libc::S_IXGRP, told.st_gid);
        let capabilities = row.attributes.get(CAPABILITY).and_then(|attribute| FileCapabilities::parse(attribute));
        let who = call.who.execute(user, group, capabilities);
        // A file that is in memory belongs to nobody on a disk.
        Ok((reopen(&found.at, OFlags::RDONLY)?, who))
    }

    fn open_interpreter(&self, call: &Call, path: &OsStr) -> Result<OwnedFd, Errno> {
        let found = self.view.find_there(&call.who, &Start::Directory(call.task.as_raw()), path, true)?;
        if kind(&found.real()?) != libc::S_IFREG {
            return Err(Errno::ACCESS);
        }
        reopen(&found.at, OFlags::RDONLY)
    }

    /// Answers the loader's question.
    pub(super) fn tell_loader(&mut self, call: &Call) -> Outcome {
        let process = call.task.as_raw();
        if usize::try_from(call.argument(2)) != Ok(TOLD) {
            return Err(Errno::INVAL);
        }
        let program = self.loader.pending.remove(&process).ok_or(Errno::INVAL)?;
        let insert =
            |file: &OwnedFd| self.listener.insert(call.id, file.as_fd(), false).map_err(super::supervisor::errno);
        let file = insert(&program.file)?;
        let interpreter = program.interpreter.as_ref().map_or(Ok(-1), insert)?;
        let page = insert(self.pages.file())?;
        let told = tell(&program, [file, interpreter, page], self.pages.place()).ok_or(Errno::TOOBIG)?;
        call.write(call.argument(1), &told)?;
        let mut people = self.view.people.borrow_mut();
        let label = people.with(call.label, program.who)?;
        people.executing(label, &program.path).put_on(call.task)?;
        self.loader.loading.insert(process);
        Ok(Answer::Value(0))
    }

    /// Lets the loader, and nobody else, map the page.
    pub(super) fn map_page(&mut self, call: &Call) -> Outcome {
        let (address, length) = self.pages.place();
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
        let wanted = [address, length, libc::PROT_READ.unsigned_abs().into(), flags.unsigned_abs().into()];
        if call.arguments[..4] != wanted || call.argument(5) != 0 || !self.loader.loading.remove(&call.task.as_raw()) {
            return Err(Errno::INVAL);
        }
        Ok(Answer::Proceed)
    }
}

/// Tells whether a file is of memfd_create(2): such a file of RUN's is not executed, whichever kernel it is.
fn is_memory(at: &OwnedFd) -> bool {
    rustix::fs::readlinkat(rustix::fs::CWD, super::view::again(at), Vec::new())
        .is_ok_and(|path| path.as_bytes().starts_with(b"/memfd:"))
}

/// Writes down what the loader is told; none where there is no room for it.
fn tell(program: &Program, files: [i32; 3], (address, length): (u64, u64)) -> Option<Vec<u8>> {
    let prefix = program.strings.len() - 1;
    let who = &program.who;
    let secure = who.user.real != who.user.effective || who.group.real != who.group.effective;
    let numbers = [files[0], files[1], files[2], i32::try_from(prefix).ok()?, i32::from(prefix > 0), i32::from(secure)];
    let mut told: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let ids = [who.user.real, who.user.effective, who.group.real, who.group.effective];
    told.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    told.extend([address, length].iter().flat_map(|number| number.to_le_bytes()));
    let mut name = [0; 16];
    let given = program.name.as_bytes();
    let count = given.len().min(15);
    name[..count].copy_from_slice(&given[..count]);
    told.extend(name);
    for string in &program.strings {
        told.extend(string.as_bytes());
        told.push(0);
    }
    (told.len() <= TOLD).then(|| {
        told.resize(TOLD, 0);
        told
    })
}

/// Says what a file is that is to be executed.
fn format(file: &OwnedFd) -> Result<Format, Errno> {
    let mut beginning = [0; BEGINNING];
    let count = read_at(file, &mut beginning, 0)?;
    let beginning = &beginning[..count];
    match beginning.strip_prefix(b"#!") {
        Some(line) => script(line),
        None => elf(file, beginning),
    }
}

fn read_at(file: &OwnedFd, to: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < to.len() {
        match rustix::io::pread(file, &mut to[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Reads what comes after `#!`.
fn script(line: &[u8]) -> Result<Format, Errno> {
    let line = match memchr::memchr(b'\n', line) {
        Some(end) => &line[..end],
        // The interpreter's name must end within what the kernel looks at.
        None if line.len() == BEGINNING - 2
            && !line.trim_ascii_start().iter().any(|byte| matches!(byte, b' ' | b'\t')) =>
        {
            return Err(Errno::NOEXEC);
        }
        None => line,
    };
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let text = trim(line);
    let end = text.iter().position(blank).unwrap_or(text.len());
    let argument = trim(&text[end..]);
    if end == 0 {
        return Err(Errno::NOEXEC);
    }
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec());
    Ok(Format::Script { interpreter: owned(&text[..end]), argument: (!argument.is_empty()).then(|| owned(argument)) })
}

fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    let Some(start) = text.iter().position(|byte| !is_blank(byte)) else { return &[] };
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |end| end + 1);
    &text[start..end]
}

/// Reads the headers of a 64-bit program for x86-64. Source: elf(5).
fn elf(file: &OwnedFd, beginning: &[u8]) -> Result<Format, Errno> {
    const PT_INTERP: u64 = 3;
    let of_file = |at: usize, size: usize| number(beginning, at, size);
    let kind_is_known = matches!(of_file(16, 2), 2 | 3);
    if beginning.len() < 64 || !beginning.starts_with(b"\x7fELF\x02\x01") || of_file(18, 2) != 62 || !kind_is_known {
        return Err(Errno::NOEXEC);
    }
    let (table, size, count) = (of_file(32, 8), of_file(54, 2), of_file(56, 2));
    if size != 56 || count == 0 || count > 64 {
        return Err(Errno::NOEXEC);
    }
    let mut headers = vec![0; usize::try_from(size * count).unwrap_or_default()];
    if read_at(file, &mut headers, table)? != headers.len() {
        return Err(Errno::NOEXEC);
    }
    for header in headers.chunks_exact(56) {
        if number(header, 0, 4) == PT_INTERP {
            let length = usize::try_from(number(header, 32, 8)).unwrap_or(usize::MAX);
            if !(2..=super::task::PATH_MAX).contains(&length) {
                return Err(Errno::NOEXEC);
            }
            let mut path = vec![0; length];
            if read_at(file, &mut path, number(header, 8, 8))? != length || path.pop() != Some(0) {
                return Err(Errno::NOEXEC);
            }
            return Ok(Format::Elf { interpreter: Some(OsString::from_vec(path)) });
        }
    }
    Ok(Format::Elf { interpreter: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_script_is_read_as_the_kernel_does() {
        for (line, expected) in [
            (&b"/bin/sh\n"[..], Some(("/bin/sh", None))),
            (b"  /bin/sh \t -e  x \nrest", Some(("/bin/sh", Some("-e  x")))),
            (b"/usr/bin/env python3", Some(("/usr/bin/env", Some("python3")))),
            (b" \n", None),
        ] {
            let found = match script(line) {
                Ok(Format::Script { interpreter, argument }) => {
                    Some((interpreter.into_string().unwrap(), argument.map(|text| text.into_string().unwrap())))
                }
                _ => None,
            };
            let expected = expected.map(|(a, b)| (a.to_owned(), b.map(str::to_owned)));
            assert_eq!(found, expected, "{line:?}");
        }
    }

    #[test]
    fn programs_are_told_from_other_files() {
        let open = |path: &str| OwnedFd::from(std::fs::File::open(path).unwrap());
        let format = |path: &str| format(&open(path));
        assert!(matches!(format("/bin/true"), Ok(Format::Elf { interpreter: Some(_) })));
        assert!(format("/etc/passwd").is_err());
        assert!(LOADER.starts_with(b"\x7fELF"));
    }
}
