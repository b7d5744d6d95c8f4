use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The largest number a server gives to a binlog (`MAX_LOG_UNIQUE_FN_EXT` of both flavours).
const LARGEST_NUMBER: u64 = 0x7fff_ffff;

/// The name of a binlog file without its directory, such as `binlog.000042`.
///
/// Names order by number, not by text: `binlog.999999` comes before `binlog.1000000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BinlogName {
    text: String,
    number: u64,
    base_length: usize,
}

/// Why a text is no name of a binlog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no `.digits` at the end, or nothing before it.
    #[error("\"{0}\" is no binlog name: expected a base, a dot and a number, as in \"binlog.000042\"")]
    NoNumber(String),
    /// The number is larger than any that a server gives.
    #[error("the number of binlog \"{0}\" is too large")]
    TooLarge(String),
    /// A `/` or a control character: never joined to a path.
    #[error("the binlog name {0:?} holds a path separator or a control character")]
    Unsafe(String),
}

impl BinlogName {
    /// Reads a file name. A path is refused: whoever reads the server's index file takes its last part first.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.chars().any(|c| c == '/' || c.is_control()) {
            return Err(NameError::Unsafe(text.to_owned()));
        }
        let no_number = || NameError::NoNumber(text.to_owned());
        let (base, digits) = text.rsplit_once('.').ok_or_else(no_number)?;
        if base.is_empty() || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(no_number());
        }
        match digits.parse::<u64>() {
            Ok(number) if number <= LARGEST_NUMBER => {
                Ok(Self { text: text.to_owned(), number, base_length: base.len() })
            }
            Ok(_) | Err(_) => Err(NameError::TooLarge(text.to_owned())),
        }
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the last dot.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.text[..self.base_length]
    }

    /// The number after the last dot.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The name that the server gives to the file after this one.
    #[must_use]
    pub fn next(&self) -> Self {
        let number = self.number + 1;
        Self { text: format!("{}.{number:06}", self.base()), number, base_length: self.base_length }
    }
}

impl Ord for BinlogName {
    fn cmp(&self, other: &Self) -> Ordering {
        // The text last, so that "b.1" and "b.000001" are two names and Ord agrees with Eq.
        (self.number, self.base(), &self.text).cmp(&(other.number, other.base(), &other.text))
    }
}

impl PartialOrd for BinlogName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for BinlogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for BinlogName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_a_name() {
        let name = BinlogName::parse("db-0.shop.000042").unwrap();
        assert_eq!((name.base(), name.number(), name.as_str()), ("db-0.shop", 42, "db-0.shop.000042"));
        assert_eq!(name.next().as_str(), "db-0.shop.000043");
    }

    #[test]
    fn rolls_over_to_seven_digits_and_stays_ordered() {
        let last = BinlogName::parse("binlog.999999").unwrap();
        assert_eq!(last.next().as_str(), "binlog.1000000");
        assert!(last < last.next());
        assert!(BinlogName::parse("b.1").unwrap() != BinlogName::parse("b.000001").unwrap());
    }

    #[test]
    fn refuses_what_no_server_writes() {
        for text in ["", "binlog", "binlog.", ".000001", "binlog.00x1", "binlog.index", "binlog.+1", "binlog.٣"] {
            assert_eq!(BinlogName::parse(text), Err(NameError::NoNumber(text.into())), "{text:?}");
        }
        for text in ["../binlog.000001", "a\nb.000001", "a\0.1"] {
            assert_eq!(BinlogName::parse(text), Err(NameError::Unsafe(text.into())), "{text:?}");
        }
        for text in ["b.2147483648", "b.99999999999999999999999"] {
            assert_eq!(BinlogName::parse(text), Err(NameError::TooLarge(text.into())), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_display(base in "[a-zA-Z0-9_. -]{1,20}", number in 0u64..=LARGEST_NUMBER) {
            let text = format!("{base}.{number:06}");
            let name = BinlogName::parse(&text).unwrap();
            prop_assert_eq!(name.to_string(), text);
            prop_assert_eq!(name.number(), number);
            prop_assert!(name.next() > name);
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            if let Ok(name) = BinlogName::parse(&text) {
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
