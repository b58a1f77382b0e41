//! Go's durations, `1h30m`, `1.5s`, `300ms`, in nanoseconds.

/// Reads a duration in nanoseconds; none if it is not one or does not fit.
///
/// Source: `time.ParseDuration` of Go's standard library.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        total = total.checked_add(amount(number, nanoseconds(unit)?)?)?;
        rest = after;
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

fn nanoseconds(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal number with a unit, rounding down.
fn amount(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    // No unit has more than 13 digits, so later ones are less than a nanosecond.
    let fraction = &fraction[..fraction.len().min(18)];
    let digits = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = digits(fraction)?.checked_mul(unit)? / scale;
    digits(whole)?.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_gos() {
        let second = 1_000_000_000;
        for (text, expected) in [
            ("0", Some(0)),
            ("+5s", Some(5 * second)),
            ("-1ms", Some(-1_000_000)),
            ("1h2m3s", Some(3723 * second)),
            ("1.5s", Some(1_500_000_000)),
            (".5m", Some(30 * second)),
            ("2.s", Some(2 * second)),
            ("3us4µs5μs6ns", Some(12_006)),
            ("0.1234567890123456789s", Some(123_456_789)),
            ("", None),
            ("-", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1 s", None),
            ("1d", None),
            ("99999999999h", None),
        ] {
            assert_eq!(super::parse(text), expected, "{text:?}");
        }
    }
}
