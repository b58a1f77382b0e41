//! What to ask a server for, so that one commit comes and little else.
//!
//! Pure: the server's references are given.

use git2::Oid;

/// Where what was fetched by name or by id is kept; nobody else uses the name.
pub(super) const FETCHED: &str = "refs/yadokari/context";

/// Stands behind the name of a tag where a server tells the commit that it names.
const PEELED: &str = "^{}";

/// What of a repository is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) reference: Option<String>,
    pub(super) commit: Option<String>,
    /// How many commits; none means all.
    pub(super) depth: Option<u32>,
}

/// A reference that the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) id: Oid,
}

/// One way to get what is wanted; the next one is tried where the server refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) refspecs: Vec<String>,
    pub(super) depth: Option<u32>,
    pub(super) target: Target,
}

/// What then is the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Object(Oid),
    Name(String),
}

/// Returns the ways to get what is wanted, the cheapest first.
pub(super) fn attempts(wanted: &Wanted, listed: &[Listed]) -> Result<Vec<Attempt>, String> {
    match (&wanted.commit, &wanted.reference) {
        (Some(commit), reference) => Ok(by_id(commit, reference.as_deref(), wanted.depth, listed)),
        (None, None) => {
            let head = listed.iter().find(|head| head.name == "HEAD");
            let head = head.ok_or("it is empty: it has no HEAD")?;
            Ok(vec![by_listed(branch_of(head, listed), wanted.depth)])
        }
        (None, Some(reference)) => by_name(reference, wanted.depth, listed),
    }
}

/// Returns the ids of what is wanted, where the server's references tell them: the commit is the last, before it the tag
/// that names it.
pub(super) fn named(wanted: &Wanted, listed: &[Listed]) -> Option<Vec<Oid>> {
    let attempts = attempts(wanted, listed).ok()?;
    let Target::Object(id) = attempts.first()?.target else { return None };
    let Some(found) = listed.iter().find(|other| other.id == id) else { return Some(vec![id]) };
    let peeled = format!("{}{PEELED}", found.name);
    let commit = listed.iter().find(|other| other.name == peeled);
    Some([Some(found), commit].into_iter().flatten().map(|listed| listed.id).collect())
}

/// Some servers do not let HEAD itself be fetched where it is detached; a branch of the same commit is the same.
fn branch_of<'a>(head: &'a Listed, listed: &'a [Listed]) -> &'a Listed {
    listed.iter().find(|other| other.name.starts_with("refs/heads/") && other.id == head.id).unwrap_or(head)
}

fn by_listed(listed: &Listed, depth: Option<u32>) -> Attempt {
    Attempt { refspecs: vec![format!("+{}:{FETCHED}", listed.name)], depth, target: Target::Object(listed.id) }
}

fn by_name(reference: &str, depth: Option<u32>, listed: &[Listed]) -> Result<Vec<Attempt>, String> {
    let spellings = [reference.to_owned(), format!("refs/heads/{reference}"), format!("refs/tags/{reference}")];
    let found = spellings
        .iter()
        .filter(|name| name.starts_with("refs/"))
        .find_map(|name| listed.iter().find(|other| other.name == **name));
    if let Some(found) = found {
        return Ok(vec![by_listed(found, depth)]);
    }
    if is_id(reference) {
        return Ok(by_id(&reference.to_lowercase(), None, depth, listed));
    }
    if reference.starts_with("refs/") {
        // Servers may have references that they do not list.
        let target = Target::Name(FETCHED.to_owned());
        return Ok(vec![Attempt { refspecs: vec![format!("+{reference}:{FETCHED}")], depth, target }]);
    }
    let suffix = format!("/{reference}");
    if let Some(found) = listed.iter().find(|other| other.name.starts_with("refs/") && other.name.ends_with(&suffix)) {
        return Err(format!("it has no branch or tag `{reference}`; did you mean `{}`?", found.name));
    }
    Err(format!("it has no branch, tag or commit `{reference}`"))
}

/// A commit by its id: from a reference that names it, else by the id itself, else from all of history.
fn by_id(id: &str, reference: Option<&str>, depth: Option<u32>, listed: &[Listed]) -> Vec<Attempt> {
    let peeled = listed.iter().find(|other| other.id.to_string().starts_with(id));
    if let Some(found) = peeled {
        let name = found.name.strip_suffix(PEELED).unwrap_or(&found.name);
        let attempt = by_listed(&Listed { name: name.to_owned(), id: found.id }, depth);
        return vec![attempt];
    }
    let mut attempts = Vec::new();
    if id.len() == 40
        && let Ok(oid) = Oid::from_str(id)
    {
        attempts.push(Attempt { refspecs: vec![format!("+{id}:{FETCHED}")], depth, target: Target::Object(oid) });
    }
    let mut everything = vec!["+refs/heads/*:refs/heads/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()];
    everything.extend(reference.filter(|name| name.starts_with("refs/")).map(|name| format!("+{name}:{FETCHED}")));
    attempts.push(Attempt { refspecs: everything, depth: None, target: Target::Name(id.to_owned()) });
    attempts
}

/// Tells whether a text can be a commit id, whole or short.
fn is_id(text: &str) -> bool {
    (4..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    fn listed() -> Vec<Listed> {
        let head = |name: &str, id| Listed { name: name.to_owned(), id: Oid::from_str(id).expect("id") };
        vec![
            head("HEAD", A),
            head("refs/heads/main", A),
            head("refs/heads/v1", A),
            head("refs/pull/7/head", B),
            head("refs/tags/v1", B),
        ]
    }

    fn first(reference: &str, commit: &str) -> Result<String, String> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let wanted = Wanted { reference: some(reference), commit: some(commit), depth: Some(1) };
        attempts(&wanted, &listed()).map(|attempts| format!("{} of {}", attempts[0].refspecs.join(" "), attempts.len()))
    }

    #[test]
    fn the_cheapest_way_comes_first() {
        for (reference, commit, expected) in [
            ("", "", "+refs/heads/main:refs/yadokari/context of 1".to_owned()),
            ("main", "", "+refs/heads/main:refs/yadokari/context of 1".to_owned()),
            ("v1", "", "+refs/heads/v1:refs/yadokari/context of 1".to_owned()),
            ("refs/tags/v1", "", "+refs/tags/v1:refs/yadokari/context of 1".to_owned()),
            ("refs/pull/7/head", "", "+refs/pull/7/head:refs/yadokari/context of 1".to_owned()),
            ("refs/pull/8/head", "", "+refs/pull/8/head:refs/yadokari/context of 1".to_owned()),
            ("AAAAAAA", "", "+HEAD:refs/yadokari/context of 1".to_owned()),
            ("bbbb", "", "+refs/pull/7/head:refs/yadokari/context of 1".to_owned()),
            (C, "", format!("+{C}:refs/yadokari/context of 2")),
            ("main", C, format!("+{C}:refs/yadokari/context of 2")),
            ("cccccc", "", "+refs/heads/*:refs/heads/* +refs/tags/*:refs/tags/* of 1".to_owned()),
        ] {
            assert_eq!(first(reference, commit), Ok(expected), "{reference} {commit}");
        }
        assert!(first("7/head", "").expect_err("unknown").contains("did you mean `refs/pull/7/head`"));
        assert!(first("nothing", "").expect_err("unknown").contains("no branch, tag or commit"));
    }
}
