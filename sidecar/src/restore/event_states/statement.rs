//! CREATE, ALTER and DROP EVENT as the server writes them into its log: only as much as decides about an event's state.

use std::iter::Peekable;
use std::vec::IntoIter;

/// What a statement says about an event's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// `ENABLE`
    Enable,
    /// `DISABLE`
    Disable,
    /// `DISABLE ON REPLICA`
    DisableOnReplica,
}

/// A statement that concerns events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventStatement {
    /// CREATE EVENT
    Create { schema: String, name: String, status: Status, if_not_exists: bool },
    /// ALTER EVENT
    Alter { schema: String, name: String, renamed: Option<(String, String)>, status: Option<Status> },
    /// DROP EVENT
    Drop { schema: String, name: String },
    /// DROP DATABASE: its events go with it
    DropSchema { schema: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A bare word: keyword, name or number.
    Word(String),
    /// A name in quotes.
    Quoted(String),
    /// A text; what is in it does not matter here.
    Text,
    /// Anything else.
    Sign(char),
}

impl EventStatement {
    /// Reads a statement; `None` if it concerns no events.
    pub(super) fn parse(sql: &str, default_schema: &str) -> Option<Self> {
        let mut tokens = Tokens::new(sql);
        let verb = tokens.word()?;
        match verb.as_str() {
            "CREATE" | "ALTER" => {
                tokens.skip_definer();
                tokens.expect("EVENT")?;
                tokens.create_or_alter(&verb, default_schema)
            }
            "DROP" => match tokens.word()?.as_str() {
                "EVENT" => {
                    tokens.skip_words(&["IF", "EXISTS"]);
                    let (schema, name) = tokens.name(default_schema)?;
                    Some(Self::Drop { schema, name })
                }
                "DATABASE" | "SCHEMA" => {
                    tokens.skip_words(&["IF", "EXISTS"]);
                    Some(Self::DropSchema { schema: tokens.identifier()? })
                }
                _ => None,
            },
            _ => None,
        }
    }
}

struct Tokens(Peekable<IntoIter<Token>>);

impl Tokens {
    fn new(sql: &str) -> Self {
        Self(tokenize(sql).into_iter().peekable())
    }

    /// The next token as an upper-case word.
    fn word(&mut self) -> Option<String> {
        match self.0.next()? {
            Token::Word(word) => Some(word.to_ascii_uppercase()),
            Token::Quoted(_) | Token::Text | Token::Sign(_) => None,
        }
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        (self.word()? == word).then_some(())
    }

    fn is_next(&mut self, word: &str) -> bool {
        matches!(self.0.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word))
    }

    /// Whether all of these words came; as many as come are taken.
    fn skip_words(&mut self, words: &[&str]) -> bool {
        words.iter().all(|word| self.is_next(word) && self.0.next().is_some())
    }

    /// `DEFINER = user@host`: everything up to EVENT.
    fn skip_definer(&mut self) {
        if self.is_next("DEFINER") {
            while self.0.peek().is_some() && !self.is_next("EVENT") {
                self.0.next();
            }
        }
    }

    fn identifier(&mut self) -> Option<String> {
        match self.0.next()? {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            Token::Text | Token::Sign(_) => None,
        }
    }

    fn name(&mut self, default_schema: &str) -> Option<(String, String)> {
        let first = self.identifier()?;
        if self.0.next_if_eq(&Token::Sign('.')).is_some() {
            return Some((first, self.identifier()?));
        }
        Some((default_schema.to_owned(), first))
    }

    fn create_or_alter(mut self, verb: &str, default_schema: &str) -> Option<EventStatement> {
        let if_not_exists = self.skip_words(&["IF", "NOT", "EXISTS"]);
        let (schema, name) = self.name(default_schema)?;
        let (mut status, mut renamed, mut depth) = (None, None, 0_usize);
        while let Some(token) = self.0.next() {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 => match word.to_ascii_uppercase().as_str() {
                    // What follows is the body, whatever it says.
                    "DO" => break,
                    "ENABLE" => status = Some(Status::Enable),
                    "DISABLE" => status = Some(self.disable()),
                    "RENAME" if self.is_next("TO") => {
                        self.0.next();
                        renamed = Some(self.name(default_schema)?);
                    }
                    _ => {}
                },
                Token::Word(_) | Token::Quoted(_) | Token::Text | Token::Sign(_) => {}
            }
        }
        Some(match verb {
            "CREATE" => {
                EventStatement::Create { schema, name, status: status.unwrap_or(Status::Enable), if_not_exists }
            }
            _ => EventStatement::Alter { schema, name, renamed, status },
        })
    }

    fn disable(&mut self) -> Status {
        if self.is_next("ON") {
            self.0.next();
            if self.is_next("REPLICA") || self.is_next("SLAVE") {
                self.0.next();
                return Status::DisableOnReplica;
            }
        }
        Status::Disable
    }
}

/// Cuts a statement into tokens. Comments are left out, but for `/*! ... */`, whose inside counts.
fn tokenize(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '/' if rest.starts_with("/*!") => rest[3..].trim_start_matches(|c: char| c.is_ascii_digit()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or("", |end| &rest[end + 2..]),
            '*' if rest.starts_with("*/") => &rest[2..],
            '#' => rest.split_once('\n').map_or("", |(_, after)| after),
            '-' if rest.starts_with("-- ") => rest.split_once('\n').map_or("", |(_, after)| after),
            '`' | '"' | '\'' => {
                let (text, after) = quoted(rest, first);
                // Double quotes hold a name under ANSI_QUOTES and a text otherwise; where a name is due it can only be a name.
                tokens.push(if first == '\'' { Token::Text } else { Token::Quoted(text) });
                after
            }
            _ if is_word(first) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                &rest[end..]
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first));
                }
                &rest[first.len_utf8()..]
            }
        };
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// What stands in quotes, and what comes after them.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut inside = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote != '`' {
            inside.extend(characters.next().map(|(_, escaped)| escaped));
        } else if character != quote {
            inside.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
            characters.next();
            inside.push(quote);
        } else {
            return (inside, &text[at + quote.len_utf8()..]);
        }
    }
    (inside, "")
}

#[cfg(test)]
mod tests {
    use super::{EventStatement, Status};

    fn parse(sql: &str) -> Option<EventStatement> {
        EventStatement::parse(sql, "shop")
    }

    #[test]
    fn the_server_s_own_form_is_read() {
        let sql = "CREATE DEFINER=`ro``ot`@`%` EVENT `shop`.`clean up` ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01' + INTERVAL (1) DAY \
                   ON COMPLETION NOT PRESERVE DISABLE COMMENT 'ENABLE it''s' DO BEGIN ALTER EVENT x ENABLE; END";
        let expected = EventStatement::Create {
            schema: "shop".into(),
            name: "clean up".into(),
            status: Status::Disable,
            if_not_exists: false,
        };
        assert_eq!(parse(sql), Some(expected));
    }

    #[test]
    fn states_stand_outside_schedules_comments_and_bodies() {
        let status = |sql: &str| match parse(sql) {
            Some(EventStatement::Alter { status, .. }) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status("alter event e disable on slave"), Some(Status::DisableOnReplica));
        assert_eq!(status("ALTER EVENT e /* DISABLE */ ENABLE"), Some(Status::Enable));
        assert_eq!(status("ALTER EVENT e /*!50100 DISABLE */"), Some(Status::Disable));
        assert_eq!(status("ALTER EVENT e COMMENT \"DISABLE\" DO CALL disable()"), None);
        assert_eq!(status("ALTER EVENT e ON SCHEDULE AT (SELECT enable FROM t)"), None);
    }

    #[test]
    fn other_statements_are_none_of_ours() {
        for sql in [
            "CREATE TABLE event (a INT)",
            "ALTER TABLE t DISABLE KEYS",
            "DROP TABLE t",
            "BEGIN",
            "",
            "GRANT EVENT ON *.* TO a",
        ] {
            assert_eq!(parse(sql), None, "{sql}");
        }
    }
}
