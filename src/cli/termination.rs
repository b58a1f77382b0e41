//! The termination message: one line of cause, which Kubernetes shows in the pod's status and Argo in the node's.
//!
//! Tekton's own file, /tekton/termination, is the entrypoint's alone and never touched.

use std::path::Path;

use super::exit::Failure;
use crate::place::Place;

/// Where Kubernetes reads it. Source: <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>.
pub(super) const FILE: &str = "/dev/termination-log";
/// The longest message, in bytes: it is shown in tables.
const LONGEST: usize = 200;

impl Failure {
    /// Writes the message where the pod has a file for it; what goes wrong is not told, as the log says more.
    pub fn write_termination_message(&self) {
        self.write_message(Path::new(FILE));
    }

    fn write_message(&self, path: &Path) {
        // The file is never made: where there is none, nobody reads it.
        let place = Place::find(path, &[]);
        let _ = place.and_then(|place| place.write_into(self.in_one_line().as_bytes()));
    }

    /// Returns `kind: where: what: why` in one line, without hints; of a RUN what it wrote last.
    pub(super) fn in_one_line(&self) -> String {
        let mut message = format!("{}: ", self.kind.name());
        if let Some(place) = &self.place {
            message += &format!("{}:{}: ", place.file, place.line);
        }
        message += &self.message;
        for cause in &self.causes {
            message += &format!(": {cause}");
        }
        if let Some(last) = &self.last_output {
            message += &format!(": {last}");
        }
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.len() <= LONGEST {
            return line;
        }
        let mark = "…";
        let mut end = LONGEST - mark.len();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{mark}", &line[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::super::exit::{Kind, Place};
    use super::*;

    #[test]
    fn it_is_one_short_line_that_starts_with_the_kind() {
        let error = std::io::Error::other("no\nroute");
        let failure = Failure::from_error(Kind::Transient, &error).at(Place::new("Dockerfile", 3, "", 3..=3));
        assert_eq!(failure.in_one_line(), "transient: Dockerfile:3: no route");
        let run = Failure {
            last_output: Some("no rule to make target".to_owned()),
            ..Failure::run(2, "RUN failed: exit code 2")
        };
        assert_eq!(run.in_one_line(), "run: RUN failed: exit code 2: no rule to make target");
        let long = Failure::new(Kind::Run, "ü".repeat(300)).in_one_line();
        assert!(long.len() <= LONGEST && long.starts_with("run: ü") && long.ends_with('…'), "{long}");
    }

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("log");
        let failure = Failure::new(Kind::Usage, "wrong");
        failure.write_message(&path);
        assert!(!path.exists());
        std::fs::write(&path, "what was there before").expect("writes");
        failure.write_message(&path);
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "usage: wrong");
    }
}
