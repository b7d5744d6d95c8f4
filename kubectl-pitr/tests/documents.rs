//! What the documents tell people to type is what the program takes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use kubectl_pitr::args::command;
use pitr_recovery::code::CODES;

fn root() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("..")
}

/// Everything that people read, but the history.
fn documents() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md"), root().join("manifests/README.md")];
    for folder in ["docs", "docs/decisions"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        paths.extend(entries.map(|e| e.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    paths.sort();
    let read = |path: &PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(read).collect()
}

/// Lines of fenced and indented blocks, lines that end in a backslash joined, and what stands between backticks in the text.
fn typed(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut blocks, mut inline, mut fenced, mut held) = (Vec::new(), Vec::new(), false, String::new());
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            held.push_str(line.trim_end_matches('\\'));
            if !line.ends_with('\\') {
                blocks.push(std::mem::take(&mut held));
            }
        } else {
            inline.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    (blocks, inline)
}

/// The words of a `kubectl pitr` in a line, up to what the shell does with it.
fn words(line: &str) -> Option<Vec<String>> {
    let (before, rest) = line.split_once("kubectl pitr")?;
    // In a drawing or a sentence, such as "kubectl pitr: …", it is no command.
    if !["", "$"].contains(&before.trim()) || !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in rest.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '>' | '#' | ';' | '&' | '(') if word.is_none() => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    // Three dots stand for a value after a flag, and for more flags elsewhere.
    let dots = |word: &String| word == "..." || word == "…";
    for n in 1..words.len() {
        if dots(&words[n]) && words[n - 1].starts_with("--") {
            words[n] = "x".to_owned();
        }
    }
    words.retain(|word| !dots(word));
    Some(std::iter::once("kubectl-pitr".to_owned()).chain(words).collect())
}

fn refusal(words: &[String]) -> Option<clap::Error> {
    let refused = command("kubectl-pitr").try_get_matches_from(words).err()?;
    (!matches!(refused.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)).then_some(refused)
}

#[test]
fn every_command_in_the_documents_is_one() {
    let (mut seen, mut findings) = (0, Vec::new());
    for (name, text) in documents() {
        let (blocks, inline) = typed(&text);
        for (line, whole) in blocks.iter().map(|l| (l, true)).chain(inline.iter().map(|l| (l, false))) {
            let Some(words) = words(line) else { continue };
            seen += 1;
            let Some(refused) = refusal(&words) else { continue };
            // In a sentence the rest of a command may be left out.
            let partial = matches!(
                refused.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::MissingSubcommand
            );
            if whole || !partial {
                findings
                    .push(format!("{name}: {line}\n    {}", refused.to_string().lines().next().unwrap_or_default()));
            }
        }
    }
    assert!(seen > 50, "only {seen} commands found");
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn a_flag_that_there_is_not_is_found() {
    let wrong = words("$ kubectl pitr restore mysql -n shop --to latest --no-such-flag 1 # x").unwrap();
    assert_eq!(wrong.last().unwrap(), "1");
    assert_eq!(refusal(&wrong).unwrap().kind(), ErrorKind::UnknownArgument);
    assert!(refusal(&words("kubectl pitr status -A -o jsonpath='{range .items[*]}{end}' | wc").unwrap()).is_none());
}

#[test]
fn no_dump_in_the_documents_drops_a_live_table() {
    let mut seen = 0;
    for (name, text) in documents() {
        for line in typed(&text).0.iter().filter(|line| line.contains("mysqldump ")) {
            assert!(line.contains("--skip-add-drop-table"), "{name}: {line}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn pages_that_codes_name_are_there() {
    for code in CODES {
        for text in [code.hint, code.fix] {
            for word in text.split([' ', ';', ',']).filter(|word| word.starts_with("docs/")) {
                let (page, place) = word.split_once('#').unwrap_or((word, ""));
                let text = std::fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{code}: {page}: {e}"));
                assert!(place.is_empty() || heads(&text).contains(&place.to_owned()), "{code}: no {place} in {page}");
            }
        }
    }
}

/// The places of a page, as they are named in links.
fn heads(text: &str) -> Vec<String> {
    let head = text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let letters = |c: char| c.is_alphanumeric() || c == ' ' || c == '-';
    head.map(|head| head.to_lowercase().chars().filter(|c| letters(*c)).collect::<String>().replace(' ', "-")).collect()
}

/// Links from page to page, and to places in them.
#[test]
fn links_between_pages_lead_somewhere() {
    let mut findings = Vec::new();
    for folder in [Path::new(""), Path::new("docs"), Path::new("docs/decisions"), Path::new("manifests")] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "md") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
                if link.contains("://") {
                    continue;
                }
                let (page, place) = link.split_once('#').unwrap_or((link, ""));
                let target = if page.is_empty() { path.clone() } else { path.parent().unwrap().join(page) };
                let there = target.exists()
                    && (place.is_empty()
                        || heads(&std::fs::read_to_string(&target).unwrap()).contains(&place.to_owned()));
                if !there {
                    findings.push(format!("{}: {link}", path.display()));
                }
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// All of our sources but the table itself.
fn sources() -> String {
    let mut texts = String::new();
    let mut folders: Vec<PathBuf> =
        ["kubectl-pitr/src", "sidecar/src", "crates/archive/src", "crates/recovery/src"].map(|f| root().join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(end) if end == "rs" && !path.ends_with("code.rs") => {
                    texts.push_str(&std::fs::read_to_string(&path).unwrap());
                }
                _ => {}
            }
        }
    }
    texts
}

#[test]
fn a_code_that_nothing_gives_says_so() {
    let sources = sources();
    let given = |name: &str| sources.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|word| word == name);
    let silent: Vec<_> = CODES
        .iter()
        .filter(|code| !given(code.name) && !code.when.starts_with("reserved"))
        .map(|code| code.name)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn words_that_would_be_ignored_are_refused() {
    for line in [
        "status mysql -A",
        "status mysql -l app=mysql",
        "status -w --exit-code",
        "status -w --show-gaps",
        "restore mysql --plan-file p.json --accept-early-stop",
        "backup mysql --schedule @daily --wait",
        "backup mysql --schedule @daily --timeout 5m",
        "logs mysql --job j",
        "inject mysql --archive s3://b/p --confirm mysql",
        "uninject -f f.yaml --timeout 1m",
        "uninject mysql --timeout 1m",
        "restores resume r --batch 0",
    ] {
        let words = words(&format!("kubectl pitr {line}")).unwrap();
        assert_eq!(refusal(&words).unwrap_or_else(|| panic!("{line}")).exit_code(), 2, "{line}");
    }
    for line in
        ["--version", "status --exit-code", "backup mysql --schedule @daily", "restores resume r --xa keep --batch 1"]
    {
        assert!(refusal(&words(&format!("kubectl pitr {line}")).unwrap()).is_none(), "{line}");
    }
}
