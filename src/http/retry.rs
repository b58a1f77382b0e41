//! When a failed request is made again: the policy as data, and the state of one series of attempts.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::parse_date;

/// How often and how fast a transient failure is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// The wait before the second attempt; each further one is twice as long.
    pub first_delay: Duration,
    /// The longest wait between two attempts, unless the server asks for more.
    pub longest_delay: Duration,
    /// The time within which attempts may start, waits that the server asked for included.
    pub total: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(20),
            total: Duration::from_secs(180),
        }
    }
}

impl Retry {
    /// Returns the wait before the next attempt, or none when it is time to give up.
    ///
    /// `failures` counts the attempts that failed, `spent` is the time since the first one, `asked` what the
    /// server asked for, and `jitter` a number from 0 to 255 that spreads clients over time.
    pub fn delay(&self, failures: u32, spent: Duration, asked: Option<Duration>, jitter: u8) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doubled = self.first_delay.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        let own = doubled.min(self.longest_delay);
        // Between half of the delay and all of it.
        let spread = own / 2 + own / 2 * u32::from(jitter) / 255;
        let delay = asked.map_or(spread, |asked| asked.max(spread));
        (spent + delay <= self.total).then_some(delay)
    }
}

/// One series of attempts.
#[derive(Debug)]
pub struct Backoff {
    retry: Retry,
    failures: u32,
    since: Instant,
}

impl Backoff {
    /// Starts a series.
    pub fn new(retry: Retry) -> Self {
        Self { retry, failures: 0, since: Instant::now() }
    }

    /// Waits before the next attempt; `false` when there shall be none.
    pub async fn pause(&mut self, asked: Option<Duration>) -> bool {
        self.failures += 1;
        match self.retry.delay(self.failures, self.since.elapsed(), asked, random_byte()) {
            Some(delay) => {
                tokio::time::sleep(delay).await;
                true
            }
            None => false,
        }
    }

    /// Starts anew after progress was made.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.since = Instant::now();
    }
}

/// Tells whether a status says "later": timeouts, too many requests, and a server or gateway in trouble.
pub fn is_transient_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Reads `Retry-After`: seconds, or a date, which counts from the answer's own `Date`.
///
/// Source: RFC 9110 section 10.2.3. The server's clock on both sides makes ours irrelevant.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = parse_date(headers.get(DATE)?.to_str().ok()?)?;
    let seconds = parse_date(text)?.as_second() - now.as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Returns a byte that differs between processes and calls; the standard library seeds each hasher so.
fn random_byte() -> u8 {
    RandomState::new().build_hasher().finish().to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        attempts: 4,
        first_delay: Duration::from_secs(1),
        longest_delay: Duration::from_secs(3),
        total: Duration::from_secs(60),
    };

    #[test]
    fn delays_double_up_to_the_longest_and_end_after_the_attempts() {
        let delays: Vec<_> = (1..=4).map(|n| RETRY.delay(n, Duration::ZERO, None, 255).map(|d| d.as_secs())).collect();
        assert_eq!(delays, [Some(1), Some(2), Some(3), None]);
        assert_eq!(RETRY.delay(1, Duration::ZERO, None, 0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn the_server_is_obeyed_within_the_total_time() {
        let asked = |seconds| RETRY.delay(1, Duration::from_secs(10), Some(Duration::from_secs(seconds)), 255);
        assert_eq!(asked(30), Some(Duration::from_secs(30)));
        assert_eq!(asked(0), Some(Duration::from_secs(1)), "never faster than the policy");
        assert_eq!(asked(51), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let headers = |after: &str, date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().expect("header"));
            headers.insert(DATE, date.parse().expect("header"));
            headers
        };
        let date = "Fri, 20 Nov 2026 10:00:00 GMT";
        for (text, seconds) in [
            ("7", Some(7)),
            ("Fri, 20 Nov 2026 10:02:00 GMT", Some(120)),
            ("Fri, 20 Nov 2026 09:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(&headers(text, date)).map(|d| d.as_secs()), seconds, "{text}");
        }
        assert_eq!(retry_after(&headers("Fri, 20 Nov 2026 10:02:00 GMT", "?")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn only_some_statuses_are_transient() {
        let is = |code: u16| is_transient_status(StatusCode::from_u16(code).expect("status"));
        assert!([408, 429, 500, 502, 503, 504].into_iter().all(is));
        assert!(![200, 301, 400, 401, 403, 404, 416, 501].into_iter().any(is));
    }
}
