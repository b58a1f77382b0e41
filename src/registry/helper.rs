//! Credential helpers: programs that know a registry's secret.
//!
//! Source: <https://github.com/docker/docker-credential-helpers>: `docker-credential-NAME get` reads the
//! server's name from stdin and writes JSON to stdout, or a message with a status other than zero.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::credentials::{Secret, find_program};

const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LARGEST_ANSWER: u64 = 1 << 20;

/// What a helper said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Secret(Secret),
    /// It works and knows nothing about the server.
    Unknown,
    /// It could not be run, or said something else; with the reason.
    Failed(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    username: String,
    secret: String,
}

/// Asks a helper about a server.
pub(super) async fn get(directories: &[PathBuf], helper: &str, server: &str) -> Answer {
    let program = format!("docker-credential-{helper}");
    // A slash would make it a path: a config.json names helpers, it does not run arbitrary files.
    let found = if helper.contains('/') { None } else { find_program(directories, &program) };
    let Some(path) = found else {
        return Answer::Failed("there is no such program on PATH".to_owned());
    };
    let server = server.to_owned();
    let run = tokio::task::spawn_blocking(move || run(&path, &server, LONGEST_WAIT));
    match run.await {
        Ok(Ok((true, output))) => understand(&output),
        Ok(Ok((false, output))) => refusal(&output),
        Ok(Err(reason)) => Answer::Failed(reason),
        Err(_) => Answer::Failed("the task that ran it was ended".to_owned()),
    }
}

/// Runs the helper; returns whether it succeeded, and its output.
fn run(program: &Path, server: &str, longest: Duration) -> Result<(bool, Vec<u8>), String> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let result = converse(&mut child, server, longest);
    if result.is_err() {
        // It may have ended by itself by now; either way nothing of it must stay.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn converse(child: &mut Child, server: &str, longest: Duration) -> Result<(bool, Vec<u8>), String> {
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input fails with a better message than "broken pipe".
        let _ = stdin.write_all(server.as_bytes());
    }
    let deadline = Instant::now() + longest;
    let timed_out = || format!("no answer within {} s", longest.as_secs());
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut output = Vec::new();
            let result = stdout.take(LARGEST_ANSWER).read_to_end(&mut output).map(|_| output);
            // Nobody listens any more after the deadline.
            let _ = sender.send(result);
        });
    }
    let output = receiver.recv_timeout(longest).map_err(|_| timed_out())?.map_err(|e| e.to_string())?;
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => return Ok((status.success(), output)),
            None if Instant::now() >= deadline => return Err(timed_out()),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn understand(output: &[u8]) -> Answer {
    // The parser's message is left out, because it quotes the text.
    let Ok(Wire { username, secret }) = serde_json::from_slice(output) else {
        return Answer::Failed("its answer is not the JSON of a credential".to_owned());
    };
    if secret.is_empty() {
        return Answer::Unknown;
    }
    if username == "<token>" {
        return Answer::Secret(Secret::IdentityToken(secret));
    }
    Answer::Secret(Secret::Password { user: username, password: secret })
}

fn refusal(output: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    if text.contains("credentials not found") {
        return Answer::Unknown;
    }
    if text.contains("Secret") {
        return Answer::Failed("it failed, and printed what may be a credential".to_owned());
    }
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    Answer::Failed(if shown.is_empty() { "it said nothing".to_owned() } else { shown })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a shell script. Another process does it: were it this one, a child that another test starts at
    /// that moment could inherit the open file, and running the script would fail with ETXTBSY.
    pub(in super::super) fn write_program(path: &Path, script: &str) {
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut stdin = writer.stdin.take().expect("a pipe");
        write!(stdin, "#!/bin/sh\n{script}\n").expect("write");
        drop(stdin);
        assert!(writer.wait().expect("wait").success());
    }

    #[test]
    fn a_helper_that_does_not_answer_is_ended_in_time() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("helper");
        write_program(&path, "exec sleep 60");
        let start = Instant::now();
        let error = run(&path, "x", Duration::from_millis(100)).expect_err("it sleeps");
        assert!(start.elapsed() < Duration::from_secs(20) && error.contains("no answer"), "{error}");
        write_program(&path, "exec >&-; exec sleep 60");
        let error = run(&path, "x", Duration::from_millis(100)).expect_err("it sleeps");
        assert!(start.elapsed() < Duration::from_secs(20) && error.contains("no answer"), "{error}");
    }

    #[test]
    fn answers_are_understood_or_refused_without_quoting_them() {
        for (output, expected) in [
            (r#"{"Username":"u","Secret":"s","ServerURL":"x"}"#, None),
            (r#"{"Username":"","Secret":""}"#, Some(Answer::Unknown)),
            (r#"{"Username":"<token>","Secret":"t"}"#, Some(Answer::Secret(Secret::IdentityToken("t".to_owned())))),
        ] {
            let password = Secret::Password { user: "u".to_owned(), password: "s".to_owned() };
            assert_eq!(understand(output.as_bytes()), expected.unwrap_or(Answer::Secret(password)));
        }
        assert_eq!(refusal(b"no keychain\n"), Answer::Failed("no keychain".to_owned()));
        let Answer::Failed(reason) = refusal(br#"{"Username":"u","Secret":"hunter2"}"#) else { panic!("it failed") };
        assert!(!reason.contains("hunter2"), "{reason}");
        for bad in ["", "hunter2", r#"{"Username":1,"Secret":"hunter2"}"#] {
            let Answer::Failed(reason) = understand(bad.as_bytes()) else { panic!("{bad} was understood") };
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }
}
