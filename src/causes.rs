//! What lies behind an error: the errors that it names as its sources, one behind the other.
//!
//! *Invariant: nothing is known here of any particular error.*

use std::error::Error;
use std::io;
use std::iter::successors;

/// Walks an error and its causes; the error itself comes first.
pub fn of<'error>(error: &'error (dyn Error + 'static)) -> impl Iterator<Item = &'error (dyn Error + 'static)> {
    successors(Some(error), |&error| next(error))
}

/// Walks the causes of an error.
pub fn behind(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    successors(error.source(), |&error| next(error))
}

/// Returns what an error carries or names as its source: an input error that carries another one names only that one's.
fn next<'error>(error: &'error (dyn Error + 'static)) -> Option<&'error (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried),
        None => error.source(),
    }
}

/// Writes an error and its causes in one line.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in behind(error) {
        let more = cause.to_string();
        // Some errors quote their cause in their own text.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layered {
        text: &'static str,
        source: Option<Box<Layered>>,
    }

    fn layered(texts: &[&'static str]) -> Layered {
        let source = (texts.len() > 1).then(|| Box::new(layered(&texts[1..])));
        Layered { text: texts[0], source }
    }

    #[test]
    fn a_cause_is_told_once() {
        for (texts, line) in [
            (&["alone"][..], "alone"),
            (&["outer", "inner", "root"], "outer: inner: root"),
            (&["outer: inner", "inner", "root"], "outer: inner: root"),
        ] {
            let error = layered(texts);
            assert_eq!(in_one_line(&error), line);
            assert_eq!(of(&error).count(), texts.len());
        }
    }

    #[test]
    fn what_an_input_error_carries_is_found() {
        let error = io::Error::other(io::Error::other(layered(&["outer", "inner"])));
        assert_eq!(of(&error).filter(|cause| cause.is::<Layered>()).count(), 1);
        assert_eq!(of(&error).filter(|cause| cause.is::<Box<Layered>>()).count(), 1);
        assert_eq!(in_one_line(&error), "outer: inner");
    }
}
