//! The project's own documents, whose commands the tests run.

use std::path::Path;

use anyhow::{Context as _, Result};

/// The lines of all fenced blocks of `docs/{page}` that are marked exactly `language` (such as `sh local`), lines that end in a
/// backslash joined.
///
/// # Errors
/// The page cannot be read.
pub fn commands(page: &str, language: &str) -> Result<Vec<String>> {
    // Asked of cargo at run time: a path that was compiled in may be that of another checkout of the same cache.
    let package = std::env::var("CARGO_MANIFEST_DIR").context("tests are run by cargo")?;
    let path = Path::new(&package).join("../docs").join(page);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(parse(&text, language))
}

fn parse(text: &str, language: &str) -> Vec<String> {
    let (mut commands, mut wanted, mut open, mut held) = (Vec::new(), false, false, String::new());
    for line in text.lines() {
        if let Some(mark) = line.strip_prefix("```") {
            wanted = !open && mark.trim() == language;
            open = !open;
        } else if wanted && !line.trim().is_empty() {
            held.push_str(line.trim_end_matches('\\'));
            if !line.ends_with('\\') {
                commands.push(std::mem::take(&mut held));
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_blocks_of_the_language_count() {
        let text = "a\n```sh\none \\\n  more\n\ntwo\n```\n```\nnot\n```\n```sh local\nnor\n```\n";
        assert_eq!(parse(text, "sh"), ["one   more", "two"]);
        assert_eq!(parse(text, "sh local"), ["nor"]);
    }
}
