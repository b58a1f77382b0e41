use proptest::prelude::*;

use super::*;

fn digest() -> Digest {
    Digest::of(b"the image")
}

/// Writes a digest behind every name that has none.
fn pinned(text: &str) -> String {
    let images = images(text.as_bytes()).expect(text);
    let edits: Vec<Edit> =
        images.named.iter().filter(|named| !named.is_pinned()).map(|named| named.edit(&digest())).collect();
    String::from_utf8(rewritten(text.as_bytes(), &edits)).expect("UTF-8")
}

fn left(text: &str) -> Vec<(usize, String, bool)> {
    let left = images(text.as_bytes()).expect(text).left;
    left.into_iter().map(|left| (left.line, left.reason, left.is_open)).collect()
}

#[test]
fn each_way_to_name_an_image_gets_a_digest_and_nothing_else_changes() {
    let at = format!("@{}", digest());
    for (text, expected) in [
        ("FROM alpine:3.20\n", "FROM alpine:3.20@\n"),
        ("FROM alpine", "FROM alpine:latest@"),
        (
            "  from --platform=$BUILDPLATFORM  localhost:5000/a/b  as X\r\n",
            "  from --platform=$BUILDPLATFORM  localhost:5000/a/b:latest@  as X\r\n",
        ),
        ("\u{feff}FROM \"alpine:3\"\n", "\u{feff}FROM \"alpine:3@\"\n"),
        ("FROM \\\n# why\n\n  alpine:3 \\\n AS a\nFROM a\n", "FROM \\\n# why\n\n  alpine:3@ \\\n AS a\nFROM a\n"),
        ("# escape=`\nFROM `\n alpine:3\n", "# escape=`\nFROM `\n alpine:3@\n"),
        (
            "FROM scratch\nCOPY --chown=1 --from=busybox:1 /a /b\n",
            "FROM scratch\nCOPY --chown=1 --from=busybox:1@ /a /b\n",
        ),
        ("FROM scratch\nCOPY --from='busybox:1' /a /b\n", "FROM scratch\nCOPY --from='busybox:1@' /a /b\n"),
        (
            "FROM scratch\nRUN --mount=type=bind,from=from,target=/m --mount=FROM=a/b:1,target=/n x from=a/b:1\n",
            "FROM scratch\nRUN --mount=type=bind,from=from:latest@,target=/m --mount=FROM=a/b:1@,target=/n x from=a/b:1\n",
        ),
        (
            "FROM scratch\nRUN --mount=\"type=bind,from=old:1,from=new:1\" x\n",
            "FROM scratch\nRUN --mount=\"type=bind,from=old:1,from=new:1@\" x\n",
        ),
        (
            "FROM golang:1 AS golang\nFROM Golang\nCOPY --from=GOLANG a b\nCOPY --from=0 a b\nCOPY --from=later a b\nFROM scratch AS later\n",
            "FROM golang:1@ AS golang\nFROM Golang\nCOPY --from=GOLANG a b\nCOPY --from=0 a b\nCOPY --from=later a b\nFROM scratch AS later\n",
        ),
        (
            "FROM scratch\nCOPY <<FROM /a\nFROM alpine:3\nFROM\nRUN <<x\n--from=alpine\nx\n",
            "FROM scratch\nCOPY <<FROM /a\nFROM alpine:3\nFROM\nRUN <<x\n--from=alpine\nx\n",
        ),
        ("ARG BASE=alpine:3\nFROM $BASE\nFROM ${BASE} AS b\n", "ARG BASE=alpine:3@\nFROM $BASE\nFROM ${BASE} AS b\n"),
        ("ARG A B=\"3.20\" C\nFROM alpine:${B}\n", "ARG A B=\"3.20@\" C\nFROM alpine:${B}\n"),
        ("ARG \\\n  B=alpine\nFROM $B\n", "ARG \\\n  B=alpine:latest@\nFROM $B\n"),
    ] {
        assert_eq!(pinned(text), expected.replace('@', &at), "{text}");
    }
}

#[test]
fn what_is_no_plain_reference_is_left_and_the_reason_is_told() {
    let hex = digest();
    for (text, reason, is_open) in [
        ("FROM $BASE\n", "no ARG before the first FROM gives BASE a value", true),
        ("ARG BASE\nFROM $BASE\n", "has no default", true),
        ("ARG A=1\nARG BASE=a:$A\nFROM $BASE\n", "made of other variables", true),
        ("ARG A=1\nFROM a:$A\nFROM b:${A}x\n", "in the name of another base, in line 3", true),
        ("ARG A=1\nFROM a:$A\nARG A\n", "a stage declares it, in line 3", true),
        ("ARG A=a:1\nARG A=a:2\nFROM $A\n", "more than once", true),
        ("ARG A=linux\nFROM --platform=$A/amd64 $A\n", "in a platform, in line 2", true),
        ("ARG A=a:1\nARG B=x$A\nFROM $A\n", "in the value of ARG B", true),
        ("ARG V=1\nFROM a:${V}-slim\n", "put together", true),
        ("ARG V=1\nFROM a:${V:-2}\n", "put together", true),
        ("FROM al\\\npine:3\n", "not written in one piece", true),
        ("ARG A=al\\\npine\nFROM $A\n", "not written in one piece", true),
        ("FROM Alpine\n", "must be in lower case", true),
        ("# syntax=docker/dockerfile:1\nFROM scratch\n", "`# syntax=` names a reader", false),
        ("FROM scratch\nONBUILD COPY --from=tools:1 a b\n", "ONBUILD: what it means", false),
        ("FROM scratch\nONBUILD RUN --mount=from=tools:1 a\n", "ONBUILD: what it means", false),
        (&format!("ARG V=1\nFROM a:${{V}}@{hex}\n"), "it has a digest", false),
    ] {
        let found = left(text);
        let Some((_, told, open)) = found.first() else { panic!("{text}") };
        assert!(told.contains(reason) && *open == is_open, "{text}: {found:?}");
        assert_eq!(pinned(text), text);
    }
}

#[test]
fn a_digest_that_is_there_is_replaced_and_its_place_is_known() {
    let old = Digest::of(b"old");
    let text = format!("FROM a@{old}\nCOPY --from=a:1@{old} x y\n");
    let found = images(text.as_bytes()).expect("parses");
    let [first, second] = &found.named[..] else { panic!("{found:?}") };
    assert_eq!((first.is_pinned(), first.tagged()), (true, None));
    assert_eq!((second.line, second.column), (2, 13));
    assert_eq!(second.tagged(), Some("a:1".parse().expect("reference")));
    let changed = rewritten(text.as_bytes(), &[second.edit(&digest())]);
    assert_eq!(changed, format!("FROM a@{old}\nCOPY --from=a:1@{} x y\n", digest()).into_bytes());
}

/// Lines that a Dockerfile may be made of, valid in any order behind a FROM.
fn line() -> impl Strategy<Value = String> {
    let image = "(registry\\.example\\.com/)?[a-z]{1,4}(:[0-9]{1,2})?";
    let end = prop_oneof![
        Just("\n"),
        Just("\r\n"),
        Just("\n\n"),
        Just("\n# FROM alpine\n"),
        Just(" \\\n\n"),
        Just(" \\\n# c\n  \n")
    ];
    let (from, copy, mount) = (image, image, image);
    let text = prop_oneof![
        (from, "( AS s[0-9])?").prop_map(|(image, name)| format!("FROM {image}{name}")),
        copy.prop_map(|image| format!("COPY --from={image} a b")),
        mount.prop_map(|image| format!("RUN --mount=type=bind,from={image},target=/x --mount=type=cache,target=/y y")),
        "[ -~]{0,20}".prop_map(|text| format!("RUN x{text}").replace(['\\', '<'], "")),
        Just("COPY <<FROM /d\nFROM heredoc:1\nFROM".to_owned()),
        Just("\tENV  A=alpine:3".to_owned()),
    ];
    (text, end).prop_map(|(text, end)| {
        // A heredoc's last line, and a comment, continue nowhere.
        if text.contains("<<") && end.contains('\\') { text + "\n" } else { text + end }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn all_other_bytes_stay(lines in proptest::collection::vec(line(), 0..12), bom in any::<bool>()) {
        let bom = if bom { "\u{feff}" } else { "" };
        let text = format!("{bom}FROM first\n{}", lines.concat());
        prop_assume!(parse(text.as_bytes()).is_ok());
        let found = images(text.as_bytes()).expect("is valid");
        let changed = pinned(&text);
        // What was added is taken away again from the first place to the last, so that the later places are right, too.
        let added = format!("@{}", digest());
        let mut back = changed.clone();
        for named in &found.named {
            let at = back[named.start..].find(&named.pinned(&digest())).map(|at| at + named.start);
            prop_assert_eq!(at, Some(named.start), "{}", changed);
            back.replace_range(named.start..named.start + named.pinned(&digest()).len(), &named.written);
        }
        prop_assert_eq!(&back, &text);
        prop_assert!(!back.contains(&added));
        let again = images(changed.as_bytes()).expect("is valid still");
        prop_assert_eq!(again.named.len(), found.named.len());
        prop_assert!(again.named.iter().all(Named::is_pinned));
        prop_assert_eq!(pinned(&changed), changed);
    }

    #[test]
    fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut text = text;
        text.splice(0..0, b"ARG A=b:$\nFROM ".iter().copied());
        if let Ok(found) = images(&text) {
            let edits: Vec<Edit> = found.named.iter().map(|named| named.edit(&digest())).collect();
            prop_assert!(rewritten(&text, &edits).len() >= text.len());
        }
    }
}
