use std::fmt;
use std::str::FromStr;

/// The family of servers that wrote a binlog. Both share the file's frame and most events, and disagree about GTIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// MySQL and its descendants that keep its GTIDs (Percona Server).
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// The text that stands for this flavour in archives, plans and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }

    /// The flavour of a server by its version text, as the format description event carries it ("9.7.0",
    /// "10.11.14-MariaDB-log"). MariaDB has always had its own name in it.
    #[must_use]
    pub fn of_server_version(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::MariaDb } else { Self::MySql }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no flavour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown flavour \"{0}\", expected \"mysql\" or \"mariadb\"")]
pub struct UnknownFlavour(pub String);

impl FromStr for Flavour {
    type Err = UnknownFlavour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "mysql" => Ok(Self::MySql),
            "mariadb" => Ok(Self::MariaDb),
            other => Err(UnknownFlavour(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            assert_eq!(flavour.to_string().parse(), Ok(flavour));
        }
        assert_eq!("percona".parse::<Flavour>(), Err(UnknownFlavour("percona".into())));
    }

    #[test]
    fn known_by_the_version_text() {
        assert_eq!(Flavour::of_server_version("9.7.0"), Flavour::MySql);
        assert_eq!(Flavour::of_server_version("8.0.42-33-debug"), Flavour::MySql);
        assert_eq!(Flavour::of_server_version("10.11.14-MariaDB-0+deb12u2-log"), Flavour::MariaDb);
    }
}
