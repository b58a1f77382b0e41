//! The rows at the bottom of a terminal that show what is going on; the log scrolls above them.
//!
//! Each change takes the rows away and writes them anew, in one write, so that nothing flickers. No row is as wide as
//! the terminal: none ever wraps when it is written. Where the terminal was made narrower since, those of it that wrap
//! lines anew (nearly all) have made several rows of one, and that is counted.
//!
//! *Invariant: what was printed above is never touched.*

use std::time::{Duration, Instant};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::going::Row;

/// How often the rows change: more often than anybody reads would only slow the terminal.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// How many rows there are at most.
const MOST: usize = 12;
/// Wider rows are hard to read: the eye loses the line between its two ends.
const WIDEST: usize = 120;

/// How many columns and rows a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// Returns how large the terminal is now that is standard error; the usual size where it does not tell.
pub(super) fn size_of_standard_error() -> Size {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(Size { columns: 80, rows: 24 }, |size| Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// The rows that are shown now.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The width of each, in columns.
    shown: Vec<usize>,
    last: Option<Instant>,
}

impl Live {
    /// Returns what takes the rows away, so that something can be printed in their place.
    pub(super) fn erase(&mut self, size: Size) -> String {
        let shown = std::mem::take(&mut self.shown);
        let rows: usize = shown.iter().map(|width| width.div_ceil(size.columns.max(1)).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\r\x1b[{rows}A\x1b[J") }
    }

    /// Tells whether it is time to draw.
    pub(super) fn is_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= INTERVAL / 2)
    }

    /// Returns what draws the rows in place of those that are shown.
    pub(super) fn draw(&mut self, head: &str, rows: &[Row], size: Size) -> String {
        let mut text = self.erase(size);
        self.last = Some(Instant::now());
        if rows.is_empty() {
            return text;
        }
        // The last column stays free, as some terminals wrap when it is written.
        let width = size.columns.saturating_sub(1).clamp(1, WIDEST);
        let most = MOST.min(size.rows.saturating_sub(2)).max(1);
        let mut lines = vec![cut(head, width)];
        lines.extend(rows.iter().take(most).map(|row| fitted(row, width)));
        if rows.len() > most {
            lines.push(cut(&format!("… and {} more", rows.len() - most), width));
        }
        for line in lines {
            self.shown.push(line.width());
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// Writes a row in so many columns: what it is on the left, how far it is on the right.
fn fitted(row: &Row, width: usize) -> String {
    let step = row.step.as_ref().map(|step| format!("{step} ")).unwrap_or_default();
    let unfinished = row.unfinished.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
    let left = printable(&format!("{step}{}{unfinished}", row.what));
    let columns = row.measure.in_columns();
    let least = left.width().min(width / 2);
    let right = columns.iter().find(|right| right.width() + 1 + least <= width).unwrap_or(&columns[2]);
    let Some(room) = width.checked_sub(right.width() + 1).filter(|room| *room > 0) else {
        return cut(&left, width);
    };
    let left = cut(&left, room);
    let gap = room - left.width() + 1;
    format!("{left}{:gap$}{right}", "")
}

/// Cuts a text to so many columns.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut cut, mut used) = (String::new(), 1);
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(character);
    }
    cut.push('…');
    cut
}

/// Takes out what would move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::going::Measure;
    use super::*;

    fn row(what: &str, done: u64, total: Option<u64>) -> Row {
        let measure = Measure { phase: None, done, total, elapsed: Duration::from_secs(6) };
        Row { step: Some("[app 2/5]".to_owned()), what: what.to_owned(), measure, unfinished: None }
    }

    #[test]
    fn a_row_fits_however_few_columns_there_are() {
        let rows = [
            row("RUN make", 0, None),
            row("COPY 日本語日本語日本語日本語日本語 /x", 12_000_000, Some(40_000_000)),
            Row { unfinished: Some("\x1b[31m 40%\t".to_owned()), ..row("RUN curl", 0, None) },
        ];
        for columns in 1..=200 {
            let drawn = Live::default().draw("building", &rows, Size { columns, rows: 24 });
            assert!(!drawn.contains('\x1b'), "{drawn:?}");
            for line in drawn.lines() {
                assert!(line.width() < columns.max(2), "{columns}: {line:?}");
            }
        }
        let at = |columns| Live::default().draw("building 6 s", &rows[..2], Size { columns, rows: 24 });
        assert_eq!(at(20), "building 6 s\n[app 2/5] RUN … 6 s\n[app 2/5] COPY… 30%\n");
        let full = "[======              ]  30% 12.0 MB/40.0 MB 2.0 MB/s 6 s 14 s left\n";
        let wide = at(200);
        assert!(wide.ends_with(&format!("日本語 /x      {full}")), "{wide}");
        let narrow = at(80);
        assert!(narrow.ends_with(" 30% 12.0 MB/40.0 MB 6 s\n") && !narrow.contains('='), "{narrow}");
    }

    #[test]
    fn what_is_shown_is_taken_away_whatever_became_of_the_width() {
        let mut live = Live::default();
        assert_eq!(live.erase(Size { columns: 80, rows: 24 }), "");
        let rows = [row("RUN make", 0, None)];
        live.draw("building", &rows, Size { columns: 80, rows: 24 });
        assert_eq!(live.erase(Size { columns: 100, rows: 24 }), "\r\x1b[2A\x1b[J");
        live.draw("building", &rows, Size { columns: 80, rows: 24 });
        // 79 columns in 30 are three rows, and the head is one.
        assert_eq!(live.erase(Size { columns: 30, rows: 24 }), "\r\x1b[4A\x1b[J");
        assert_eq!(live.erase(Size { columns: 30, rows: 24 }), "");
    }

    #[test]
    fn a_low_terminal_has_few_rows() {
        let rows: Vec<Row> = (0..20).map(|number| row(&format!("RUN {number}"), 0, None)).collect();
        let drawn = Live::default().draw("building", &rows, Size { columns: 60, rows: 6 });
        assert_eq!(drawn.lines().count(), 6, "{drawn}");
        assert!(drawn.ends_with("… and 16 more\n"), "{drawn}");
    }
}
