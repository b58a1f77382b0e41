//! `--chmod`: octal permission bits, or clauses such as `u=rwX,go=rX` that change the bits a file has.

/// What `--chmod` does to a file's permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// These bits, whatever they were.
    Octal(u32),
    /// Changes, one after the other.
    Symbolic(Vec<Clause>),
}

/// `[ugoa…][+-=][rwxXst…]`, or with a class whose bits are copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Whose bits change: a mask of `0o700`, `0o070`, `0o007`.
    who: u32,
    operation: Operation,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Bits for all classes at once, setuid, setgid and sticky among them.
    Bits {
        /// The bits.
        bits: u32,
        /// `X`: execution for directories and for files that somebody may execute.
        execute_if_executable: bool,
    },
    /// The bits of another class, from 0 (owner) to 2 (others).
    CopyOf(u32),
}

impl Chmod {
    /// Reads the value of `--chmod`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o7777 => return Ok(Self::Octal(bits)),
            Ok(_) => return Err(format!("`--chmod={text}` is out of range: write octal digits from 0 to 7777")),
            Err(_) if text.starts_with(|c: char| c.is_ascii_digit()) => {
                return Err(format!("`--chmod={text}` is not octal: write digits from 0 to 7, at most 7777"));
            }
            Err(_) => {}
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let parsed = clause(part, &mut clauses);
            parsed.ok_or_else(|| format!("`--chmod={text}` is no mode: write it like 644, or u=rwX,go=rX"))?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// Returns the bits that a file with bits `mode` gets.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory)),
        }
    }
}

/// Reads one part between commas: classes, then one or more operations.
fn clause(part: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let operations = part.find(['+', '-', '='])?;
    let mut who = 0;
    for class in part[..operations].chars() {
        who |= match class {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    // Without a class all are meant; there is no umask in a build.
    let who = if who == 0 { 0o777 } else { who };
    let mut rest = &part[operations..];
    while let Some(first) = rest.chars().next() {
        let operation = match first {
            '+' => Operation::Add,
            '-' => Operation::Remove,
            '=' => Operation::Set,
            _ => return None,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        clauses.push(Clause { who, operation, what: what(&rest[1..end])? });
        rest = &rest[end..];
    }
    Some(())
}

fn what(letters: &str) -> Option<What> {
    match letters {
        "u" => return Some(What::CopyOf(0)),
        "g" => return Some(What::CopyOf(1)),
        "o" => return Some(What::CopyOf(2)),
        _ => {}
    }
    let (mut bits, mut execute_if_executable) = (0, false);
    for letter in letters.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            'X' => execute_if_executable = true,
            _ => return None,
        }
    }
    Some(What::Bits { bits, execute_if_executable })
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bits = match self.what {
            What::CopyOf(class) => (mode >> (6 - 3 * class) & 0o7) * 0o111,
            What::Bits { bits, execute_if_executable } => {
                let execute = execute_if_executable && (is_directory || mode & 0o111 != 0);
                if execute { bits | 0o111 } else { bits }
            }
        };
        let mask = self.who | self.special();
        match self.operation {
            Operation::Add => mode | bits & mask,
            Operation::Remove => mode & !(bits & mask),
            Operation::Set => mode & !mask | bits & mask,
        }
    }

    /// setuid belongs to the owner's class, setgid to the group's, sticky to all.
    fn special(&self) -> u32 {
        let of = |class, bit| if self.who & class != 0 { bit } else { 0 };
        of(0o700, 0o4000) | of(0o070, 0o2000) | if self.who == 0o777 { 0o1000 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_chmod_does() {
        for (text, before, is_directory, after) in [
            ("644", 0o777, false, 0o644),
            ("4755", 0o000, false, 0o4755),
            ("go=u", 0o740, false, 0o777),
            ("u=rwX,go=rX", 0o640, false, 0o644),
            ("u=rwX,go=rX", 0o750, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("+x", 0o644, false, 0o755),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("u-x+w", 0o500, false, 0o600),
            ("o=", 0o777, false, 0o770),
            ("g=o", 0o704, false, 0o744),
        ] {
            let chmod = Chmod::parse(text).expect(text);
            assert_eq!(chmod.apply(before, is_directory), after, "{text} on {before:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for bad in ["", "9", "77777", "u", "z+x", "u+q", "u=rw;g=r", "rwx", "u+x,"] {
            assert!(Chmod::parse(bad).is_err(), "{bad:?} parsed");
        }
    }
}
