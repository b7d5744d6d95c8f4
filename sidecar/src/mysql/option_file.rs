//! MySQL option files (`my.cnf` syntax): groups of `key = value` lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why an option file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum OptionFileError {
    /// The file cannot be read.
    #[error("read option file \"{}\"", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A line is neither a group, nor an option, nor a comment.
    #[error("option file \"{}\", line {line}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it; never the line itself, which may hold a password.
        reason: &'static str,
    },
}

/// The options of one file. Keys have underscores, never dashes; a repeated option's last value counts, as for the server.
#[derive(Default)]
pub(crate) struct OptionFile {
    groups: BTreeMap<String, BTreeMap<String, Option<String>>>,
}

impl OptionFile {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, OptionFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| OptionFileError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(line, reason)| OptionFileError::Malformed { path: path.to_owned(), line, reason })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut file = Self::default();
        let mut group: Option<String> = None;
        for (number, line) in text.lines().map(str::trim).enumerate() {
            let fail = |reason| Err((number + 1, reason));
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('!') {
                return fail("\"!include\" is not followed here: name one file with everything in it");
            }
            if let Some(rest) = line.strip_prefix('[') {
                let Some(name) = rest.strip_suffix(']') else { return fail("a group has no closing bracket") };
                group = Some(name.trim().to_owned());
                continue;
            }
            let Some(group) = &group else { return fail("an option stands before the first group") };
            let (key, value) = match line.split_once('=') {
                Some((key, value)) => (key.trim_end(), Some(unquote(value.trim_start()))),
                None => (line, None),
            };
            let key = key.replace('-', "_");
            file.groups.entry(group.clone()).or_default().insert(key, value);
        }
        Ok(file)
    }

    /// The value of an option; an option without a value is the empty text.
    pub(crate) fn get(&self, group: &str, key: &str) -> Option<&str> {
        let value = self.groups.get(group)?.get(key)?;
        Some(value.as_deref().unwrap_or_default())
    }
}

/// Takes quotes away, a comment behind the value, and the escapes that the server's own reader knows.
fn unquote(value: &str) -> String {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let body = match quote {
        Some(quote) => {
            let inner = &value[1..];
            inner.rfind(quote).map_or(value, |end| &inner[..end])
        }
        None => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    let mut text = String::with_capacity(body.len());
    let mut rest = body.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match rest.next() {
            Some('b') => text.push('\u{8}'),
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('s') => text.push(' '),
            Some(quoted @ ('\\' | '"' | '\'')) => text.push(quoted),
            Some(other) => {
                text.push('\\');
                text.push(other);
            }
            None => text.push('\\'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::OptionFile;

    #[test]
    fn groups_quotes_escapes_and_comments_are_read() {
        let text = "# c\n[client]\nuser = backup # who\npassword=\"a#b\\\\c \\\"d\"\nsocket='/a b/s'\nssl-mode=REQUIRED\n\n[mysqld]\nskip_name_resolve\ninnodb-page-size=8192\n";
        let file = OptionFile::parse(text).unwrap();
        assert_eq!(file.get("client", "user"), Some("backup"));
        assert_eq!(file.get("client", "password"), Some("a#b\\c \"d"));
        assert_eq!(file.get("client", "socket"), Some("/a b/s"));
        assert_eq!(file.get("client", "ssl_mode"), Some("REQUIRED"));
        assert_eq!(file.get("mysqld", "skip_name_resolve"), Some(""));
        assert_eq!(file.get("mysqld", "innodb_page_size"), Some("8192"));
        assert_eq!(file.get("client", "host"), None);
    }

    #[test]
    fn what_is_no_option_file_is_named_by_its_line_without_its_text() {
        for (text, line) in [("user=a\n", 1), ("[client\n", 1), ("[client]\nuser=a\n!include /x\n", 3)] {
            let Err((found, reason)) = OptionFile::parse(text) else { panic!("accepted: {text}") };
            assert_eq!(found, line);
            assert!(!reason.contains("user"));
        }
    }
}
