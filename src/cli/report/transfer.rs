//! The one line at the bottom of a terminal that shows what goes over the network.

use std::time::{Duration, Instant};

use super::units;
use crate::progress::Delivery;

const ERASE: &str = "\r\x1b[K";
/// How often the line changes: more often than anybody reads would only slow the terminal.
const INTERVAL: Duration = Duration::from_millis(100);

/// What has been transferred.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    pulled: u64,
    pushed: u64,
    shown: bool,
    last: Option<Instant>,
}

impl Transfer {
    pub(super) fn pulled(&mut self, bytes: u64) {
        self.pulled = self.pulled.saturating_add(bytes);
    }

    pub(super) fn pushed(&mut self, bytes: u64, delivery: Delivery) {
        if delivery == Delivery::Uploaded {
            self.pushed = self.pushed.saturating_add(bytes);
        }
    }

    /// Returns what removes the line, so that another can be printed in its place.
    pub(super) fn erase(&mut self) -> String {
        if std::mem::take(&mut self.shown) { ERASE.to_owned() } else { String::new() }
    }

    /// Returns what draws the line anew, if it is time to.
    pub(super) fn refresh(&mut self) -> Option<String> {
        if self.shown && self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return None;
        }
        self.shown = true;
        self.last = Some(Instant::now());
        let parts = [("pulled", self.pulled), ("pushed", self.pushed)];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, size)| *size > 0)
            .map(|(word, size)| format!("{word} {}", units::bytes(*size)))
            .collect();
        Some(format!("{ERASE}{}", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_drawn_seldom_and_erased_once() {
        let mut transfer = Transfer::default();
        assert_eq!(transfer.erase(), "");
        transfer.pulled(1500);
        assert_eq!(transfer.refresh().as_deref(), Some("\r\x1b[Kpulled 1.5 kB"));
        transfer.pushed(2000, Delivery::Uploaded);
        transfer.pushed(9000, Delivery::Mounted);
        assert_eq!(transfer.refresh(), None, "too soon");
        assert_eq!(transfer.erase(), ERASE);
        assert_eq!(transfer.refresh().as_deref(), Some("\r\x1b[Kpulled 1.5 kB, pushed 2.0 kB"));
    }
}
