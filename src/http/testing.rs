//! A scripted server on loopback for tests: it answers each request as a function says, badly if told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Method and path, as `GET /v2/`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap_or_default())
    }
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Closes the connection instead of answering.
    pub(crate) fn hang_up() -> Self {
        Self::new(0)
    }

    /// Never answers.
    pub(crate) fn silence() -> Self {
        Self::new(1)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Closes the connection after `length` bytes of the body.
    pub(crate) fn cut_after(mut self, length: usize) -> Self {
        self.cut = Some(length);
        self
    }
}

/// The server; it ends with the test's runtime.
pub(crate) struct Server {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

impl Server {
    pub(crate) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), log.clone()));
            }
        });
        Self { address, seen }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("lock").clone()
    }

    /// Method and path of all requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Request::line).collect()
    }
}

async fn serve(stream: TcpStream, script: Arc<Script>, log: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        let reply = script(&request);
        let is_head = request.method == "HEAD";
        log.lock().expect("lock").push(request);
        match reply.status {
            0 => return,
            1 => std::future::pending().await,
            _ => {}
        }
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        let has_length = reply.headers.iter().any(|(name, _)| name == "content-length");
        if !has_length && reply.status != 204 {
            head += &format!("content-length: {}\r\n", reply.body.len());
        }
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
        let body = if is_head { &[] } else { body };
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(body).await.is_err() {
            return;
        }
        if reply.cut.is_some() {
            // Let what was sent arrive before the end does.
            let _ = stream.flush().await;
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, headers, body })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::*;
    use super::*;

    fn agent(change: impl FnOnce(&mut Options)) -> Agent {
        let retry = Retry { attempts: 3, first_delay: Duration::from_millis(1), ..Retry::default() };
        let mut options = Options { retry, ..Options::default() };
        change(&mut options);
        Agent::new(options).expect("agent")
    }

    fn get(url: &str) -> Call {
        Call::new(Method::GET, Url::parse(url).expect("url"))
    }

    #[tokio::test]
    async fn an_agent_says_who_it_is_and_retries_what_is_transient() {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::hang_up(),
            1 => Reply::new(503),
            _ => Reply::new(200).body("hello"),
        })
        .await;
        let agent = agent(|options| options.upstream = Some("ci/1\n2".to_owned()));
        let response = agent.send_retrying(&get(&format!("http://{}/", server.address))).await.expect("answer");
        assert_eq!(response.bytes(5).await.expect("body"), "hello");
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0].header("user-agent"), concat!("yadokari/", env!("CARGO_PKG_VERSION"), " ci/1_2"));
    }

    #[tokio::test]
    async fn retries_end_with_the_last_answer_or_error() {
        let server = Server::start(|request| match request.target.as_str() {
            "/busy" => Reply::new(503).body("busy"),
            "/denied" => Reply::new(403),
            _ => Reply::hang_up(),
        })
        .await;
        let agent = agent(|_| ());
        let url = |path: &str| get(&format!("http://{}{path}", server.address));
        assert_eq!(agent.send_retrying(&url("/busy")).await.expect("answer").status(), 503);
        assert_eq!(agent.send_retrying(&url("/denied")).await.expect("answer").status(), 403);
        let error = agent.send_retrying(&url("/gone?token=secret")).await.expect_err("no answer");
        assert!(error.is_transient() && !error.to_string().contains("secret"), "{error}");
        assert_eq!(server.seen().len(), 3 + 1 + 3);
    }

    #[tokio::test]
    async fn a_redirect_to_another_origin_carries_no_credentials() {
        let other = Server::start(|_| Reply::new(200).body("blob")).await;
        let location = format!("http://{}/blob?sig=secret", other.address);
        let server = Server::start(move |request| match request.target.as_str() {
            "/a" => Reply::new(302).header("location", "/b"),
            "/b" => Reply::new(307).header("location", location.clone()),
            _ => Reply::new(302).header("location", "/loop"),
        })
        .await;
        let url = |path: &str| get(&format!("http://{}{path}", server.address));
        let call = url("/a").header(AUTHORIZATION, HeaderValue::from_static("Basic eA=="));
        let call = call.header(HeaderName::from_static("range"), HeaderValue::from_static("bytes=1-"));
        let agent = agent(|_| ());
        assert_eq!(agent.send(&call).await.expect("answer").bytes(10).await.expect("body"), "blob");
        assert_eq!(server.seen()[1].header("authorization"), "Basic eA==");
        assert_eq!(other.seen()[0].header("authorization"), "");
        assert_eq!(other.seen()[0].header("range"), "bytes=1-");
        let error = agent.send(&url("/loop")).await.expect_err("a loop");
        assert!(matches!(error, Error::Redirect { .. }) && !error.is_transient(), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_is_used_but_not_for_its_exceptions() {
        let proxy = Server::start(|_| Reply::new(200).body("proxied")).await;
        let server = Server::start(|_| Reply::new(200).body("direct")).await;
        let agent = agent(|options| {
            options.proxies.http = Some(format!("http://user:secret@{}", proxy.address));
            options.proxies.exceptions = Some("direct.example".to_owned());
        });
        let body = async |url: String| agent.send(&get(&url)).await.expect("answer").bytes(9).await.expect("body");
        assert_eq!(body("http://registry.example/v2/".to_owned()).await, "proxied");
        assert_eq!(body(format!("http://{}/", server.address)).await, "direct");
        assert_eq!(proxy.seen()[0].target, "http://registry.example/v2/");
        let bad = Options {
            proxies: Proxies { http: Some("http://u:secret@".into()), ..Proxies::default() },
            ..Options::default()
        };
        let error = Agent::new(bad).expect_err("no proxy");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }

    #[tokio::test]
    async fn silence_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/", listener.local_addr().expect("address"));
        let short = Duration::from_millis(50);
        let agent = agent(|options| options.timeouts = Timeouts { connect: short, idle: short, commit: short });
        let error = agent.send(&get(&url)).await.expect_err("silence");
        assert!(matches!(error, Error::Timeout { .. }) && error.is_transient(), "{error}");
        let call = Call::new(Method::PUT, Url::parse(&url).expect("url"));
        let endless = futures_util::stream::pending();
        let error = agent.send_stream(&call, (10, endless), Turn::default()).await.expect_err("silence");
        assert!(error.to_string().contains("no progress"), "{error}");
        let body = futures_util::stream::once(async { Ok(Bytes::from_static(b"0123456789")) });
        let error = agent.send_stream(&call, (10, body), Turn::default()).await.expect_err("silence");
        assert!(error.to_string().contains("no answer"), "{error}");
    }

    #[tokio::test]
    async fn a_host_without_address_is_not_tried_again() {
        let agent = agent(|options| options.resolv_conf = "/nonexistent/resolv.conf".into());
        let error = agent.send_retrying(&get("http://registry.example/")).await.expect_err("no servers");
        assert!(!error.is_transient(), "{error:?}");
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_address_that_it_leads_to() {
        let directory = tempfile::tempdir().expect("directory");
        let hosts = directory.path().join("hosts");
        let server = Server::start(|_| Reply::new(200).body("here")).await;
        let port = server.address.rsplit(':').next().expect("a port").to_owned();
        let text = "169.254.169.254 metadata.test\n::ffff:169.254.1.1 mapped.test\n127.0.0.1 home.test\n\
                    169.254.1.1 both.test\n127.0.0.1 both.test\n";
        std::fs::write(&hosts, text).expect("write");
        let (given, leads) = (hosts.clone(), format!("http://home.test:{port}/"));
        let agent = agent(|options| options.hosts_file = hosts);
        for name in ["metadata.test", "mapped.test"] {
            let error = agent.send_retrying(&get(&format!("http://{name}:1/?x=secret"))).await.expect_err(name);
            assert!(matches!(error, Error::Address { .. }) && !error.to_string().contains("secret"), "{error:?}");
            assert!(
                error.to_string().contains("169.254") && error.to_string().contains("--allow-link-local"),
                "{error}"
            );
            let error = agent.connect(name, 1).await.expect_err(name);
            assert!(matches!(error, Error::Address { .. }), "{error:?}");
        }
        // Of several addresses those that are allowed are tried.
        agent.send(&get(&format!("http://both.test:{port}/"))).await.expect("the other address");
        agent.send(&get(&leads)).await.expect("the user may name this machine");
        let away = NamedBy::Server(Url::parse("http://away.test/").expect("url"));
        let error = agent.send(&get(&leads).named_by(away.clone())).await.expect_err("another server may not");
        assert!(matches!(error, Error::Address { .. }), "{error:?}");
        let open =
            Agent::new(Options { hosts_file: given, allow_link_local: true, ..Options::default() }).expect("agent");
        open.send(&get(&leads).named_by(away)).await.expect("allowed");
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up_in_the_time_of_the_series() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/", listener.local_addr().expect("address"));
        let second = Duration::from_secs(1);
        let agent = agent(|options| {
            options.timeouts = Timeouts { connect: second, idle: second, commit: second * 2 };
            options.retry = Retry { attempts: 6, total: second * 4, ..options.retry };
        });
        for (call, least) in [(get(&url), 4), (Call::new(Method::PUT, Url::parse(&url).expect("url")), 3)] {
            let begin = std::time::Instant::now();
            let error = agent.send_retrying(&call).await.expect_err("silence");
            assert!(error.is_transient(), "{error}");
            let spent = begin.elapsed();
            assert!(spent > second * (least - 1) && spent < second * 6, "{} {spent:?}", call.method);
        }
    }
}
