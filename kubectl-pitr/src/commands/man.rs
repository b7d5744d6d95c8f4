//! `man`: the manual pages, made of what `--help` says, for those who package the program.

use std::path::Path;

use anyhow::{Context, Result};
use clap_mangen::Man;

use crate::args::{ManArgs, command};
use crate::session::Session;

const PROGRAM: &str = "kubectl-pitr";
/// The section of the manual for programs that users run.
const SECTION: &str = "1";

pub fn run(session: &Session, args: &ManArgs) -> Result<u8> {
    let what = |path: &Path| format!("write {}", path.display());
    std::fs::create_dir_all(&args.directory).with_context(|| what(&args.directory))?;
    for (name, page) in pages()? {
        let path = args.directory.join(name);
        std::fs::write(&path, page).with_context(|| what(&path))?;
        session.print(&format!("{}\n", path.display()))?;
    }
    Ok(0)
}

/// File name and text of each page: one for the program, one for each command.
pub fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut whole = command(PROGRAM);
    whole.build();
    let mut pages = vec![page(PROGRAM, whole.clone())?];
    for sub in whole.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages.push(page(&format!("{PROGRAM}-{}", sub.get_name()), sub.clone())?);
    }
    Ok(pages)
}

fn page(name: &str, command: clap::Command) -> Result<(String, Vec<u8>)> {
    let words = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.get_subcommands().any(|sub| !sub.is_hide_set());
    let man = Man::new(command).title(name.to_uppercase()).section(SECTION).date(String::new());
    let mut text = Vec::new();
    let mut render = || -> std::io::Result<()> {
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
        if has_commands {
            man.render_subcommands_section(&mut text)?;
        }
        text.extend(notes(&words).into_bytes());
        Ok(())
    };
    render().with_context(|| format!("write the page {name}"))?;
    Ok((format!("{name}.{SECTION}"), text))
}

/// What stands below a command's help: examples line by line, and paragraphs. The library would run them together.
fn notes(words: &str) -> String {
    let mut page = String::new();
    if !words.is_empty() {
        page.push_str(".SH NOTES\n");
    }
    for paragraph in words.split("\n\n") {
        page.push_str(".PP\n");
        let mut is_literal = false;
        for line in paragraph.lines().filter(|line| !line.is_empty()) {
            if line.starts_with("  ") != is_literal {
                is_literal = !is_literal;
                page.push_str(if is_literal { ".nf\n" } else { ".fi\n" });
            }
            page.push_str(&(escaped(line) + "\n"));
        }
        if is_literal {
            page.push_str(".fi\n");
        }
    }
    page
}

/// A line of which nothing is a request to the formatter.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command() {
        let pages = pages().unwrap();
        let text = |name: &str| {
            let (_, page) = pages.iter().find(|(file, _)| file == name).unwrap();
            String::from_utf8(page.clone()).unwrap()
        };
        assert!(pages.len() > 20, "{}", pages.len());
        assert!(text("kubectl-pitr.1").contains("KUBECTL-PITR"));
        let status = text("kubectl-pitr-status.1");
        assert!(
            status.contains("Can I restore, and to when?") && status.contains("kubectl pitr status mysql \\-n shop")
        );
        assert!(!pages.iter().any(|(name, _)| name.contains("man")), "it is not for users");
    }

    #[test]
    fn examples_keep_their_lines_and_nothing_is_a_request() {
        let page = notes("Example:\n  a \\\n    --b\n\n.x is y\nz");
        assert_eq!(page, ".SH NOTES\n.PP\nExample:\n.nf\n  a \\e\n    \\-\\-b\n.fi\n.PP\n\\&.x is y\nz\n");
    }
}
