//! Times as HTTP writes them.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The two obsolete forms, which a recipient must read all the same; both are in UTC.
const OBSOLETE: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Reads an HTTP-date in any of its three forms. Source: RFC 9110 section 5.6.7.
pub fn parse_date(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = DateTimeParser::new().parse_timestamp(text) {
        return Some(moment);
    }
    let moment = OBSOLETE.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
    moment.to_zoned(TimeZone::UTC).ok().map(|moment: Zoned| moment.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_one_time() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_date(text).map(Timestamp::as_second), Some(784_111_777), "{text}");
        }
        for text in ["", "yesterday", "06-Nov-94", "Sun Nov  6 08:49:37"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
