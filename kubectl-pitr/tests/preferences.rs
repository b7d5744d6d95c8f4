//! What a preference file changes, and what it cannot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use support::api::{program, told};

#[test]
fn a_preferred_format_counts_where_a_command_has_it_and_what_is_typed_goes_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("preferences.yaml");
    let run = |text: &str, words: &[&str]| {
        std::fs::write(&file, text).unwrap();
        told(&program(words).env("PITRCONFIG", &file).output().unwrap())
    };
    let version = ["version", "--client"];
    assert!(run("output: json\n", &version).1.starts_with('{'));
    assert!(!run("output: json\n", &["version", "--client", "-o", "table"]).1.starts_with('{'));
    assert_eq!(run("output: json\n", &["explain", "PITR0301"]).0, 0, "it has no such format");
    let (code, _, errors) = run("namespace: shop\n", &version);
    assert_eq!(code, 2);
    assert!(errors.contains("never a namespace, a workload or a target"), "{errors}");
    let (code, _, errors) = run("timezone: Nowhere/Never\n", &version);
    assert_eq!(code, 2, "{errors}");
}
