//! Instructions that change no file, and WORKDIR.

use super::Generator;

impl Generator<'_> {
    /// Writes a WORKDIR. In buildah it belongs to root, and is made when something needs it: so it is made before.
    pub(super) fn workdir(&mut self) {
        let target = self.target();
        let path = self.absolute(target);
        let owner = owner(self.stage.user);
        let directories = self.oracle_directories(&path, "755", owner);
        let (text, line) = match self.random.below(3) {
            0 => (format!("\"{target}\""), target.to_owned()),
            1 => (format!("{target}/${{NOTHING}}"), target.to_owned()),
            _ => (target.to_owned(), target.to_owned()),
        };
        self.each(&format!("WORKDIR {text}"), &format!("{directories}\nWORKDIR {line}"));
        self.stage.directory = Some(path);
    }

    pub(super) fn user(&mut self) {
        self.stage.user = self.random.pick(&["alice", "1001", "bob:staff", "7:8", "0", "0", "0"]);
        self.both(&format!("USER {}", self.stage.user));
        if self.stage.user == "0" {
            self.stage.user = "";
        }
    }

    pub(super) fn metadata(&mut self) {
        match self.random.below(12) {
            10 => {
                // What the platform is; the oracle is told.
                let (name, value) = [
                    ("TARGETPLATFORM", "linux/amd64"),
                    ("TARGETARCH", "amd64"),
                    ("TARGETOS", "linux"),
                    ("TARGETVARIANT", ""),
                    ("BUILDPLATFORM", "linux/amd64"),
                    ("BUILDARCH", "amd64"),
                    ("BUILDOS", "linux"),
                ][self.random.below(7)];
                let number = self.number();
                self.each(
                    &format!("ARG {name}\nLABEL platform-{number}=\"${name} ${{{name}:-none}}\"\nRUN echo \"${name}\" > /tmp/platform-{number}"),
                    &format!("LABEL platform-{number}=\"{value} {}\"\nRUN echo \"{value}\" > /tmp/platform-{number}", if value.is_empty() { "none" } else { value }),
                );
            }
            0 => {
                let (text, value) = self.expression();
                let name = self.random.pick(&["l", "m.n", "\"o p\""]);
                self.each(&format!("LABEL {name}=\"{text}\" z=1"), &format!("LABEL {name}=\"{value}\" z=1"));
            }
            1 => {
                let ports = ["80", "53/udp", "80 443/tcp", "9/sctp"];
                let ports = self.random.pick(&ports);
                self.both(&format!("EXPOSE {ports}"));
            }
            // buildah keeps a range as it is.
            2 => self.each("EXPOSE 7000-7002/udp 6000-6001", "EXPOSE 7000/udp 7001/udp 7002/udp 6000 6001"),
            3 => {
                let flags = self.random.pick(&["", "--interval=5s ", "--timeout=1m30s --retries=3 "]);
                let command = self.random.pick(&["CMD true", "CMD [\"a\", \"b c\"]"]);
                self.both(&format!("HEALTHCHECK {flags}{command}"));
            }
            4 => self.both("HEALTHCHECK NONE"),
            5 => {
                let (text, value) = self.expression();
                // Below what no RUN writes to: buildah throws away what a RUN does in a volume.
                self.each(
                    &format!("VOLUME [\"/root\", \"/usr/bin\"]\nLABEL v=\"{text}\""),
                    &format!("VOLUME [\"/root\", \"/usr/bin\"]\nLABEL v=\"{value}\""),
                );
            }
            6 => {
                self.both("SHELL [\"/bin/busybox\", \"sh\", \"-c\"]");
                self.stage.shell = true;
            }
            7 => {
                let signal = self.random.pick(&["SIGUSR1", "9", "SIGTERM"]);
                self.both(&format!("STOPSIGNAL {signal}"));
            }
            8 => {
                let keyword = self.random.pick(&["CMD", "ENTRYPOINT"]);
                let words = self.random.pick(&["[\"x\", \"a b\"]", "[\"x\", \"$V\"]", "[\"\\\"q\\\"\"]", "[]"]);
                self.both(&format!("{keyword} {words}"));
            }
            _ => {
                let keyword = self.random.pick(&["CMD", "ENTRYPOINT"]);
                let text = self.random.pick(&["exec x \"$V\"", "a 'b  c' | d", "echo \\$V"]);
                // In buildah SHELL is for RUN alone.
                let shell = if self.stage.shell { vec!["/bin/busybox", "sh", "-c"] } else { vec!["/bin/sh", "-c"] };
                let words = serde_json::to_string(&[shell, vec![text]].concat()).expect("plain data");
                self.each(&format!("{keyword} {text}"), &format!("{keyword} {words}"));
            }
        }
    }
}

/// Returns what a user's new directories belong to.
pub(super) fn owner(user: &str) -> &str {
    match user {
        "alice" => "1000:1000",
        "1001" => "1001:1001",
        "bob:staff" => "1001:50",
        other => other,
    }
}
