//! Golden files: what the program says, word for word. `UPDATE_GOLDEN=1` writes them anew.

#[allow(dead_code, reason = "not every test asks an API server")]
pub(crate) mod api;
#[allow(dead_code, reason = "not every test makes a plan")]
pub(crate) mod base_backup;

use std::path::PathBuf;

#[allow(dead_code, reason = "not every test reads manifests")]
pub(crate) fn manifest(name: &str) -> String {
    let path = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/manifests").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[allow(dead_code, reason = "not every test has golden files of its own")]
pub(crate) fn golden(name: &str, actual: &str) {
    compare(&PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/golden").join(name), actual);
}

pub(crate) fn compare(path: &std::path::Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if actual == expected {
        return;
    }
    let line = actual.lines().zip(expected.lines()).take_while(|(a, e)| a == e).count();
    panic!(
        "{} differs from line {} on (UPDATE_GOLDEN=1 accepts it)\n--- expected\n{}\n--- actual\n{}",
        path.display(),
        line + 1,
        expected.lines().skip(line).take(12).collect::<Vec<_>>().join("\n"),
        actual.lines().skip(line).take(12).collect::<Vec<_>>().join("\n"),
    );
}
