//! One question to a service, asked until it is answered.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Refusal, Wrong};
use crate::http::{self, Agent, Attempt, CONTENT_TYPE, Call, HeaderValue, Method, StatusCode, Url};

/// Answers are smaller: a key, a signature, a page of versions.
const LARGEST_ANSWER: usize = 8 << 20;
/// How much of a refusal is read.
const LARGEST_REFUSAL: usize = 8 << 10;

/// Makes a question: what has a body is a POST.
pub(super) fn question(url: &Url, body: Option<&Value>) -> Call {
    let Some(body) = body else { return Call::new(Method::GET, url.clone()) };
    let json = HeaderValue::from_static("application/json");
    let mut call = Call::new(Method::POST, url.clone()).header(CONTENT_TYPE, json);
    call.body = body.to_string().into();
    call
}

/// Reads what stands under `error` in a refusal; the default where nothing does.
pub(super) fn told<E: DeserializeOwned + Default>(body: &[u8]) -> E {
    #[derive(Deserialize)]
    struct Told<E> {
        error: E,
    }
    serde_json::from_slice::<Told<E>>(body).map(|told| told.error).unwrap_or_default()
}

/// What can be made of an answer.
pub(super) enum Read<T> {
    /// What was wanted.
    Whole(T),
    /// It was damaged on its way, in this manner: ask again.
    #[cfg(any(feature = "google", test))]
    Damaged(&'static str),
}

/// Asks a service until it answers, refuses for good, or the patience is over.
pub(super) async fn ask<A, T>(
    agent: &Agent,
    make: impl AsyncFn() -> Result<Call, Wrong>,
    read: impl Fn(A) -> Read<T>,
    refusal: impl Fn(StatusCode, &[u8]) -> Refusal,
) -> Result<T, Wrong>
where
    A: DeserializeOwned,
{
    let mut attempts = agent.attempts(agent.retry());
    loop {
        // Made anew each time: a signature of a request, and a token, hold for some time only.
        let call = make().await?;
        let named = || format!("{} {}", call.method, http::redact(&call.url));
        let sent = agent.send_in(&call, attempts.turn()).await;
        let attempt = match sent {
            Ok(response) if response.status().is_success() => match response.bytes(LARGEST_ANSWER).await {
                Ok(body) => match serde_json::from_slice(&body).map(&read) {
                    Ok(Read::Whole(value)) => Attempt::Final(Ok(value)),
                    #[cfg(any(feature = "google", test))]
                    Ok(Read::Damaged(why)) => {
                        let value = Err(Wrong::damaged(&call.url, why));
                        Attempt::Passing { value, why: format!("{}: it {why}", named()), asked: None }
                    }
                    // The parser's message is left out, because it quotes the text.
                    Err(_) => Attempt::Final(Err(Wrong::unclear(&call.url, "answered what is not understood"))),
                },
                Err(error) => failed(error),
            },
            Ok(response) => {
                let (status, asked) = (response.status(), http::retry_after(response.headers()));
                let refusal = refusal(status, &response.beginning(LARGEST_REFUSAL).await);
                let value = Err(Wrong::refused(&call, status, &refusal));
                match refusal.passes || http::is_transient_status(status) {
                    true => {
                        let why = format!("{} was answered with {status} {}", named(), refusal.code);
                        Attempt::Passing { value, why: why.trim_end().to_owned(), asked }
                    }
                    false => Attempt::Final(value),
                }
            }
            Err(error) => failed(error),
        };
        if let Some(result) = attempts.settle(attempt).await {
            return result;
        }
    }
}

fn failed<T>(error: http::Error) -> Attempt<Result<T, Wrong>> {
    match error.is_transient() {
        true => Attempt::Passing { why: error.in_short(), value: Err(Wrong::unreachable(error)), asked: None },
        false => Attempt::Final(Err(Wrong::unreachable(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::error::{KmsError, Service, What};
    use super::*;
    use crate::http::testing::{Reply, Server};
    use crate::http::{AUTHORIZATION, Meaning, Options, Retry};

    const SERVICE: Service = Service { who: "with nothing", credentials: "none", rights: "a right", keys: "any" };

    /// Asks a server on `address` for a number, at most three times; the number 1 is a damaged one.
    async fn asked(address: &str) -> Result<u64, KmsError> {
        let retry = Retry { attempts: 3, first_delay: Duration::from_millis(1), ..Retry::default() };
        let agent = Agent::new(Options { retry, ..Options::default() }).expect("an agent");
        let make = || async {
            let token = http::secret_header("Bearer hunter2").expect("text");
            let url = format!("http://{address}/key").parse().expect("a URL");
            Ok(Call::new(Method::GET, url).header(AUTHORIZATION, token))
        };
        let read = |number: u64| if number == 1 { Read::Damaged("answered in pieces") } else { Read::Whole(number) };
        let refusal = |status: StatusCode, body: &[u8]| {
            let (code, message) = ("Code".to_owned(), String::from_utf8_lossy(body).into_owned());
            let what = if status.as_u16() == 403 { What::Right } else { What::Other };
            Refusal { what, code, message, passes: status.as_u16() == 400 }
        };
        ask(&agent, make, read, refusal).await.map_err(|wrong| KmsError::new("kms://key", wrong, &SERVICE))
    }

    #[tokio::test]
    async fn what_passes_is_asked_again_and_what_does_not_is_told() {
        let busy = |first: fn() -> Reply| {
            let count = AtomicUsize::new(0);
            Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => first(),
                _ => Reply::new(200).body("7"),
            })
        };
        let rows: [fn() -> Reply; 5] = [
            || Reply::new(429),
            || Reply::new(400).body("throttled"),
            || Reply::new(200).body("1"),
            || Reply::new(200).body("7777777").cut_after(1),
            Reply::hang_up,
        ];
        for row in rows {
            let server = busy(row).await;
            assert_eq!(asked(&server.address).await.expect("a number"), 7, "{:?}", row());
            assert_eq!(server.seen().len(), 3);
        }
        type Row = (fn() -> Reply, usize, Meaning, &'static str);
        let rows: [Row; 5] = [
            (|| Reply::new(403).body("not\nhunter2"), 1, Meaning::Denied, "403 Forbidden Code: not … (with nothing)"),
            (|| Reply::new(404).body("no"), 1, Meaning::Wrong, "404 Not Found Code: no"),
            (|| Reply::new(503), 3, Meaning::Transient, "503 Service Unavailable Code"),
            (|| Reply::new(200).body("1"), 3, Meaning::Transient, "/key answered in pieces"),
            (|| Reply::new(200).body("{hunter2"), 1, Meaning::Wrong, "answered what is not understood"),
        ];
        for (reply, count, meaning, told) in rows {
            let server = Server::start(move |_| reply()).await;
            let error = asked(&server.address).await.expect_err(told);
            assert!(error.to_string().ends_with(told), "{error}");
            assert!(!error.to_string().contains("hunter2") && error.to_string().contains("kms://key"), "{error}");
            assert_eq!((server.seen().len(), error.meaning()), (count, meaning), "{error}");
            assert_eq!(error.hint().is_some(), meaning == Meaning::Denied, "{error}");
        }
        let nowhere = asked("127.0.0.1:1").await.expect_err("nobody is there");
        assert_eq!(nowhere.meaning(), Meaning::Transient);
        let cause = std::error::Error::source(&nowhere).expect("a cause").to_string();
        assert!(
            nowhere.to_string().contains("cannot be reached") && cause.contains("127.0.0.1:1"),
            "{nowhere}: {cause}"
        );
    }
}
