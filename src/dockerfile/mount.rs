//! `RUN --mount` and `--device`: comma-separated fields, kept as written until variables are known.
//!
//! BuildKit expands each field's value and only then judges it, so a mount has two forms: [`Mount`], parsed,
//! and [`MountSpec`], resolved.
//!
//! *Invariant*: whether the build can make such a mount is not decided here.

use serde::Serialize;

use super::csv::csv;
use super::expand::ExpandError;
use super::suggest;

/// A `--mount`, split into fields, not expanded yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The flag's value as written.
    pub text: String,
    /// The fields, in order.
    pub fields: Vec<MountField>,
}

/// One `key[=value]` of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountField {
    /// The key in lower case.
    pub key: String,
    /// The value, if there is a `=`. Expanded as one word, but for `from`, in which a variable is refused.
    pub value: Option<String>,
}

/// A mount with its values known and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountSpec {
    /// What is mounted.
    pub kind: MountKind,
    /// `from`: a stage, a named context or an image; never empty. The build context if none.
    pub from: Option<String>,
    /// `source`, if given.
    pub source: Option<String>,
    /// `target`, if given.
    pub target: Option<String>,
    /// Whether it is read-only; by default bind, secret and ssh mounts are.
    pub read_only: bool,
    /// `id`, if given.
    pub id: Option<String>,
    /// `required`: a missing secret or agent fails the build.
    pub required: bool,
    /// `env`: the variable that gets the secret's value; empty for the default name.
    pub env: Option<String>,
    /// `mode`, `uid` and `gid`, of cache, secret and ssh mounts.
    pub owner: MountOwner,
}

/// Mode and owner of what a cache, secret or ssh mount shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MountOwner {
    /// `mode`, octal in the Dockerfile.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// The type of a mount and what only that type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the build.
    Cache(Sharing),
    /// Memory.
    Tmpfs {
        /// `size` in bytes, if given.
        size: Option<u64>,
    },
    /// A secret.
    Secret,
    /// An agent's socket.
    Ssh,
}

/// `sharing` of a cache mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Many writers at once.
    #[default]
    Shared,
    /// A new one for each concurrent writer.
    Private,
    /// One writer at a time.
    Locked,
}

/// A `--device`; nothing in it is expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The CDI name, such as `vendor.com/class=name`.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// A mount or device that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// A value cannot be expanded.
    #[error("cannot expand a value of the mount")]
    Expand(#[from] ExpandError),
    /// A field is wrong.
    #[error("{message}")]
    Field {
        /// What is wrong.
        message: String,
        /// What was probably meant: `did you mean cache?`.
        hint: Option<String>,
    },
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl Mount {
    /// Splits a `--mount` into fields.
    ///
    /// # Errors
    /// When it is no CSV line, or `from` holds a variable. All else is judged by [`Mount::resolve`].
    pub(super) fn parse(text: &str) -> Result<Self, MountError> {
        let fields: Vec<MountField> =
            csv(text).map_err(|error| wrong(error.to_string()))?.iter().map(|field| MountField::new(field)).collect();
        for field in &fields {
            let value = field.value.as_deref().unwrap_or_default();
            if field.key == "from" && value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(wrong("'from' doesn't support variable expansion, define alias stage instead"));
            }
        }
        Ok(Self { text: text.to_owned(), fields })
    }

    /// Returns the last non-empty `from`, which is known before any variable is.
    pub fn from(&self) -> Option<&str> {
        let last = self.fields.iter().rfind(|field| field.key == "from" && field.value.is_some())?;
        last.value.as_deref().filter(|value| !value.is_empty())
    }

    /// Expands the values and checks the whole; fields act in their order, so `type` comes before what
    /// depends on it.
    ///
    /// # Errors
    /// When a value cannot be expanded, or a field is unknown, wrong, or not allowed for the type.
    pub fn resolve(
        &self,
        expand: &mut dyn FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<MountSpec, MountError> {
        let mut draft = Draft::default();
        for field in &self.fields {
            match &field.value {
                Some(value) => draft.set(field, expand(value)?)?,
                None => draft.set_bare(&field.key)?,
            }
        }
        draft.finish()
    }
}

impl MountField {
    fn new(field: &str) -> Self {
        match field.split_once('=') {
            Some((key, value)) => Self { key: key.to_lowercase(), value: Some(value.to_owned()) },
            None => Self { key: field.to_lowercase(), value: None },
        }
    }
}

fn wrong(message: impl Into<String>) -> MountError {
    MountError::Field { message: message.into(), hint: None }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Type {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

const TYPES: [(&str, Type); 5] = [
    ("bind", Type::Bind),
    ("cache", Type::Cache),
    ("tmpfs", Type::Tmpfs),
    ("secret", Type::Secret),
    ("ssh", Type::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

impl Type {
    fn name(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// A mount while its fields are read.
#[derive(Default)]
struct Draft {
    kind: Type,
    from: String,
    source: String,
    target: String,
    id: String,
    read_only: Option<bool>,
    required: bool,
    env: Option<String>,
    owner: MountOwner,
    special: Special,
}

/// The fields that one type has alone.
#[derive(Default)]
struct Special {
    sharing: Option<Sharing>,
    size: Option<u64>,
}

impl Draft {
    fn set_bare(&mut self, key: &str) -> Result<(), MountError> {
        match key {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => self.require(true)?,
            _ => return Err(wrong(format!("invalid field '{key}' must be a key=value pair"))),
        }
        Ok(())
    }

    fn set(&mut self, field: &MountField, value: String) -> Result<(), MountError> {
        let key = field.key.as_str();
        let invalid = || {
            let hint = match key {
                "mode" => "write the mode in octal, as 0400",
                "uid" | "gid" => "write a number: names are not looked up here",
                "size" => "write a number of bytes, or one with k, m or g",
                _ => "write true or false",
            };
            MountError::Field { message: format!("invalid value for {key}: {value}"), hint: Some(hint.to_owned()) }
        };
        match key {
            "type" => self.kind = one_of(&value, &TYPES, "mount type")?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => self.read_only = Some(boolean(&value).ok_or_else(invalid)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(&value).ok_or_else(invalid)?),
            "required" => self.require(boolean(&value).ok_or_else(invalid)?)?,
            "size" if self.kind != Type::Tmpfs => return Err(self.unexpected(key)),
            "size" => self.special.size = Some(bytes(&value).ok_or_else(invalid)?),
            "id" => self.id = value,
            "sharing" => self.special.sharing = Some(one_of(&value, &SHARINGS, "sharing value")?),
            "mode" => self.owner.mode = Some(u32::from_str_radix(&value, 8).map_err(|_| invalid())?),
            "uid" => self.owner.uid = Some(value.parse().map_err(|_| invalid())?),
            "gid" => self.owner.gid = Some(value.parse().map_err(|_| invalid())?),
            "env" => self.env = Some(value),
            _ => {
                let message = format!("unexpected key '{key}' in '{key}={value}'");
                return Err(MountError::Field { message, hint: suggest::hint(key, KEYS) });
            }
        }
        Ok(())
    }

    fn require(&mut self, required: bool) -> Result<(), MountError> {
        if !matches!(self.kind, Type::Secret | Type::Ssh) {
            return Err(self.unexpected("required"));
        }
        self.required = required;
        Ok(())
    }

    fn unexpected(&self, key: &str) -> MountError {
        wrong(format!("unexpected key '{key}' for mount type '{}'", self.kind.name()))
    }

    /// Checks what depends on several fields.
    fn finish(self) -> Result<MountSpec, MountError> {
        if matches!(self.kind, Type::Bind | Type::Tmpfs) {
            let given = [
                ("mode", self.owner.mode.is_some()),
                ("uid", self.owner.uid.is_some()),
                ("gid", self.owner.gid.is_some()),
            ];
            if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
                return Err(wrong(format!("{key} not allowed for \"{}\" type mounts", self.kind.name())));
            }
        }
        if self.kind == Type::Secret {
            self.check_secret()?;
        }
        if self.special.sharing.is_some() && self.kind != Type::Cache {
            return Err(wrong(format!("invalid cache sharing set for {} mount", self.kind.name())));
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let writable = matches!(self.kind, Type::Cache | Type::Tmpfs);
        Ok(MountSpec {
            kind: match self.kind {
                Type::Bind => MountKind::Bind,
                Type::Cache => MountKind::Cache(self.special.sharing.unwrap_or_default()),
                Type::Tmpfs => MountKind::Tmpfs { size: self.special.size },
                Type::Secret => MountKind::Secret,
                Type::Ssh => MountKind::Ssh,
            },
            from: some(self.from),
            source: some(self.source),
            target: some(self.target),
            read_only: self.read_only.unwrap_or(!writable),
            id: some(self.id),
            required: self.required,
            env: self.env,
            owner: self.owner,
        })
    }

    fn check_secret(&self) -> Result<(), MountError> {
        let message = if !self.from.is_empty() {
            "secret mount should not have a from"
        } else if self.special.sharing.is_some() {
            "secret mount should not define sharing"
        } else if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            "invalid secret mount. one of source, target required"
        } else if !self.source.is_empty() && !self.id.is_empty() {
            "both source and id can't be set"
        } else {
            return Ok(());
        };
        Err(wrong(message))
    }
}

impl Device {
    /// Reads a `--device`: a name, or `name=…`, and `required`.
    ///
    /// # Errors
    /// When it is no CSV line, or a field is unknown or given twice.
    pub(super) fn parse(text: &str) -> Result<Self, MountError> {
        let mut device = Self { name: String::new(), required: false };
        for text in csv(text).map_err(|error| wrong(error.to_string()))? {
            let field = MountField::new(&text);
            match (field.key.as_str(), &field.value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => {
                    let invalid = || wrong(format!("invalid value for required: {value}"));
                    device.required = boolean(value).ok_or_else(invalid)?;
                }
                ("name", Some(_)) if !device.name.is_empty() => {
                    return Err(wrong(format!("device name already set to {}", device.name)));
                }
                ("name", Some(value)) => device.name.clone_from(value),
                _ if device.name.is_empty() => device.name = text,
                (_, None) => return Err(wrong(format!("invalid field '{text}' must be a key=value pair"))),
                (key, Some(_)) => {
                    let message = format!("unexpected key '{key}' in '{text}'");
                    return Err(MountError::Field { message, hint: suggest::hint(key, ["name", "required"]) });
                }
            }
        }
        Ok(device)
    }
}

/// Finds a word, in any case, in a table.
fn one_of<T: Copy>(word: &str, table: &[(&str, T)], what: &str) -> Result<T, MountError> {
    let lower = word.to_lowercase();
    if let Some((_, value)) = table.iter().find(|(name, _)| *name == lower) {
        return Ok(*value);
    }
    let names = || table.iter().map(|(name, _)| *name);
    let all = || format!("it can be {}", names().collect::<Vec<_>>().join(", "));
    let hint = suggest::hint(word, names()).or_else(|| Some(all()));
    Err(MountError::Field { message: format!("unsupported {what} {word:?}"), hint })
}

/// Reads a truth value as Go does.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a size such as `64m`, `1.5GiB`; units are powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let number = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')? + 1;
    let (number, unit) = text.split_at(number);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let unit = unit.to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let fraction = fraction.get(..fraction.len().min(18))?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let size = (digits(whole)?.checked_mul(1 << shift)?).checked_add((digits(fraction)? << shift) / scale)?;
    u64::try_from(size).ok().filter(|size| i64::try_from(*size).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<MountSpec, String> {
        let mount = Mount::parse(text).map_err(|error| error.to_string())?;
        let mut expand = |word: &str| Ok(word.replace("$T", "cache"));
        mount.resolve(&mut expand).map_err(|error| match error {
            MountError::Field { message, hint } => {
                format!("{message}{}", hint.map_or(String::new(), |h| format!("; {h}")))
            }
            MountError::Expand(error) => error.to_string(),
        })
    }

    fn spec(kind: MountKind) -> MountSpec {
        let read_only = !matches!(kind, MountKind::Cache(_) | MountKind::Tmpfs { .. });
        let (from, source, target, id, env) = (None, None, None, None, None);
        MountSpec { kind, from, source, target, read_only, id, required: false, env, owner: MountOwner::default() }
    }

    #[test]
    fn each_type_has_its_defaults() {
        let target = Some("/t".to_owned());
        for (text, expected) in [
            ("target=/t", MountSpec { target: target.clone(), ..spec(MountKind::Bind) }),
            ("type=bind,dst=/t,rw", MountSpec { target: target.clone(), read_only: false, ..spec(MountKind::Bind) }),
            (
                "TYPE=Bind,destination=/t,ro=0",
                MountSpec { target: target.clone(), read_only: false, ..spec(MountKind::Bind) },
            ),
            ("type=$T,target=/t", MountSpec { target: target.clone(), ..spec(MountKind::Cache(Sharing::Shared)) }),
            (
                "type=cache,target=/t,id=x,sharing=LOCKED,mode=0700,uid=5,gid=6,ro",
                MountSpec {
                    target: target.clone(),
                    id: Some("x".into()),
                    read_only: true,
                    owner: MountOwner { mode: Some(0o700), uid: Some(5), gid: Some(6) },
                    ..spec(MountKind::Cache(Sharing::Locked))
                },
            ),
            (
                "type=tmpfs,target=/t,size=64m",
                MountSpec { target: target.clone(), ..spec(MountKind::Tmpfs { size: Some(64 << 20) }) },
            ),
            (
                "type=secret,id=s,required,env=TOKEN",
                MountSpec {
                    id: Some("s".into()),
                    required: true,
                    env: Some("TOKEN".into()),
                    ..spec(MountKind::Secret)
                },
            ),
            ("type=ssh", spec(MountKind::Ssh)),
            ("type=ssh,required=true", MountSpec { required: true, ..spec(MountKind::Ssh) }),
            (
                "from=base,src=/a,\"target=/b,c\"\"d\"",
                MountSpec {
                    from: Some("base".into()),
                    source: Some("/a".into()),
                    target: Some("/b,c\"d".into()),
                    ..spec(MountKind::Bind)
                },
            ),
        ] {
            assert_eq!(resolve(text).as_ref(), Ok(&expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("type=volume", "unsupported mount type \"volume\"; it can be bind, cache, tmpfs, secret, ssh"),
            ("type=cahce", "unsupported mount type \"cahce\"; did you mean cache?"),
            ("type=cache,sharing=lock", "unsupported sharing value \"lock\"; did you mean locked?"),
            ("tagret=/x", "unexpected key 'tagret' in 'tagret=/x'; did you mean target?"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("ro=maybe", "invalid value for ro: maybe; write true or false"),
            ("required", "unexpected key 'required' for mount type 'bind'"),
            ("size=1m", "unexpected key 'size' for mount type 'bind'"),
            ("type=tmpfs,size=lots", "invalid value for size: lots; write a number of bytes, or one with k, m or g"),
            ("type=cache,mode=9", "invalid value for mode: 9; write the mode in octal, as 0400"),
            ("type=cache,uid=-1", "invalid value for uid: -1; write a number: names are not looked up here"),
            ("mode=0700", "mode not allowed for \"bind\" type mounts"),
            ("type=tmpfs,gid=1", "gid not allowed for \"tmpfs\" type mounts"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,id=a,src=b", "both source and id can't be set"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            ("type=bind,sharing=shared", "invalid cache sharing set for bind mount"),
            ("from=$BASE", "'from' doesn't support variable expansion, define alias stage instead"),
            ("", "cannot split \"\" into fields: it is empty"),
            ("\"a", "cannot split \"\\\"a\" into fields: missing closing \""),
            ("\"a\"b", "cannot split \"\\\"a\\\"b\" into fields: text behind a closing \""),
            ("a\"b", "cannot split \"a\\\"b\" into fields: bare \" in a field that is not quoted"),
        ] {
            assert_eq!(resolve(text), Err(expected.to_owned()), "{text:?}");
        }
        assert_eq!(Mount::parse("from=a,type=bind,from=b").unwrap().from(), Some("b"));
        assert_eq!(Mount::parse("from=").unwrap().from(), None);
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("10", Some(10)),
            ("1k", Some(1024)),
            ("1KB", Some(1024)),
            ("2 MiB", Some(2 << 20)),
            ("1.5g", Some(3 << 29)),
            (".5k", Some(512)),
            ("7b", Some(7)),
            ("1t", Some(1 << 40)),
            ("1p", Some(1 << 50)),
            ("", None),
            ("k", None),
            ("-1", None),
            ("1x", None),
            ("1kbb", None),
            ("1ib", None),
            ("99999p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn devices_have_a_name() {
        let device = |name: &str, required| Ok(Device { name: name.into(), required });
        for (text, expected) in [
            ("vendor.com/gpu=0", device("vendor.com/gpu=0", false)),
            ("vendor.com/gpu,required", device("vendor.com/gpu", true)),
            ("name=x/y,required=0", device("x/y", false)),
            ("name=a,name=b", Err("device name already set to a".to_owned())),
            ("name=a,nmae=b", Err("unexpected key 'nmae' in 'nmae=b'".to_owned())),
            ("a,b", Err("invalid field 'b' must be a key=value pair".to_owned())),
            ("required=x", Err("invalid value for required: x".to_owned())),
        ] {
            assert_eq!(Device::parse(text).map_err(|error| error.to_string()), expected, "{text:?}");
        }
    }
}
