//! When a failed request is made again: the policy as data, and one series of attempts, which decides, tells and waits.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::parse_date;
use crate::progress::{Event, Reporter};

/// The least time that an attempt gets when the series is nearly over.
const LEAST: Duration = Duration::from_millis(100);

/// How often and how fast a transient failure is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// The wait before the second attempt; each further one is twice as long.
    pub first_delay: Duration,
    /// The longest wait between two attempts, unless the server asks for more.
    pub longest_delay: Duration,
    /// Attempts start only within this time, which includes all waits.
    pub total: Duration,
    /// When a series ends of which this is a part, if it is one of another.
    pub until: Option<Instant>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(20),
            total: Duration::from_secs(120),
            until: None,
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

/// What became of one attempt: of the last one, the value is handed on whatever it is.
pub enum Attempt<T> {
    /// There is nothing to try again.
    Final(T),
    /// It failed in a way that may pass.
    Passing {
        /// What to hand on if this was the last attempt.
        value: T,
        /// What failed, to what and how, in one line without secrets.
        why: String,
        /// The wait that the server asked for.
        asked: Option<Duration>,
    },
}

/// One attempt of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How long it may take; none where its own limits hold alone.
    pub limit: Option<Duration>,
    /// Its number, from 1.
    pub attempt: u32,
}

impl Default for Turn {
    /// The only attempt.
    fn default() -> Self {
        Self { limit: None, attempt: 1 }
    }
}

/// One series of attempts at one thing.
pub struct Attempts {
    retry: Retry,
    failures: u32,
    since: Instant,
    reporter: Arc<dyn Reporter>,
}

impl Attempts {
    /// Starts a series; each wait is told to the reporter.
    pub fn new(retry: Retry, reporter: Arc<dyn Reporter>) -> Self {
        Self { retry, failures: 0, since: Instant::now(), reporter }
    }

    /// Takes what became of an attempt: returns it when it is final or the patience is over, and waits otherwise.
    ///
    /// An attempt gets the time of [`Attempts::limit`], if that is less than it would have anyway.
    pub async fn settle<T>(&mut self, attempt: Attempt<T>) -> Option<T> {
        match attempt {
            Attempt::Final(value) => Some(value),
            Attempt::Passing { value, why, asked } => (!self.again(&why, asked).await).then_some(value),
        }
    }

    /// Takes note of a failure that may pass, tells it, and waits before the next attempt; `false` when there shall be
    /// none.
    pub async fn again(&mut self, why: &str, asked: Option<Duration>) -> bool {
        self.failures += 1;
        let delay = self.retry.delay(self.failures, self.since.elapsed(), asked, random_byte());
        let fits = |delay: &Duration| self.retry.until.is_none_or(|until| Instant::now() + *delay <= until);
        let Some(wait) = delay.filter(fits) else { return false };
        let (attempt, attempts) = (self.failures + 1, self.retry.attempts);
        self.reporter.report(Event::Retry { why, wait, attempt, attempts });
        tokio::time::sleep(wait).await;
        true
    }

    /// Starts anew after progress was made.
    pub fn progressed(&mut self) {
        self.failures = 0;
        self.since = Instant::now();
    }

    /// Returns which attempt comes next, and how long it may take.
    pub fn turn(&self) -> Turn {
        Turn { limit: self.limit(), attempt: self.failures + 1 }
    }

    /// Returns how long the next attempt may take; none where its own limits hold alone.
    fn limit(&self) -> Option<Duration> {
        let end = self.since + self.retry.total;
        let end = match self.retry.until {
            Some(until) => until.min(end),
            None if self.failures == 0 => return None,
            None => end,
        };
        Some(end.saturating_duration_since(Instant::now()).max(LEAST))
    }

    /// Returns the policy for a series that is a part of this one, and ends with it.
    pub fn rest(&self) -> Retry {
        let end = self.since + self.retry.total;
        let until = self.retry.until.map_or(end, |until| until.min(end));
        Retry { attempts: self.retry.attempts.saturating_sub(self.failures).max(1), until: Some(until), ..self.retry }
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
        until: None,
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

    #[tokio::test]
    async fn a_series_ends_with_its_time_and_each_wait_is_told() {
        let told = Arc::new(Told::default());
        let (total, first_delay) = (Duration::from_millis(600), Duration::from_millis(10));
        let mut attempts = Attempts::new(Retry { total, first_delay, ..RETRY }, told.clone());
        let begin = Instant::now();
        let mut limits = Vec::new();
        let usual = Duration::from_millis(250);
        let last = loop {
            let limit = attempts.limit();
            limits.push(limit);
            // Nothing answers: what an attempt may take, it takes.
            tokio::time::sleep(limit.unwrap_or(usual).min(usual)).await;
            let attempt = Attempt::Passing { value: limits.len(), why: "silence".to_owned(), asked: None };
            if let Some(last) = attempts.settle(attempt).await {
                break last;
            }
        };
        assert_eq!((last, limits[0]), (3, None));
        assert!(limits[1].is_some_and(|limit| limit <= total - usual), "{limits:?}");
        assert!(begin.elapsed() < total + usual, "{:?}", begin.elapsed());
        assert_eq!(told.0.lock().expect("lock").join(" "), "silence 2/4 silence 3/4");
    }

    #[tokio::test]
    async fn a_part_of_a_series_ends_with_it() {
        let whole = Attempts::new(RETRY, Arc::new(crate::progress::Silent));
        let mut part = Attempts::new(
            Retry { until: Some(Instant::now() + Duration::from_secs(20)), ..whole.rest() },
            Arc::new(crate::progress::Silent),
        );
        let limit = part.limit().expect("a part has one");
        assert!(limit > Duration::from_secs(19) && limit <= Duration::from_secs(20), "{limit:?}");
        assert!(!part.again("busy", Some(Duration::from_secs(21))).await);
        part.progressed();
        assert!(
            part.limit().is_some_and(|limit| limit <= Duration::from_secs(20)),
            "progress does not lengthen the whole"
        );
        assert!(whole.rest().until.is_some_and(|until| until <= Instant::now() + RETRY.total));
    }

    #[derive(Default)]
    struct Told(std::sync::Mutex<Vec<String>>);

    impl Reporter for Told {
        fn report(&self, event: Event<'_>) {
            if let Event::Retry { why, attempt, attempts, .. } = event {
                self.0.lock().expect("lock").push(format!("{why} {attempt}/{attempts}"));
            }
        }
    }
}
