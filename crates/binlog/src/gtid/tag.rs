use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The tag of a MySQL 8.3+ GTID: 1 to 32 of `[a-z0-9_]`, not beginning with a digit. Upper case is read as lower case,
/// as the server does (`mysql::gtid::Tag`, tag_max_length 32).
#[derive(Clone, Copy)]
pub struct Tag {
    bytes: [u8; Self::MAX_LENGTH],
    length: u8,
}

/// A text that is no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no GTID tag: expected 1 to 32 letters, digits or underscores, not beginning with a digit")]
pub struct TagError(pub String);

impl Tag {
    /// The longest tag, in bytes.
    pub const MAX_LENGTH: usize = 32;

    /// Reads a tag, in either case.
    pub fn parse(text: &str) -> Result<Self, TagError> {
        Self::from_bytes(text.as_bytes()).ok_or_else(|| TagError(text.to_owned()))
    }

    /// Reads a tag from an event.
    pub(crate) fn from_bytes(text: &[u8]) -> Option<Self> {
        let first = text.first()?;
        let valid = text.len() <= Self::MAX_LENGTH
            && !first.is_ascii_digit()
            && text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        if !valid {
            return None;
        }
        let mut bytes = [0; Self::MAX_LENGTH];
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = from.to_ascii_lowercase();
        }
        Some(Self { bytes, length: text.len() as u8 })
    }

    /// The tag's text, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Tag {}

impl Ord for Tag {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_the_server_refuses() {
        let long = "a".repeat(33);
        for text in ["", "1a", "a-b", "ä", "a b", &long] {
            assert_eq!(Tag::parse(text), Err(TagError(text.into())));
        }
        assert_eq!(Tag::parse("_Dump_1").unwrap().as_str(), "_dump_1");
        assert!(Tag::parse(&"a".repeat(32)).is_ok());
    }

    proptest! {
        #[test]
        fn parse_undoes_display(text in "[a-z_][a-z0-9_]{0,31}") {
            prop_assert_eq!(Tag::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn orders_as_text(a in "[a-z_][a-z0-9_]{0,31}", b in "[a-z_][a-z0-9_]{0,31}") {
            prop_assert_eq!(Tag::parse(&a).unwrap().cmp(&Tag::parse(&b).unwrap()), a.cmp(&b));
        }
    }
}
