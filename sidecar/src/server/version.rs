//! Server versions: which binary may open which data.

use std::fmt;
use std::path::Path;

use thiserror::Error;
use tokio::process::Command;

/// `major.minor.patch`, whatever follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

/// Why a version is not known.
#[derive(Debug, Error)]
pub(crate) enum VersionError {
    /// The program cannot be run.
    #[error("run \"{program} --version\"")]
    Run {
        /// The program.
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// It says something else than a version.
    #[error("\"{text}\" is not a server version")]
    NotAVersion {
        /// What it says.
        text: String,
    },
}

impl ServerVersion {
    /// Reads the number at the start of `VERSION()`, such as "8.4.6-log".
    pub(crate) fn parse(text: &str) -> Result<Self, VersionError> {
        let not_a_version = || VersionError::NotAVersion { text: text.trim().to_owned() };
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(not_a_version);
        Ok(Self { major: next()?, minor: next()?, patch: next()? })
    }

    /// Asks a program (`mysqld`) for its version.
    pub(crate) async fn of_program(program: &Path) -> Result<Self, VersionError> {
        let output = Command::new(program)
            .args(["--no-defaults", "--version"])
            .output()
            .await
            .map_err(|source| VersionError::Run { program: program.display().to_string(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "/usr/sbin/mysqld  Ver 8.4.6 for Linux on x86_64 (MySQL Community Server - GPL)"
        let number = text.split_whitespace().skip_while(|word| *word != "Ver").nth(1);
        let unknown = || VersionError::NotAVersion { text: text.lines().next().unwrap_or_default().to_owned() };
        Self::parse(number.ok_or_else(unknown)?)
    }

    /// Whether a server of this version may open data of `data`: the same series, and never an earlier release of it, because data
    /// files never go back.
    pub(crate) fn can_open(self, data: Self) -> bool {
        (self.major, self.minor) == (data.major, data.minor) && self.patch >= data.patch
    }

    /// Whether this is at least `major.minor.patch`.
    pub(crate) fn at_least(self, major: u32, minor: u32, patch: u32) -> bool {
        self >= Self { major, minor, patch }
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::ServerVersion;

    fn version(text: &str) -> ServerVersion {
        ServerVersion::parse(text).unwrap()
    }

    #[test]
    fn data_goes_forward_in_its_series_only() {
        assert_eq!(version("9.7.4-2").to_string(), "9.7.4");
        assert!(version("8.4.6-log").can_open(version("8.4.6")));
        assert!(version("8.4.7").can_open(version("8.4.6")));
        assert!(!version("8.4.5").can_open(version("8.4.6")));
        assert!(!version("9.0.0").can_open(version("8.4.6")));
        assert!(version("9.7.4").at_least(8, 0, 17) && !version("8.0.16").at_least(8, 0, 17));
        assert!(ServerVersion::parse("mysqld").is_err() && ServerVersion::parse("8.4").is_err());
    }
}
