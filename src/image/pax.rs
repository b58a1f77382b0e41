//! PAX records: `<length> <key>=<value>\n`, whose values may hold any byte.
//!
//! Knows their form; does not know what a key means, but for times and the GNU sparse keys' numbers.
//!
//! Source: POSIX.1-2017 `pax`, "pax Extended Header". The `tar` crate's own iterator splits at newlines, which
//! an extended attribute's value may contain.

use super::Timestamp;
use super::header::Fault;

/// The prefix of a key that holds an extended attribute.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

const MALFORMED: Fault = "its PAX records are malformed";

/// Calls `each` with the key and value of every record.
pub(super) fn for_each<'a>(
    mut data: &'a [u8],
    mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    while !data.is_empty() {
        let space = memchr::memchr(b' ', data).ok_or(MALFORMED)?;
        let length = usize::try_from(unsigned(&data[..space])?).map_err(|_| MALFORMED)?;
        let record = data.get(space + 1..length).ok_or(MALFORMED)?;
        let (b'\n', record) = record.split_last().ok_or(MALFORMED)? else { return Err(MALFORMED) };
        let equals = memchr::memchr(b'=', record).ok_or(MALFORMED)?;
        each(&record[..equals], &record[equals + 1..])?;
        data = &data[length..];
    }
    Ok(())
}

/// Appends one record.
pub(super) fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    // The length counts its own digits too.
    let mut length = rest + 1;
    while length != rest + decimal_digits(length) {
        length = rest + decimal_digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Reads a number without sign.
pub(super) fn unsigned(text: &[u8]) -> Result<u64, Fault> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or("a number in its PAX records is malformed")
}

/// Reads `[-]seconds[.fraction]`; digits beyond nanoseconds are cut off.
pub(super) fn time(text: &[u8]) -> Result<Timestamp, Fault> {
    const FAULT: Fault = "a time in its PAX records is malformed";
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = unsigned(parts.next().unwrap_or_default()).map_err(|_| FAULT)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(FAULT);
    }
    let padded = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = padded.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    let seconds = i64::try_from(whole).map_err(|_| FAULT)?;
    Ok(match (is_negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds },
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// Writes a time as [`time`] reads it, with as few digits as needed.
pub(super) fn time_text(time: Timestamp) -> String {
    let (sign, seconds, nanoseconds) = match (time.seconds < 0, time.nanoseconds) {
        (true, 0) => ("-", time.seconds.unsigned_abs(), 0),
        (true, nanoseconds) => ("-", (time.seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
        (false, nanoseconds) => ("", time.seconds.unsigned_abs(), nanoseconds),
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn records_survive(pairs in prop::collection::vec(("[a-zA-Z.]{1,120}", prop::collection::vec(any::<u8>(), 0..1200)), 0..5)) {
            let mut data = Vec::new();
            for (key, value) in &pairs {
                append(&mut data, key.as_bytes(), value);
            }
            let mut read = Vec::new();
            for_each(&data, |key, value| {
                read.push((String::from_utf8(key.to_vec()).expect("ascii"), value.to_vec()));
                Ok(())
            }).expect("well-formed");
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn times_survive(seconds in -10_000_000_000_i64..10_000_000_000, nanoseconds in 0..1_000_000_000_u32) {
            let moment = Timestamp { seconds, nanoseconds };
            prop_assert_eq!(time(time_text(moment).as_bytes()), Ok(moment));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in
            ["x", "5 a=b", "6 a=b\n ", "3 a=b\n", "99 a=b\n", "6 a=bb\n", "6 abc\n", "-6 a=b\n", " a=b\n", "1 \n"]
        {
            assert!(for_each(data.as_bytes(), |_, _| Ok(())).is_err(), "{data:?}");
        }
        assert!(for_each(b"6 a=b\n", |_, _| Ok(())).is_ok());
    }

    #[test]
    fn times_have_a_sign_and_a_fraction() {
        let moment = |seconds, nanoseconds| Some(Timestamp { seconds, nanoseconds });
        for (text, expected) in [
            ("0", moment(0, 0)),
            ("12.5", moment(12, 500_000_000)),
            ("12.", moment(12, 0)),
            ("1.0000000019", moment(1, 1)),
            ("-1", moment(-1, 0)),
            ("-0.25", moment(-1, 750_000_000)),
            ("", None),
            ("1.x", None),
            ("1e5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()).ok(), expected, "{text}");
        }
    }
}
