//! One of the many ways to write down the same Dockerfile.

use super::model::{Command, Copy, Line, Model, Mount, Run, Text};

/// Chooses, always the same for the same seed (xorshift).
struct Choice(u64);

/// Writes a Dockerfile down; each seed in another way.
pub(super) fn written(model: &Model, seed: u64) -> String {
    let mut choice = Choice(seed | 1);
    let mut lines = Vec::new();
    let base = if choice.coin() {
        lines.push(format!("ARG IMAGE={}", model.base));
        "${IMAGE}".to_owned()
    } else {
        choice.one(&[model.base, &format!("docker.io/{}:latest", model.base)])
    };
    let name = choice.one(&["first", "other"]);
    let stage = choice.one(&[&name, "0"]);
    lines.push(format!("{} {base} {} {name}", choice.keyword("FROM"), choice.one(&["AS", "as"])));
    for line in &model.first {
        lines.push(choice.line(line, &stage));
    }
    let second = if model.is_chained { name } else { base };
    lines.push(format!("{} {second}", choice.keyword("FROM")));
    for line in &model.second {
        lines.push(choice.line(line, &stage));
    }
    lines.join("\n") + "\n"
}

impl Choice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn coin(&mut self) -> bool {
        self.next() >> 20 & 1 == 1
    }

    fn one(&mut self, options: &[&str]) -> String {
        let number = usize::try_from(self.next() >> 20).unwrap_or(0) % options.len();
        options[number].to_owned()
    }

    fn shuffle(&mut self, mut words: Vec<String>) -> Vec<String> {
        let mut shuffled = Vec::new();
        while !words.is_empty() {
            let number = usize::try_from(self.next() >> 20).unwrap_or(0) % words.len();
            shuffled.push(words.remove(number));
        }
        shuffled
    }

    fn keyword(&mut self, keyword: &str) -> String {
        self.one(&[keyword, &keyword.to_lowercase()])
    }

    /// Joins words with blanks, or in several lines.
    fn join(&mut self, words: &[String]) -> String {
        let mut text = String::new();
        for (number, word) in words.iter().filter(|word| !word.is_empty()).enumerate() {
            if number > 0 {
                text += &self.one(&[" ", " ", "  ", " \\\n", " \\\n# a comment\n  ", "\t\\\n\n"]);
            }
            text += word;
        }
        text
    }

    /// Quotes a value, or says it with a variable.
    fn value(&mut self, value: &str) -> String {
        let escaped = value.replace(' ', "\\ ");
        let forms = [
            escaped,
            format!("\"{value}\""),
            format!("'{value}'"),
            format!("\"${{UNSET:-{value}}}\""),
            format!("\"{}\"'{}'", &value[..1], &value[1..]),
        ];
        self.one(&forms.each_ref().map(String::as_str))
    }

    fn json(&mut self, words: &[&str]) -> String {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let separator = self.one(&[", ", ",", " , "]);
        format!("[{}]", quoted.join(&separator))
    }

    fn line(&mut self, line: &Line, first: &str) -> String {
        let before = self.one(&["", "", "# a comment\n", "\n", "   # another\n\n"]);
        let text = match line {
            Line::Env(name, value) => {
                let (keyword, new, old) = (self.keyword("ENV"), self.value(value), format!("{name} {value}"));
                let new = self.one(&[&format!("{name}={new}"), &format!("'{name}'={new}"), &old]);
                self.join(&[keyword, new])
            }
            Line::Arg(name, value) => {
                let (keyword, value) = (self.keyword("ARG"), self.value(value));
                self.join(&[keyword, format!("{name}={value}")])
            }
            Line::User(user) => {
                let (keyword, variable) = (self.keyword("USER"), format!("${{UNSET:-{user}}}"));
                let user = self.one(&[user, &variable]);
                self.join(&[keyword, user])
            }
            Line::Workdir(path) => {
                let (keyword, slash, around) = (self.keyword("WORKDIR"), format!("{path}/"), format!("{path}/q/.."));
                let path = self.one(&[path, &slash, &around]);
                self.join(&[keyword, path])
            }
            Line::Shell(words) => {
                let (keyword, words) = (self.keyword("SHELL"), self.json(words));
                self.join(&[keyword, words])
            }
            Line::Label(value) => format!("{} l={}", self.keyword("LABEL"), self.value(value)),
            Line::Run(run) => self.run(run, first),
            Line::Copy(copy) => self.copy(copy, first),
            Line::Text(text) => self.text(text),
        };
        before + &text
    }

    fn run(&mut self, run: &Run, first: &str) -> String {
        let mut flags: Vec<String> = run.mounts.iter().map(|mount| self.mount(mount, first)).collect();
        flags.extend(run.network.map(|network| {
            // Without the flag, it is the executor's own.
            if network == "none" {
                "--network=none".to_owned()
            } else {
                self.one(&["", "--network=host", "--network=default"])
            }
        }));
        let mut words = vec![self.keyword("RUN")];
        words.extend(self.shuffle(flags));
        match run.command {
            Command::Shell(text) => {
                let broken = format!("{}\\\n{}", &text[..1], &text[1..]);
                let commented = format!("{}\\\n# a comment\n{}", &text[..1], &text[1..]);
                words.push(self.one(&[text, &broken, &commented]));
                self.join(&words)
            }
            Command::Exec(argv) => {
                words.push(self.json(argv));
                self.join(&words)
            }
            Command::Script(text) => {
                let tabs: String = text.lines().map(|line| format!("\t{line}\n")).collect();
                let here = self.one(&["<<EOF", "<<\"EOF\"", "<<-EOF"]);
                let text = if here.contains('-') { &tabs } else { text };
                words.push(here);
                format!("{}\n{text}EOF", self.join(&words))
            }
        }
    }

    fn mount(&mut self, mount: &Mount, first: &str) -> String {
        let target = |choice: &mut Self, target: &str| {
            let key = choice.one(&["target", "dst", "destination"]);
            format!("{key}={target}{}", choice.one(&["", "/", "/."]))
        };
        let (kind, fields) = match mount {
            Mount::Bind { target: place, source, from_first, writes } => {
                let from = if *from_first { format!("from={first}") } else { String::new() };
                let writes = if *writes { ["rw", "readwrite=true", "ro=false"] } else { ["", "readonly", "rw=0"] };
                let source = if source.is_empty() {
                    self.one(&["", "source=/", "src=."])
                } else {
                    format!(
                        "{}={}",
                        self.one(&["source", "src"]),
                        self.one(&[source, &source[1..], &format!(".{source}/")])
                    )
                };
                ("bind", vec![target(self, place), from, source, self.one(&writes)])
            }
            Mount::Cache { target: place, id, mode } => {
                let mode = mode.map(|mode| self.one(&[mode, &mode[1..]]));
                let mode = mode.map_or(String::new(), |mode| format!("mode={mode}"));
                // Who else may use it at the same time decides nothing.
                let sharing = self.one(&["", "sharing=locked", "sharing=private"]);
                ("cache", vec![target(self, place), format!("id={id}"), mode, sharing])
            }
            Mount::Tmpfs { target: place, size } => {
                let bytes = size.map(|size| if size == "1k" { "1024" } else { "2048" });
                let size = size.zip(bytes).map(|(size, bytes)| self.one(&[size, bytes]));
                ("tmpfs", vec![target(self, place), size.map_or(String::new(), |size| format!("size={size}"))])
            }
            Mount::Secret { id, variable, required } => {
                let env = variable.map_or(String::new(), |variable| format!("env={variable}"));
                let required = if *required { ["required", "required=true"] } else { ["", "required=false"] };
                ("secret", vec![format!("id={id}"), env, self.one(&required)])
            }
            Mount::Ssh { id } => {
                ("ssh", vec![if *id == "default" { self.one(&["", "id=default"]) } else { format!("id={id}") }])
            }
        };
        let fields: Vec<String> = fields.into_iter().filter(|field| !field.is_empty()).collect();
        // What is said before the type must fit the default, so it comes first.
        let mut all = vec![self.one(&[&format!("type={kind}"), &format!("TYPE={kind}")])];
        all.extend(self.shuffle(fields));
        format!("--mount={}", all.join(","))
    }

    fn copy(&mut self, copy: &Copy, first: &str) -> String {
        let Copy { from_first, sources, destination, chown, chmod, link, parents, exclude, unpacks } = copy;
        let mut flags = Vec::new();
        flags.extend(from_first.then(|| format!("--from={first}")));
        flags.extend(
            chown.map(|owner| self.one(&[&format!("--chown={owner}"), &format!("--chown=${{UNSET:-{owner}}}")])),
        );
        flags.extend(chmod.map(|mode| {
            let zero = if mode.starts_with(|first: char| first.is_ascii_digit()) { "0" } else { "" };
            self.one(&[&format!("--chmod={mode}"), &format!("--chmod={zero}{mode}")])
        }));
        flags.extend(link.then(|| self.one(&["--link", "--link=true"])));
        flags.extend(parents.then(|| self.one(&["--parents", "--parents=true"])));
        flags.extend(exclude.map(|pattern| format!("--exclude={pattern}")));
        let may_be_add = !from_first && !parents;
        let keyword = match (unpacks, may_be_add && self.coin()) {
            (true, _) => "ADD",
            (false, true) => {
                flags.push("--unpack=false".to_owned());
                "ADD"
            }
            (false, false) => "COPY",
        };
        let (around, slashes) = (format!("{destination}."), destination.replace('/', "//"));
        let destination = self.one(&[destination, &around, &slashes]);
        let mut words = vec![self.keyword(keyword)];
        words.extend(self.shuffle(flags));
        let mut paths: Vec<&str> = sources.clone();
        paths.push(&destination);
        if self.coin() {
            words.push(self.json(&paths));
        } else {
            words.extend(paths.into_iter().map(str::to_owned));
        }
        self.join(&words)
    }

    fn text(&mut self, text: &Text) -> String {
        let Text { name, content, destination } = text;
        let tabs: String = content.lines().map(|line| format!("\t\t{line}\n")).collect();
        let (plain, quoted, dash) = (format!("<<{name}"), format!("<<'{name}'"), format!("<<-{name}"));
        let here = self.one(&[&plain, &quoted, &dash]);
        let content = if here == dash { &tabs } else { *content };
        let words = [self.keyword("COPY"), here, (*destination).to_owned()];
        format!("{}\n{content}{name}", self.join(&words))
    }
}
