//! The files of the executor's own container that every RUN gets: who resolves names, and which are known.

use std::fs;

use crate::request::Host;

const HOSTS: &str = "/etc/hosts";

/// Contents of `resolv.conf` and `hosts`, read once at the start.
#[derive(Clone, Debug, Default)]
pub(super) struct HostFiles {
    files: Vec<(&'static str, Vec<u8>)>,
}

impl HostFiles {
    /// Reads them; one that is not there is not given to RUN either.
    pub(super) fn read() -> Self {
        let read = |path| Some((path, fs::read(path).ok()?));
        Self { files: ["/etc/resolv.conf", HOSTS].into_iter().filter_map(read).collect() }
    }

    /// Each file's path and content, with further names in `hosts`.
    pub(super) fn with(&self, hosts: &[Host]) -> Vec<(&'static str, Vec<u8>)> {
        let mut files = self.files.clone();
        if hosts.is_empty() {
            return files;
        }
        if !files.iter().any(|(path, _)| *path == HOSTS) {
            files.push((HOSTS, b"127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_vec()));
        }
        for (_, content) in files.iter_mut().filter(|(path, _)| *path == HOSTS) {
            if content.last().is_some_and(|last| *last != b'\n') {
                content.push(b'\n');
            }
            for Host { name, address } in hosts {
                content.extend_from_slice(format!("{address}\t{name}\n").as_bytes());
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_names_stand_behind_those_of_the_container() {
        let more = [Host { name: "a".to_owned(), address: "10.0.0.1".parse().unwrap() }];
        let named = |content: &str| HostFiles { files: vec![(HOSTS, content.as_bytes().to_vec())] };
        for (files, hosts, expected) in [
            (named("1.1.1.1 x"), &more[..], "1.1.1.1 x\n10.0.0.1\ta\n"),
            (named("1.1.1.1 x\n"), &more[..], "1.1.1.1 x\n10.0.0.1\ta\n"),
            (named("1.1.1.1 x"), &[], "1.1.1.1 x"),
            (HostFiles::default(), &more[..], "127.0.0.1\tlocalhost\n::1\tlocalhost\n10.0.0.1\ta\n"),
        ] {
            assert_eq!(files.with(hosts), [(HOSTS, expected.as_bytes().to_vec())]);
        }
        assert!(HostFiles::default().with(&[]).is_empty());
    }
}
