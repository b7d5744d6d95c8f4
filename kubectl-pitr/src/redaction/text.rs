//! Secrets in text that nobody has taken apart: configuration, arguments, the words of a server.

use super::{REDACTED, is_login, is_secret};

/// Begin and end of a key as PEM.
const PEM_BEGIN: &str = "-----BEGIN";
const PEM_END: &str = "-----END";
/// How age writes an identity.
const AGE_IDENTITY: &str = "AGE-SECRET-KEY-";
/// How AWS names a long-lived key, and one that expires, with as many letters and digits behind it.
const ACCESS_KEYS: [&str; 2] = ["AKIA", "ASIA"];
const ACCESS_KEY_LENGTH: usize = 20;
/// How the first part of a signed token begins: `{"` in base64.
const SIGNED_TOKEN: &str = "eyJ";
/// Words of statements: numbers beside them are data.
const STATEMENT_WORDS: [&str; 8] = ["insert ", "update ", "delete ", "select ", "values", "replace ", "set ", "where "];
/// What follows an apostrophe that is no quote.
const CONTRACTIONS: [&str; 7] = ["s", "t", "d", "m", "re", "ll", "ve"];

/// The text without them; `of_server`: double quotes and numbers of statements hold data, too.
pub(super) fn without_secrets(text: &str, of_server: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // The lines of a secret that has several: until one that is indented less than this, or that is a setting of its own.
    let mut block: Option<(usize, Below)> = None;
    let mut in_pem = false;
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let indent = line.len() - line.trim_start().len();
        if block.is_some_and(|(from, below)| line.trim().is_empty() || below.holds(line, indent, from)) {
            continue;
        }
        block = None;
        in_pem |= line.contains(PEM_BEGIN);
        if in_pem {
            in_pem = !line.contains(PEM_END);
            continue;
        }
        let (line, below) = without_setting(line);
        block = below.map(|below| (indent, below));
        let line = without_quoted(&line, of_server);
        let line = without_words(&line);
        out.push_str(&if of_server { without_numbers(&line) } else { line });
        out.push_str(end);
    }
    out
}

/// What stands below the name of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// A block of text: the secret.
    Block,
    /// A value or a list of them, which are secret; or settings with names of their own, which tell by themselves.
    Anything,
}

impl Below {
    fn holds(self, line: &str, indent: usize, from: usize) -> bool {
        let is_setting = line.contains(": ") || line.trim_end().ends_with(':');
        match self {
            Self::Block => indent > from,
            Self::Anything => !is_setting && (indent > from || (indent == from && line.trim_start().starts_with("- "))),
        }
    }
}

/// `password: x`, `"token":"x"`, `--password x`, wherever in the line: all that follows goes. Also tells whether the value may be in
/// the next lines.
fn without_setting(line: &str) -> (String, Option<Below>) {
    // MySQL's own first line.
    if line.contains("temporary password")
        && let Some((before, _)) = line.rsplit_once(": ")
    {
        return (format!("{before}: {REDACTED}"), None);
    }
    let mut from = 0;
    while let Some(found) = line[from..].find(|c: char| is_of_name(c)) {
        let start = from + found;
        let end = line[start..].find(|c: char| !is_of_name(c)).map_or(line.len(), |length| start + length);
        from = end;
        let name = &line[start..end];
        if !is_secret(name) {
            continue;
        }
        let rest = line[end..].trim_start_matches(['"', '\'', ' ']);
        let is_setting = rest.starts_with([':', '=']) && !rest.starts_with("://");
        let value = rest.trim_start_matches([':', '=']).trim();
        let is_flag = name.starts_with("--") && !line[end..].trim().is_empty();
        if is_setting && value.starts_with(['|', '>']) {
            return (line.to_owned(), Some(Below::Block));
        }
        if is_setting && value.is_empty() {
            return (line.to_owned(), Some(Below::Anything));
        }
        if is_setting {
            let separator = &rest[..1];
            let space = if rest[1..].starts_with(' ') { " " } else { "" };
            return (format!("{}{separator}{space}{REDACTED}", &line[..end]), None);
        }
        if is_flag {
            return (format!("{} {REDACTED}", &line[..end]), None);
        }
    }
    (line.to_owned(), None)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Word by word: `https://user:word@host`, `user:word@tcp(host)/`, `-pword`, `-u user:word`, keys of age.
fn without_words(line: &str) -> String {
    let word = |word: &str| {
        if let Some(at) = word.find(AGE_IDENTITY) {
            return format!("{}{REDACTED}", &word[..at]);
        }
        if is_access_key(word) || is_signed_token(word) {
            return REDACTED.to_owned();
        }
        if word.starts_with("-p") && word.len() > 2 {
            return format!("-p{REDACTED}");
        }
        if let Some((flag, name)) = word.split_once('=').filter(|(flag, name)| is_login(flag, name)) {
            return format!("{flag}={}:{REDACTED}", name.split(':').next().unwrap_or_default());
        }
        let address = word.rfind('@').filter(|at| !word[*at..].starts_with("@sha256:"));
        let Some(at) = address.filter(|at| word[..*at].contains([':', '/'])) else { return word.to_owned() };
        let from = word[..at].find("://").map_or(0, |scheme| scheme + 3);
        format!("{}{REDACTED}{}", &word[..from], &word[at..])
    };
    let mut out = String::with_capacity(line.len());
    let (mut before, mut in_password) = ("", false);
    for piece in line.split_inclusive([' ', '\t', '"']) {
        let bare = piece.trim_end_matches([' ', '\t', '"']);
        // `-p"two words"`: all of it up to the quote that closes it.
        if in_password {
            in_password = !piece.ends_with('"');
            if !in_password {
                out.push_str(REDACTED);
                out.push('"');
            }
            continue;
        }
        in_password = bare == "-p" && piece.ends_with('"');
        out.push_str(&if is_login(before, bare) { REDACTED.to_owned() } else { word(bare) });
        out.push_str(&piece[bare.len()..]);
        if !bare.is_empty() {
            before = bare;
        }
    }
    out
}

fn is_access_key(word: &str) -> bool {
    let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_of_key = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    name.len() == ACCESS_KEY_LENGTH
        && ACCESS_KEYS.iter().any(|begin| name.starts_with(begin))
        && name.bytes().all(is_of_key)
}

fn is_signed_token(word: &str) -> bool {
    word.find(SIGNED_TOKEN).is_some_and(|at| word[at..].matches('.').count() == 2)
}

/// Literals of SQL, as servers quote them in their messages. One that is not closed goes on to the end of the line.
fn without_quoted(line: &str, double: bool) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(|c| c == '\'' || (double && c == '"')) {
        let (before, behind) = (&rest[..at], &rest[at + 1..]);
        let quote = &rest[at..=at];
        out.push_str(before);
        out.push_str(quote);
        rest = behind;
        if quote == "'" && is_apostrophe(before, behind) {
            continue;
        }
        out.push('?');
        rest = behind_literal(behind, quote);
        if !rest.is_empty() || behind.ends_with(quote) {
            out.push_str(quote);
        }
    }
    out + rest
}

fn is_apostrophe(before: &str, behind: &str) -> bool {
    let word = behind.find(|c: char| !c.is_alphanumeric()).map_or(behind, |end| &behind[..end]);
    before.ends_with(char::is_alphabetic) && CONTRACTIONS.contains(&word) && !behind[word.len()..].starts_with('\'')
}

/// What follows the end of the literal that `text` begins within: after a quote that is neither doubled nor escaped.
fn behind_literal<'a>(text: &'a str, quote: &str) -> &'a str {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if quote.starts_with(c) {
            if chars.peek().is_some_and(|(_, next)| quote.starts_with(*next)) {
                chars.next();
            } else {
                return &text[at + 1..];
            }
        }
    }
    ""
}

/// The numbers of a line that holds a statement.
fn without_numbers(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    if !STATEMENT_WORDS.iter().any(|word| lower.contains(word)) {
        return line.to_owned();
    }
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('?') => {}
            true => out.push('?'),
            false => out.push(c),
        }
    }
    out
}
