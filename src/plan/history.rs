//! The texts that BuildKit writes into an image's history, which are Go's ways to print values.

use crate::oci::Healthcheck;

/// Prints words as Go's `%q` does a list of strings: `["a" "b"]`.
pub(super) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// Prints words as Go's `%v` does a list of strings: `[a b]`.
pub(super) fn listed(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// Prints a health check as Go's `%+v` does the struct.
pub(super) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        listed(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries
    )
}

/// Prints the command line of a RUN: the build args in force, then the words.
pub(super) fn run(arguments: &[(String, String)], argv: &[String]) -> String {
    let mut words = Vec::new();
    if !arguments.is_empty() {
        words.push(format!("|{}", arguments.len()));
        words.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend_from_slice(argv);
    format!("RUN {} # buildkit", words.join(" "))
}

fn quote(word: &str) -> String {
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() && c.is_ascii() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Prints nanoseconds as Go prints a duration: `1h0m0s`, `1.5s`, `100ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let (sign, total) =
        if nanoseconds < 0 { ("-", nanoseconds.unsigned_abs()) } else { ("", nanoseconds.unsigned_abs()) };
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        format!("{sign}{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => fraction(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(total, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{sign}{minutes}m{}", seconds.trim_start_matches('-')),
                (_, _) => format!("{sign}{hours}h{minutes}m{}", seconds.trim_start_matches('-')),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (30_000_000_000, "30s"),
            (1_500_000_000, "1.5s"),
            (100_000_000, "100ms"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_000_000_000, "1h1m1s"),
            (1_500, "1.5µs"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }

    #[test]
    fn words_print_as_in_go() {
        let words = ["sh".to_owned(), "-c".to_owned(), "say \"hi\"\n".to_owned()];
        assert_eq!(quoted(&words), r#"["sh" "-c" "say \"hi\"\n"]"#);
        assert_eq!(listed(&words[..2]), "[sh -c]");
        assert_eq!(run(&[("A".into(), "1".into())], &words[..2]), "RUN |1 A=1 sh -c # buildkit");
    }
}
