//! The same input gives the same digest: again, elsewhere, in another isolation, under another umask.

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::scratch::Scratch;
use crate::support::source::source;

const DOCKERFILE: &str = "FROM $BASE
WORKDIR /srv
COPY --chown=alice . /srv/context/
RUN mkdir made && echo made > made/file && ln made/file made/hard && ln -s file made/soft && chmod 700 made
RUN rm -r /home/alice && touch /etc/passwd && echo x >> /etc/group
ENV A=1
";

fn digest(isolation: Isolation, source: &Scratch, arguments: &[&str], epoch: Option<&str>, umask: &str) -> String {
    let mut executor = Executor::new(isolation, source.path());
    executor.only_layout().add(arguments).umask(umask);
    if let Some(epoch) = epoch {
        executor.env("SOURCE_DATE_EPOCH", epoch);
    }
    let build = executor.run().expect(0);
    let image = build.image();
    image.verify();
    image.digest
}

/// Two copies whose files differ in what must not count: time.
fn sources() -> [Scratch; 2] {
    let context = [("a", "a\n"), ("d/b", "b\n")];
    let first = source(DOCKERFILE, &context);
    crate::support::steps::next_second();
    [first, source(DOCKERFILE, &context)]
}

#[test]
fn source_date_epoch_gives_one_digest_everywhere() {
    let sources = sources();
    let mut digests = Vec::new();
    for isolation in Isolation::ALL {
        if !isolation.allowed("reproducible: SOURCE_DATE_EPOCH") {
            continue;
        }
        for (source, umask) in sources.iter().zip(["022", "077"]) {
            digests.push((isolation, digest(isolation, source, &[], Some("1700000000"), umask)));
        }
    }
    assert!(digests.iter().all(|(_, digest)| *digest == digests[0].1), "{digests:#?}");
}

#[test]
fn the_reproducible_flag_gives_one_digest_too() {
    if !Isolation::Namespace.allowed("reproducible: flag") {
        return;
    }
    let [first, second] = sources();
    let digest = |source| digest(Isolation::Namespace, source, &["--reproducible"], None, "022");
    assert_eq!(digest(&first), digest(&second));
}

#[test]
fn another_epoch_gives_another_digest() {
    if !Isolation::Namespace.allowed("reproducible: epochs") {
        return;
    }
    let [source, _] = sources();
    let digest = |epoch| digest(Isolation::Namespace, &source, &[], Some(epoch), "022");
    assert_ne!(digest("1700000000"), digest("1700000001"));
}
