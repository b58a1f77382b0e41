//! Sizes, durations and texts, as short as people want them.

use std::time::Duration;

const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];

/// Writes a size with three digits or so: `999 B`, `1.5 kB`, `12.3 MB`.
pub(in crate::cli) fn bytes(size: u64) -> String {
    if size < 1000 {
        return format!("{size} B");
    }
    // In tenths of the unit; rounding up to 1000.0 moves on to the next one.
    let mut tenths = size.saturating_add(50) / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths = (tenths + 500) / 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Writes a duration: `0.04 s`, `12.3 s`, `2 min 3 s`.
pub(super) fn duration(elapsed: Duration) -> String {
    match elapsed.as_millis() {
        0..1000 => format!("{:.2} s", elapsed.as_secs_f64()),
        1000..60_000 => format!("{:.1} s", elapsed.as_secs_f64()),
        _ => format!("{} min {} s", elapsed.as_secs() / 60, elapsed.as_secs() % 60),
    }
}

/// Writes a duration that is not over yet: `12 s`, `2 min 3 s`, `1 h 5 min`.
pub(in crate::cli) fn rough(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Returns whole milliseconds, for programs.
pub(super) fn milliseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Cuts a text to `most` characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_few_digits() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1549, "1.5 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(size), text, "{size}");
        }
    }

    #[test]
    fn durations_have_few_digits() {
        for (milliseconds, text) in [(4, "0.00 s"), (40, "0.04 s"), (12_340, "12.3 s"), (123_456, "2 min 3 s")] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (75, "1 min 15 s"), (3900, "1 h 5 min")] {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }
}
