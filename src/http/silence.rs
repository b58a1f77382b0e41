//! Waiting for the other side: how long at most, and telling it while it lasts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::redact;
use crate::progress::{Event, Reporter};

/// After how long a wait is told.
const NOTICE: Duration = Duration::from_secs(10);

/// Bounds waits, and tells the long ones.
#[derive(Clone)]
pub(super) struct Silence(pub(super) Arc<dyn Reporter>);

impl fmt::Debug for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Silence")
    }
}

impl Silence {
    /// Waits for what comes, `limit` at most; none when it did not come. `what` stands before the URL in what is told.
    pub(super) async fn bound<T>(
        &self,
        what: &str,
        url: &Url,
        limit: Duration,
        coming: impl Future<Output = T>,
    ) -> Option<T> {
        let mut coming = std::pin::pin!(coming);
        if limit <= NOTICE {
            return tokio::time::timeout(limit, coming).await.ok();
        }
        if let Ok(value) = tokio::time::timeout(NOTICE, &mut coming).await {
            return Some(value);
        }
        self.tell(what, url, limit);
        tokio::time::timeout(limit - NOTICE, coming).await.ok()
    }

    /// Tells a wait that has lasted for [`NOTICE`].
    pub(super) fn tell(&self, what: &str, url: &Url, limit: Duration) {
        let what = format!("{what} {}", redact(url));
        self.0.report(Event::Silence { what: &what, since: NOTICE, limit });
    }

    /// Returns when a wait that began `since` is told; none for those that end before.
    pub(super) fn notice(limit: Duration) -> Option<Duration> {
        (limit > NOTICE).then_some(NOTICE)
    }
}
