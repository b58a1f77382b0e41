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
    /// For `namespace`, `mediated`, `container` and `chroot`.
    cells: [&'static str; 4],
    /// `module::test`, for all cells.
    held_by: &'static [&'static str],
}

const CLAIMS: &[Claim] = &[
    Claim {
        text: "RUN sees none of the container's mounts: credentials, tokens, workspaces",
        cells: ["yes", "yes", "**no**", "yes"],
        held_by: &[
            "mediated::a_hostile_run_stays_in_its_root_whoever_the_pod_is",
            "attacks::claims::a_run_sees_what_is_mounted_in_container_isolation_only",
        ],
    },
    Claim {
        text: "no layer of a base writes outside of the image",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "hostile::names_with_dots_stay_inside",
            "hostile::absolute_names_stay_inside",
            "hostile::links_to_the_outside_are_not_followed_out",
            "hostile::hard_links_to_the_outside_are_not_made",
        ],
    },
    Claim {
        text: "a base whose layers are not those that its documents name is refused",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::bytes::a_base_that_lies_about_its_layers_is_refused",
            "attacks::bytes::an_index_that_lies_about_a_size_is_refused",
        ],
    },
    Claim {
        text: "what ADD has compared with a checksum is what it adds, whatever RUN did before",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &["attacks::bytes::what_add_has_verified_is_what_it_adds"],
    },
    Claim {
        text: "a context that was fetched is used as it came",
        cells: ["yes", "yes", "yes, or the build fails", "yes"],
        held_by: &["attacks::bytes::a_run_that_changes_a_context_that_was_fetched_fails_the_build"],
    },
    Claim {
        text: "a context that changes while it is read poisons no cache",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::bytes::a_context_that_changes_while_it_is_copied_poisons_no_cache",
            "attacks::bytes::an_image_of_a_context_that_changed_is_not_found_by_the_key_of_the_build",
        ],
    },
    Claim {
        text: "lists of a base's files that somebody else has written are not believed",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::cache::an_inventory_that_another_user_has_planted_is_not_believed",
            "attacks::cache::an_inventory_that_a_run_has_planted_is_not_believed",
        ],
    },
    Claim {
        text: "RUN cannot write to a cache in a directory",
        cells: ["yes", "yes", "**no**, and a warning says so", "yes"],
        held_by: &["attacks::cache::a_run_that_can_write_to_the_cache_is_told_and_a_key_makes_it_harmless"],
    },
    Claim {
        text: "an entry of the cache that somebody else has written is not taken",
        cells: ["with a key", "with a key", "with a key", "with a key"],
        held_by: &[
            "attacks::cache::an_entry_that_somebody_else_has_written_is_taken_by_nobody_who_has_the_key",
            "attacks::cache::a_run_that_can_write_to_the_cache_is_told_and_a_key_makes_it_harmless",
            "attacks::cache::entries_of_registries_and_images_are_sealed_too",
            "attacks::cache::cache_mounts_of_a_repository_are_sealed_too",
        ],
    },
    Claim {
        text: "RUN cannot read the file with the key of the cache",
        cells: ["yes", "yes", "such a file is refused", "yes"],
        held_by: &["attacks::cache::a_key_in_a_file_that_run_could_read_is_refused"],
    },
    Claim {
        text: "what RUN and COPY write is in the image, whatever the pod has mounted there",
        cells: ["yes", "yes", "yes, or the build is refused or fails", "yes"],
        held_by: &[
            "pod_volumes::an_image_is_the_same_in_the_pods_of_all_systems",
            "pod_volumes::container_isolation_by_name_refuses_what_it_would_hide",
            "pod_volumes::what_run_writes_into_a_volume_fails_the_build_by_name",
        ],
    },
    Claim {
        text: "no redirect lowers the scheme, or carries what is secret to another server",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::network::no_redirect_lowers_the_scheme",
            "attacks::network::no_redirect_carries_what_is_secret_to_another_server",
        ],
    },
    Claim {
        text: "no server sends the executor to link-local addresses, nor one elsewhere to this machine",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::network::nothing_leads_to_link_local_addresses",
            "attacks::network::a_server_elsewhere_does_not_lead_to_this_machine",
        ],
    },
    Claim {
        text: "RUN looks into no process that was there before it",
        cells: ["yes", "yes", "yes, or a warning says so", "yes"],
        held_by: &[
            "mediated::a_hostile_run_stays_in_its_root_whoever_the_pod_is",
            "attacks::other_processes::a_run_looks_into_no_process_that_was_there_before",
            "attacks::other_processes::where_no_capability_is_spare_a_warning_says_so",
        ],
    },
    Claim {
        text: "RUN looks into no other RUN that has a secret",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "mediated::a_hostile_run_stays_in_its_root_whoever_the_pod_is",
            "attacks::other_processes::a_run_with_a_secret_runs_alone_where_others_could_look_into_it",
        ],
    },
    Claim {
        text: "RUN has no system call that a container engine keeps from a container",
        cells: ["yes", "yes", "as the pod has it, or a warning says so", "as the pod has it"],
        held_by: &[
            "mediated::a_hostile_run_stays_in_its_root_whoever_the_pod_is",
            "attacks::system_calls::a_run_has_the_system_calls_of_a_container_and_no_more",
            "attacks::system_calls::a_pod_without_a_filter_is_told_that_run_has_none",
        ],
    },
    Claim {
        text: "a device that RUN makes opens nothing of the machine",
        cells: ["yes", "yes", "as the pod allows", "as the pod allows"],
        held_by: &[
            "mediated::the_image_is_the_same_whoever_the_pod_is",
            "attacks::devices::a_device_that_a_run_makes_without_a_user_namespace_is_data_of_the_layer",
        ],
    },
    Claim {
        text: "a RUN that signals the executor ends its own build, and nothing of it lives on",
        cells: ["it reaches no process", "it reaches no process", "yes", "yes"],
        held_by: &[
            "mediated::a_hostile_run_stays_in_its_root_whoever_the_pod_is",
            "attacks::ends::a_run_that_signals_the_first_process_ends_the_build_and_is_told",
            "attacks::ends::a_run_that_signals_all_processes_leaves_the_container_as_it_was",
            "attacks::ends::what_a_run_leaves_by_killing_init_ends_with_the_build",
        ],
    },
    Claim {
        text: "no program that RUN has left is executed afterwards",
        cells: ["yes", "yes", "yes, or the build fails", "yes"],
        held_by: &[
            "attacks::helpers::a_credential_helper_that_a_run_planted_is_not_executed",
            "attacks::container_files::a_run_that_replaces_the_executor_fails_the_build_and_changes_nothing",
            "attacks::container_files::a_run_that_changes_what_was_set_aside_fails_the_build_by_name",
        ],
    },
    Claim {
        text: "what RUN writes into results of ours, or as the termination message, is gone",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::results::what_a_run_wrote_into_results_is_gone",
            "attacks::results::a_run_does_not_write_the_termination_message",
        ],
    },
    Claim {
        text: "no list of processes shows the arguments of the executor",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::command_line::no_process_shows_the_arguments_of_the_executor",
            "attacks::command_line::a_neighbour_on_the_machine_sees_no_arguments",
        ],
    },
    Claim {
        text: "nothing is written through links that a checkout or a volume holds",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::files::nothing_is_written_through_links_of_a_volume",
            "attacks::files::nothing_is_written_through_directories_that_are_links",
            "attacks::cache::nothing_is_written_or_removed_through_links_of_a_cache",
        ],
    },
    Claim {
        text: "no Dockerfile, ignore file or file of a flag is read through a link that leads out of its mount or work tree",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::files::a_dockerfile_that_leads_out_is_not_read",
            "attacks::files::files_that_flags_name_are_not_read_through_links_that_lead_out",
        ],
    },
    Claim {
        text: "named pipes and locks of others keep no build",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::hangs::a_named_pipe_in_the_place_of_a_dockerfile_is_refused",
            "attacks::hangs::a_named_pipe_that_nobody_reads_is_no_result",
            "attacks::hangs::named_pipes_and_locks_beside_the_state_directory_keep_nobody",
        ],
    },
    Claim {
        text: "a build ends within 10 s of a signal and of `--timeout`, whatever it is doing",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::hangs::work_without_end_does_not_outlive_a_signal_or_the_time_that_a_build_has",
            "attacks::hangs::a_thread_that_hangs_does_not_outlive_the_end_of_the_build",
            "attacks::hangs::an_endless_file_of_a_run_does_not_outlive_a_signal",
        ],
    },
    Claim {
        text: "a context that is fetched takes no more room than `--context-max-size`",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "context_archive::hostile_archives_end_in_the_context_or_are_refused_and_nothing_outside_is_touched",
        ],
    },
    Claim {
        text: "documents of a base, and values of variables, cost at most 128 MiB of memory",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::costs::the_largest_documents_of_a_base_cost_little_memory",
            "attacks::costs::documents_of_a_base_that_would_cost_more_are_refused",
            "attacks::costs::a_value_that_grows_with_each_line_is_refused_by_its_line",
        ],
    },
    Claim {
        text: "what a cache says of earlier builds shows no login and no build argument",
        cells: ["yes", "yes", "yes", "yes"],
        held_by: &[
            "attacks::bytes::what_a_cache_keeps_of_an_instruction_shows_no_login",
            "attacks::cache::a_trail_says_nothing_of_build_arguments_and_the_log_names_them_all_the_same",
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
