//! What a compiler does not see: the layering, files that no module names, names that say nothing, and rules that keep
//! one kind of thing in one place. Everything here reads the tree as text or as `cargo metadata`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that hold our Rust code.
const ROOMS: &[&str] = &[
    "crates/binlog",
    "crates/recovery",
    "crates/archive",
    "crates/replay",
    "crates/model",
    "sidecar",
    "kubectl-pitr",
    "e2e",
    "benches",
];

/// Module names that say that a thing is not understood yet.
const BANNED_NAMES: &[&str] = &["utils", "util", "common", "helpers", "misc", "manager", "base", "types"];

/// Lines of one source file above which it is surely several rooms; tests may be longer.
const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_path_buf()
}

/// All Rust files below `folder`, as paths relative to the root.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    files(folder, &|path| path.extension().is_some_and(|e| e == "rs"))
}

/// The files below `folder` that are wanted, as paths relative to the root.
fn files(folder: &str, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "target" {
                    folders.push(path);
                }
            } else if wanted(&path) {
                found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn all_sources() -> Vec<PathBuf> {
    let files: Vec<_> = ROOMS.iter().flat_map(|room| rust_files(room)).collect();
    assert!(files.len() > 50, "only {} Rust files found: is the tree where this test looks", files.len());
    files
}

fn is_test_code(path: &Path) -> bool {
    path.components().any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "testing" | "fixtures")))
        || path.file_stem().is_some_and(|s| s == "tests" || s == "testing")
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn fail_with(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

/// A program of its own: nothing has to name it.
fn is_crate_root(path: &Path) -> bool {
    let folder = path.parent().unwrap();
    let stem = path.file_stem().unwrap();
    ["tests", "examples", "benches", "src/bin"].iter().any(|f| folder.ends_with(f))
        || stem == "build"
        || (folder.ends_with("src") && (stem == "lib" || stem == "main"))
        || (folder.parent().is_some_and(|above| above.ends_with("tests")) && stem == "main")
}

#[test]
fn every_source_file_is_named_by_a_module() {
    let sources = all_sources();
    let texts: BTreeMap<&Path, String> = sources.iter().map(|p| (p.as_path(), read(p))).collect();
    let mut orphans = Vec::new();
    for path in sources.iter().filter(|p| !is_crate_root(p)) {
        let folder = path.parent().unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (name, home) = match stem {
            "mod" => (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap()),
            _ => (stem, folder),
        };
        // The module that may declare it: home/{mod,lib,main}.rs, home.rs, or a program beside it.
        let declared = texts.iter().any(|(parent, text)| {
            let names_home = parent.parent() == Some(home)
                && (is_crate_root(parent) || parent.file_stem().is_some_and(|s| s == "mod"));
            (names_home || *parent == home.with_extension("rs")) && declares(text, name)
        });
        if !declared {
            orphans.push(path.display().to_string());
        }
    }
    fail_with("files that no module declares (rustc never sees them)", &orphans);
}

fn declares(text: &str, name: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        let rest = line.rsplit_once("mod ").map_or("", |(_, rest)| rest);
        rest.strip_suffix(';').or_else(|| rest.strip_suffix(" {")) == Some(name)
    })
}

#[test]
fn names_say_what_a_thing_is() {
    let findings: Vec<String> = all_sources()
        .iter()
        .filter(|path| {
            path.components().any(|c| {
                let part = c.as_os_str().to_string_lossy();
                BANNED_NAMES.contains(&part.trim_end_matches(".rs"))
            })
        })
        .map(|path| path.display().to_string())
        .collect();
    fail_with("names that say nothing", &findings);
}

#[test]
fn files_are_one_room_each() {
    let findings: Vec<String> = all_sources()
        .iter()
        .filter(|p| !is_test_code(p))
        .map(|p| (p, read(p).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(p, lines)| format!("{}: {lines} lines", p.display()))
        .collect();
    fail_with("files with more than one subject", &findings);
}

#[test]
fn each_kind_of_thing_has_one_home() {
    // (what a line contains, where alone it may stand, why)
    let rules: &[(&str, &str, &str)] = &[
        ("mysql_async", "sidecar/src/mysql", "SQL has one home"),
        ("kube::", "kubectl-pitr/src/cluster", "Kubernetes calls have one home"),
        ("aws_sdk_s3::", "crates/archive/src", "the object store has one home"),
    ];
    let mut findings = Vec::new();
    for path in all_sources().iter().filter(|p| !is_test_code(p) && !p.starts_with("e2e") && !p.starts_with("benches"))
    {
        for (number, line) in read(path).lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            for (words, home, why) in rules {
                let at_home = path.starts_with(home) || path == Path::new(&format!("{home}.rs"));
                if line.contains(words) && !at_home {
                    findings.push(format!("{}:{}: \"{words}\": {why}", path.display(), number + 1));
                }
            }
        }
    }
    fail_with("things out of their home", &findings);
}

#[test]
fn no_checkout_is_compiled_in() {
    // Checkouts share one target folder (CI clones afresh): cargo does not rebuild when only the folder's path has changed.
    let words = ["env!(\"", "CARGO_MANIFEST_DIR"].concat();
    let found = |path: &&PathBuf| read(path).contains(&words);
    let findings: Vec<String> = all_sources().iter().filter(found).map(|path| path.display().to_string()).collect();
    fail_with("the path of a checkout is compiled in: ask at run time", &findings);
}

#[test]
fn lines_end_clean() {
    let mut findings = Vec::new();
    for path in all_sources() {
        for (number, line) in read(&path).lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                findings.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    fail_with("trailing blanks", &findings);
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Package name -> names of its normal dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|p| (p["name"].as_str().unwrap().to_owned(), names(p))).collect()
}

/// The part of a source file that is test code.
fn tests_in(path: &Path) -> String {
    let text = read(path);
    match text.find("#[cfg(test)]") {
        _ if is_test_code(path) => text,
        Some(at) => text[at..].to_owned(),
        None => String::new(),
    }
}

/// A code that no test names may be given for the wrong thing, or never.
#[test]
fn each_code_of_the_catalogue_is_in_a_test() {
    let sources = all_sources();
    let tests = sources.iter().filter(|path| !path.ends_with("tidy.rs")).map(|path| tests_in(path));
    let golden = files("kubectl-pitr/tests/golden", &|_| true);
    let tests: Vec<String> = tests.chain(golden.iter().map(|path| read(path))).collect();
    let table = read(Path::new("crates/recovery/src/code.rs"));
    let row = |line: &str| {
        let (name, rest) = line.trim().split_once(" = ")?;
        let (number, _) = rest.split_once(" exit ")?;
        Some((name.to_owned(), number.parse::<u16>().ok()?))
    };
    let codes: Vec<_> = table.lines().filter_map(row).collect();
    assert!(codes.len() > 60, "only {} codes found", codes.len());
    let is_named = |text: &String, name: &str, number: u16| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let by_name = text
            .match_indices(name)
            .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + name.len()..].starts_with(is_word));
        by_name || text.contains(&format!("PITR{number:04}"))
    };
    let untold: Vec<String> = codes
        .iter()
        .filter(|(name, number)| !tests.iter().any(|text| is_named(text, name, *number)))
        .map(|(name, number)| format!("PITR{number:04} {name}"))
        .collect();
    fail_with("codes that are in no test", &untold);
}

#[test]
fn arrows_point_down() {
    let house: &[(&str, &[&str])] = &[
        ("pitr-binlog", &[]),
        ("pitr-recovery", &["pitr-binlog"]),
        ("pitr-archive", &["pitr-binlog", "pitr-recovery"]),
        ("pitr-replay", &["pitr-binlog"]),
        ("pitr-model", &[]),
        ("pitr-sidecar", &["pitr-archive", "pitr-binlog", "pitr-recovery", "pitr-replay"]),
        ("kubectl-pitr", &["pitr-archive", "pitr-binlog", "pitr-recovery"]),
    ];
    let dependencies = dependencies();
    let mut findings = Vec::new();
    for (package, allowed) in house {
        for name in dependencies[*package].iter().filter(|n| n.starts_with("pitr-") || *n == "kubectl-pitr") {
            if !allowed.contains(&name.as_str()) {
                findings.push(format!("{package} -> {name}"));
            }
        }
    }
    fail_with("arrows that go up or across", &findings);
}

#[test]
fn the_core_is_pure() {
    let dependencies = dependencies();
    let allowed = ["crc32fast", "thiserror", "pitr-binlog"];
    let mut findings = Vec::new();
    for package in ["pitr-binlog", "pitr-recovery"] {
        for name in dependencies[package].iter().filter(|d| !allowed.contains(&d.as_str())) {
            findings.push(format!("{package} -> {name}"));
        }
    }
    fail_with("no async, clock, network or serde below the archive", &findings);
}

#[test]
fn one_tls_stack_and_one_time_crate() {
    // The test server is none of the product; its S3 library brings a time crate of its own.
    let product = ["--workspace", "--exclude", "pitr-s3-server", "--edges", "normal"];
    let tree = cargo(&[&["tree", "--prefix", "none", "--locked"][..], &product[..]].concat());
    let crates: BTreeSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(crates.contains("rustls") && crates.contains("aws-lc-rs") && crates.contains("jiff"), "{crates:?}");
    let doubles = ["ring", "native-tls", "openssl", "chrono"];
    let findings: Vec<String> = doubles.iter().filter(|c| crates.contains(*c)).map(ToString::to_string).collect();
    fail_with("a second TLS stack or time crate is linked", &findings);
    let rustls: BTreeSet<&str> =
        tree.lines().filter(|l| l.starts_with("rustls v")).map(|l| l.trim_end_matches(" (*)")).collect();
    assert_eq!(rustls.len(), 1, "several versions of rustls: {rustls:?}");
}
