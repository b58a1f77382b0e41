//! RUN.

use super::context::{Kind, NAMES};
use super::{Generator, Random, SECRET};

/// Shows all that is below a directory, but for its own mode.
const SHOW: &str = "find . -mindepth 1 -exec stat -c '%n %F %a %u:%g' {} + | grep -v 'symbolic link' | sort; \
                    find . -type f | sort | while read -r f; do cat \"$f\"; done";

impl Generator<'_> {
    /// Writes a RUN of some file operations, each of which may fail without consequence.
    pub(super) fn run(&mut self) {
        let commands = operations(self.random).join("; ");
        if self.random.one_in(4) {
            let words = serde_json::to_string(&["sh", "-c", &format!("{commands}; true")]).expect("plain data");
            return self.both(&format!("RUN {words}"));
        }
        self.both(&format!("RUN {commands}; true"));
    }

    /// Writes a RUN whose commands stand in a heredoc, which are an argument for the oracle.
    pub(super) fn run_heredoc(&mut self) {
        let commands = operations(self.random).join("\n");
        let number = self.number();
        let (ours, script) = match self.random.below(4) {
            0 => (format!("RUN <<EOF\n{commands}\ntrue\nEOF"), format!("{commands}\ntrue\n")),
            1 => (format!("RUN <<'EOF'\n{commands}\ntrue\nEOF"), format!("{commands}\ntrue\n")),
            2 => {
                let script = format!("#!/bin/sh\n{commands}\ntrue\n");
                (format!("RUN <<EOF\n{script}EOF"), script)
            }
            _ => {
                // The shell reads these itself.
                let file = format!("/tmp/heredoc-{number}");
                let text =
                    format!("cat <<A > {file} && cat <<'B' >> {file}; true\n${{PWD+set}} $((1 + 1))\nA\n$PWD\nB");
                (format!("RUN {text}"), format!("{text}\n"))
            }
        };
        let words = serde_json::to_string(&["/bin/sh", "-c", &script]).expect("plain data");
        self.each(&ours, &format!("RUN {words}"));
    }

    /// Writes a RUN with a mount; for the oracle, files are copied and removed again, and the rest is known before.
    ///
    /// As root: the oracle's copies belong to it.
    pub(super) fn run_with_mounts(&mut self) {
        if !self.stage.user.is_empty() {
            return self.run();
        }
        let number = self.number();
        match self.random.below(5) {
            0 | 1 => self.bind(number),
            2 => {
                let mount = format!("--mount=type=tmpfs,target={}", self.random.pick(&["/usr/share", "/tmp", "/srv"]));
                let target = mount.rsplit('=').next().unwrap_or_default().to_owned();
                let made = if target == "/srv" { "mkdir -p /srv; " } else { "" };
                self.each(
                    &format!(
                        "RUN {made}true\nRUN {mount} ls -A {target} > /tmpfs-{number}; echo x > {target}/x; cat {target}/x >> /tmpfs-{number}"
                    ),
                    &self.oracle_run(&format!("{made}echo x > /tmpfs-{number}")),
                );
            }
            3 => {
                let shared = self.random.pick(&["", ",sharing=locked", ",sharing=private", ",mode=0700,uid=7,gid=8"]);
                self.each(
                    &format!(
                        "RUN --mount=type=cache,id=c{number},target=/cache-{number}{shared} echo one > /cache-{number}/f\n\
                         RUN --mount=type=cache,id=c{number},target=/x/cache-{number}{shared} cat /x/cache-{number}/f > /cached-{number}"
                    ),
                    &self.oracle_run(&format!("echo one > /cached-{number}")),
                );
            }
            _ => {
                let (mode, uid) = [("0440", "1000"), ("0400", "0"), ("0777", "7")][self.random.below(3)];
                let shown = format!("{} {uid}:0", mode.trim_start_matches('0'));
                self.each(
                    &format!(
                        "RUN --mount=type=secret,id=hush,mode={mode},uid={uid},env=HUSH,target=/run/secrets/hush \\\n    \
                         (stat -c '%a %u:%g' /run/secrets/hush; cat /run/secrets/hush; echo \" $HUSH\") > /secret-{number}; true"
                    ),
                    &self.oracle_run(&format!("printf '{shown}\\n{SECRET} {SECRET}\\n' > /secret-{number}")),
                );
            }
        }
    }

    fn bind(&mut self, number: usize) {
        let target = format!("/bind-{number}");
        if self.stage.has_first && self.random.one_in(3) {
            let source = self.random.pick(&["/home", "/etc", "/usr/share"]);
            let show = format!("(cd {target} || exit; {SHOW}) > /bound-{number}");
            return self.each(
                &format!("RUN --mount=from=first,source={source},target={target} {show}"),
                &format!(
                    "COPY --from=first {source}/ {target}/\n{}",
                    self.oracle_run(&format!("{show}; rm -rf {target}"))
                ),
            );
        }
        let (kind, show) = if self.random.one_in(2) {
            (Kind::File, format!("(stat -c '%F %a %u:%g' {target}; cat {target}) > /bound-{number}"))
        } else {
            (Kind::Directory, format!("(cd {target} || exit; {SHOW}) > /bound-{number}"))
        };
        // A flag's value ends at a space.
        let mut path = self.context.plain(self.random, kind);
        if path.contains(' ') {
            path = if kind == Kind::File { "three.txt" } else { "one" }.to_owned();
        }
        let (slash, rw) = match kind {
            Kind::Directory => ("/", self.random.pick(&["", ",rw"])),
            Kind::File | Kind::Link | Kind::Archive => ("", ""),
        };
        let wrote =
            if rw.is_empty() { String::new() } else { format!("; echo lost > {target}/lost; rm -rf {target}/a") };
        self.each(
            &format!("RUN --mount=type=bind,source={path},target={target}{rw} {show}{wrote}"),
            &format!(
                "COPY {} \n{}",
                super::quoted(&[path, format!("{target}{slash}")]),
                self.oracle_run(&format!("{show}; rm -rf {target}"))
            ),
        );
    }
}

fn operations(random: &mut Random) -> Vec<String> {
    let mut commands = Vec::new();
    for _ in 0..1 + random.below(5) {
        let (one, two) = (place(random), place(random));
        commands.push(match random.below(14) {
            0 => format!("mkdir -p {one}"),
            1 | 2 => format!("echo {} > {one}", random.below(100)),
            3 => format!("rm -rf {one}"),
            4 => format!("ln -s {two} {one}"),
            5 => format!("ln {two} {one}"),
            6 => format!("chmod {} {one}", random.pick(&["600", "755", "4711", "1777", "2755", "000"])),
            7 => format!("chown {} {one}", random.pick(&["1001", "7:8", "alice:staff"])),
            8 => format!("cp -a {two} {one}"),
            // Under a name that nothing else opens: that would wait for ever.
            9 => format!("mkfifo {one}.fifo"),
            10 => format!("dd if=/dev/zero of={one} bs=1 count=1 seek=70000 2>/dev/null"),
            11 => format!("touch {one}; rm -rf {two}; mkdir -p {two}"),
            12 => format!("umask 077; echo umask > {one}"),
            _ => format!("mv {two} {one}"),
        });
    }
    commands
}

fn place(random: &mut Random) -> String {
    let directory = random.pick(&["/t", "/v", "/srv", "/tmp", "/t/u", "/link", "/home/alice", "."]);
    format!("{directory}/{}", random.pick(&NAMES[..7]))
}
