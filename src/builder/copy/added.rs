//! ADD of what was fetched: files behind URLs, and Git repositories.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::dockerfile::ignore::Patterns;
use crate::image::{Entry, EntryKind, Timestamp};
use crate::plan::Unpack;
use crate::rootfs::Tree;

use super::super::additions::{Added, Held};
use super::draft::Content;
use super::filter::{Filter, Verdict};
use super::source::{Source, SourceFile};
use super::{Copier, Error, archive};

/// Mode of a file behind a URL, which has none of its own, as in BuildKit.
const DOWNLOADED_MODE: u32 = 0o600;

impl Copier<'_, '_, '_> {
    /// Copies what a source is that came from elsewhere.
    pub(super) fn copy_added(&mut self, added: &Added) -> Result<(), Error> {
        match added {
            Added::File { name, held, modified } => self.copy_download(name, held, *modified),
            Added::Tree(checkout) => self.copy_commit(&checkout.tree),
        }
    }

    fn copy_download(&mut self, name: &str, held: &Arc<Held>, modified: Option<Timestamp>) -> Result<(), Error> {
        self.sources += 1;
        if self.step.unpack == Unpack::Everything && archive::is_archive(held.reader(), Path::new(name))? {
            return self.unpack(held.reader(), Path::new(name));
        }
        let filter = Filter::new(None, &self.step.excludes)?;
        if !filter.judge(&Verdict::default(), Path::new(name)).taken {
            return Ok(());
        }
        let target = self.target(Path::new(name), false)?;
        let entry = Entry {
            path: target.clone(),
            kind: EntryKind::File { size: held.size() },
            mode: DOWNLOADED_MODE,
            uid: 0,
            gid: 0,
            mtime: modified.unwrap_or(Timestamp { seconds: 0, nanoseconds: 0 }),
            xattrs: BTreeMap::new(),
        };
        let content = if held.size() > 0 { Content::Held(Arc::clone(held)) } else { Content::None };
        self.put_file(SourceFile { entry, content, link: None }, target)
    }

    /// Copies all files of a commit, as those of a directory.
    fn copy_commit(&mut self, tree: &Tree) -> Result<(), Error> {
        let everything = Patterns::default();
        let source = Source::context(tree, &everything, true);
        let (root, filter) = (Path::new(""), Filter::new(None, &self.step.excludes)?);
        let mut copier = Copier {
            step: self.step,
            source: &source,
            draft: &mut *self.draft,
            owner: self.owner,
            aside: &mut *self.aside,
            sources: self.sources + 1,
            added: &[],
            observer: None,
            sockets: std::mem::take(&mut self.sockets),
        };
        let target = copier.target(root, true)?;
        copier.copy_root_directory(root, &source.file(root)?, &target, &filter)?;
        (self.sources, self.sockets) = (copier.sources, copier.sockets);
        Ok(())
    }
}
