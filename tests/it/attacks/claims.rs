//! What `docs/security.md` claims of each isolation, and the tests that hold it.
//!
//! Each cell of its table stands here once more, with the names of tests that fail where it is not so.

use std::fs;
use std::path::Path;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::source::source;

/// A row of the table.
struct Claim {
    text: &'static str,
    /// For `namespace`, `container` and `chroot`.
    cells: [&'static str; 3],
    /// `module::test`, for all cells.
    held_by: &'static [&'static str],
}

const CLAIMS: &[Claim] = &[
    Claim {
        text: "RUN sees none of the container's mounts: credentials, tokens, workspaces",
        cells: ["yes", "**no**", "yes"],
        held_by: &["attacks::claims::a_run_sees_what_is_mounted_in_container_isolation_only"],
    },
    Claim {
        text: "no layer of a base writes outside of the image",
        cells: ["yes", "yes", "yes"],
        held_by: &[
            "hostile::names_with_dots_stay_inside",
            "hostile::absolute_names_stay_inside",
            "hostile::links_to_the_outside_are_not_followed_out",
            "hostile::hard_links_to_the_outside_are_not_made",
        ],
    },
    Claim {
        text: "a base whose layers are not those that its documents name is refused",
        cells: ["yes", "yes", "yes"],
        held_by: &[
            "attacks::bytes::a_base_that_lies_about_its_layers_is_refused",
            "attacks::bytes::an_index_that_lies_about_a_size_is_refused",
        ],
    },
    Claim {
        text: "what ADD has compared with a checksum is what it adds, whatever RUN did before",
        cells: ["yes", "yes", "yes"],
        held_by: &["attacks::bytes::what_add_has_verified_is_what_it_adds"],
    },
    Claim {
        text: "a context that was fetched is used as it came",
        cells: ["yes", "yes, or the build fails", "yes"],
        held_by: &["attacks::bytes::a_run_that_changes_a_context_that_was_fetched_fails_the_build"],
    },
    Claim {
        text: "a context that changes while it is read poisons no cache",
        cells: ["yes", "yes", "yes"],
        held_by: &[
            "attacks::bytes::a_context_that_changes_while_it_is_copied_poisons_no_cache",
            "attacks::bytes::an_image_of_a_context_that_changed_is_not_found_by_the_key_of_the_build",
        ],
    },
    Claim {
        text: "lists of a base's files that somebody else has written are not believed",
        cells: ["yes", "yes", "yes"],
        held_by: &[
            "attacks::cache::an_inventory_that_another_user_has_planted_is_not_believed",
            "attacks::cache::an_inventory_that_a_run_has_planted_is_not_believed",
        ],
    },
    Claim {
        text: "RUN cannot write to a cache in a directory",
        cells: ["yes", "**no**, and a warning says so", "yes"],
        held_by: &["attacks::cache::a_run_that_can_write_to_the_cache_is_told_and_a_key_makes_it_harmless"],
    },
    Claim {
        text: "an entry of the cache that somebody else has written is not taken",
        cells: ["with a key", "with a key", "with a key"],
        held_by: &[
            "attacks::cache::an_entry_that_somebody_else_has_written_is_taken_by_nobody_who_has_the_key",
            "attacks::cache::a_run_that_can_write_to_the_cache_is_told_and_a_key_makes_it_harmless",
            "attacks::cache::entries_of_registries_and_images_are_sealed_too",
            "attacks::cache::cache_mounts_of_a_repository_are_sealed_too",
        ],
    },
    Claim {
        text: "RUN cannot read the file with the key of the cache",
        cells: ["yes", "such a file is refused", "yes"],
        held_by: &["attacks::cache::a_key_in_a_file_that_run_could_read_is_refused"],
    },
    Claim {
        text: "what RUN and COPY write is in the image, whatever the pod has mounted there",
        cells: ["yes", "yes, or the build is refused or fails", "yes"],
        held_by: &[
            "pod_volumes::an_image_is_the_same_in_the_pods_of_all_systems",
            "pod_volumes::container_isolation_by_name_refuses_what_it_would_hide",
            "pod_volumes::what_run_writes_into_a_volume_fails_the_build_by_name",
        ],
    },
    Claim {
        text: "no redirect lowers the scheme, or carries what is secret to another server",
        cells: ["yes", "yes", "yes"],
        held_by: &[
            "attacks::network::no_redirect_lowers_the_scheme",
            "attacks::network::no_redirect_carries_what_is_secret_to_another_server",
        ],
    },
    Claim {
        text: "no server sends the executor to link-local addresses, nor one elsewhere to this machine",
        cells: ["yes", "yes", "yes"],
        held_by: &[
            "attacks::network::nothing_leads_to_link_local_addresses",
            "attacks::network::a_server_elsewhere_does_not_lead_to_this_machine",
        ],
    },
];

#[test]
fn each_claim_of_the_documents_is_held_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/security.md")).expect("it is there");
    let rows = text.lines().skip_while(|line| !line.starts_with("| claim |")).skip(2);
    let told: Vec<Vec<&str>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let held: Vec<Vec<&str>> = CLAIMS.iter().map(|claim| [&[claim.text][..], &claim.cells].concat()).collect();
    assert_eq!(told, held, "the table in docs/security.md and the claims here differ");
    for claim in CLAIMS {
        assert!(!claim.held_by.is_empty(), "{}: nothing holds it", claim.text);
        for test in claim.held_by {
            let (module, name) = test.rsplit_once("::").expect("module::test");
            let path = root.join("tests/it").join(module.replace("::", "/")).with_extension("rs");
            let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "{}: there is no test {test}", claim.text);
        }
    }
}

#[test]
fn a_run_sees_what_is_mounted_in_container_isolation_only() {
    for isolation in
        Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("attacks: mounts of the container"))
    {
        let mut executor = Executor::new(isolation, Path::new("/"));
        let token = executor.credential("token", "a token\n");
        let text = format!("FROM $BASE\nRUN if test -e {token}; then echo seen; else echo hidden; fi > /token\n");
        let source = source(&text, &[]);
        let mut executor = Executor::new(isolation, source.path());
        let same = executor.credential("token", "a token\n");
        // On the machine itself each run has a directory of its own, and none is to be seen.
        assert!(same == token || isolation == Isolation::Namespace);
        let build = executor.only_layout().run().expect(0);
        let expected = if isolation == Isolation::Container { "seen" } else { "hidden" };
        let line = format!("file 0644 0:0 \"{expected}\\n\"");
        assert_eq!(Listing::of(&build.image()).0["/token"].text, line, "{}", isolation.name());
    }
}
