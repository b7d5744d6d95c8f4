//! `docs/configuration.md` says what the table of keys says. `PITR_BLESS=1` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::keys::{KEYS, Key, Kind, Support, TAKEN_AT_THE_START};
use super::parse;

const HEAD: &str = include_str!("reference.md");

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## All keys\n\n| key | kind | default | |\n| --- | --- | --- | --- |\n");
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        writeln!(page, "| `{}` | {} | {default} | {}{} |", key.path, kind(key), key.about, values(key)).unwrap();
    }
    page
}

fn kind(key: &Key) -> &'static str {
    match key.kind {
        Kind::Text => "text",
        Kind::Flag => "true, false",
        Kind::Duration => "`500ms`, `2s`, `1m`, `6h`, `14d`",
        Kind::Size => "`64KiB`, `8MiB`, `1GiB`",
        Kind::Count => "number",
        Kind::List => "list",
    }
}

/// What may stand there, where only some things may.
fn values(key: &Key) -> String {
    match key.support {
        Support::Only(values) => format!("; `{}`", values.join("`, `")),
        Support::Full => String::new(),
    }
}

#[test]
fn docs_say_what_the_table_says() {
    let path = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../docs/configuration.md");
    if std::env::var_os("PITR_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page(),
        "docs/configuration.md is not what keys.rs and reference.md say: run this test with PITR_BLESS=1"
    );
}

#[test]
fn what_only_a_start_takes_is_named() {
    let line = HEAD.lines().find_map(|line| line.strip_prefix("- Only a start takes ")).unwrap();
    let named: Vec<&str> = line.split('`').skip(1).step_by(2).map(|key| key.trim_end_matches('*')).collect();
    assert_eq!(named, TAKEN_AT_THE_START);
    let is_there = |name: &&&str| KEYS.iter().any(|key| key.path.starts_with(**name));
    assert_eq!(TAKEN_AT_THE_START.iter().filter(is_there).count(), TAKEN_AT_THE_START.len());
}

#[test]
fn the_sample_is_a_configuration() {
    let mut fences = HEAD.split("```");
    let sample = fences.find_map(|part| part.strip_prefix("yaml\n")).unwrap();
    let config = parse(sample, &BTreeMap::new()).unwrap();
    assert_eq!(config.workload, "shop/mysql");
}
