//! A real pseudo-terminal with a program on it, and what a person would see there.
//!
//! The screen is that of terminals that wrap lines anew when they are made narrower, as nearly all do: it keeps lines as
//! they were written, and knows how many rows each is at the moment.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const ROWS: u16 = 24;

/// What was written, and how wide the terminal was then.
type Pieces = Vec<(u16, Vec<u8>)>;

/// A program whose standard error is a terminal.
pub(crate) struct Terminal {
    controller: OwnedFd,
    child: Child,
    columns: Arc<Mutex<u16>>,
    pieces: Arc<Mutex<Pieces>>,
    reader: JoinHandle<()>,
}

/// What was on the terminal.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// The lines that are there at the end.
    pub(crate) lines: Vec<String>,
    /// Each line that was taken away again.
    pub(crate) passing: Vec<String>,
    /// Whether there was a colour.
    pub(crate) has_colours: bool,
}

impl Terminal {
    /// Starts a program on a terminal of so many columns.
    pub(crate) fn start(command: &mut Command, columns: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&controller).expect("it is ours");
        unlockpt(&controller).expect("it is ours");
        let name = ptsname(&controller, Vec::new()).expect("it has a name");
        let end = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it can be opened");
        set_size(&controller, columns);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(end));
        let child = command.spawn().expect("it starts");
        // The command keeps the terminal open otherwise, and its end would never be seen.
        command.stderr(Stdio::null());
        let (columns, pieces) = (Arc::new(Mutex::new(columns)), Arc::<Mutex<Pieces>>::default());
        let mut file = File::from(controller.try_clone().expect("it can be cloned"));
        let (width, list) = (Arc::clone(&columns), Arc::clone(&pieces));
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            // Reading fails once nobody has the other end.
            while let Ok(count) = file.read(&mut piece) {
                let width = *width.lock().expect("no thread panics with it");
                list.lock().expect("no thread panics with it").push((width, piece[..count].to_vec()));
            }
        });
        Self { controller, child, columns, pieces, reader }
    }

    /// Waits until the terminal has shown `text`.
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.all().contains(text) {
            assert!(Instant::now() < end, "`{text}` was not shown:\n{}", self.all());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Gives the terminal another width.
    pub(crate) fn resize(&self, columns: u16) {
        let mut width = self.columns.lock().expect("no thread panics with it");
        set_size(&self.controller, columns);
        *width = columns;
    }

    fn all(&self) -> String {
        let pieces = self.pieces.lock().expect("no thread panics with it");
        pieces.iter().map(|(_, piece)| String::from_utf8_lossy(piece)).collect()
    }

    /// Waits for the end of the program.
    pub(crate) fn finish(mut self) -> Seen {
        let status = self.child.wait().expect("it is ours");
        self.reader.join().expect("it reads to the end");
        let mut screen = Screen::default();
        for (columns, piece) in self.pieces.lock().expect("no thread panics with it").iter() {
            screen.columns = usize::from(*columns);
            screen.pending.extend_from_slice(piece);
            screen.take();
        }
        let lines = screen.lines.into_iter().filter(|line| !line.is_empty()).collect();
        Seen { code: status.code(), lines, passing: screen.passing, has_colours: screen.has_colours }
    }
}

fn set_size(terminal: &OwnedFd, columns: u16) {
    let size = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}

/// Lines as they were written, and where the cursor is: always at the beginning or the end of one.
#[derive(Default)]
struct Screen {
    columns: usize,
    pending: Vec<u8>,
    lines: Vec<String>,
    cursor: usize,
    passing: Vec<String>,
    has_colours: bool,
}

impl Screen {
    /// Takes what has come, but for a character or sequence whose end has not.
    fn take(&mut self) {
        let text = match std::str::from_utf8(&self.pending) {
            Ok(text) => text.to_owned(),
            Err(error) => String::from_utf8_lossy(&self.pending[..error.valid_up_to()]).into_owned(),
        };
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let length = if first == '\x1b' {
                let Some(end) = rest[1..].find(|c: char| c.is_ascii_alphabetic()) else { break };
                self.sequence(&rest[2..=end], rest.as_bytes()[end + 1]);
                end + 2
            } else {
                self.character(first);
                first.len_utf8()
            };
            rest = &rest[length..];
        }
        self.pending.drain(..text.len() - rest.len());
    }

    fn line(&mut self) -> &mut String {
        if self.lines.len() <= self.cursor {
            self.lines.resize(self.cursor + 1, String::new());
        }
        &mut self.lines[self.cursor]
    }

    fn character(&mut self, character: char) {
        match character {
            '\n' => self.cursor += 1,
            '\r' => {}
            other => self.line().push(other),
        }
    }

    fn sequence(&mut self, parameter: &str, letter: u8) {
        match letter {
            b'm' => self.has_colours = true,
            b'A' => {
                let mut rows: usize = parameter.parse().expect("a number of rows");
                while rows > 0 {
                    self.cursor -= 1;
                    let length = self.lines[self.cursor].chars().count();
                    let height = length.div_ceil(self.columns).max(1);
                    rows = rows.checked_sub(height).unwrap_or_else(|| {
                        panic!(
                            "a part of a line would be taken away: {:?} of {:?}",
                            self.lines[self.cursor], self.lines
                        )
                    });
                }
            }
            b'J' => {
                let gone = self.lines.split_off(self.cursor.min(self.lines.len()));
                self.passing.extend(gone.into_iter().filter(|line| !line.is_empty()));
            }
            other => panic!("an unknown sequence: {parameter}{}", char::from(other)),
        }
    }
}
