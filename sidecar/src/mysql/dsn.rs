//! How a server is reached: what a client option file says.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::option_file::{OptionFile, OptionFileError};

/// A password. It has no `Display`, and its `Debug` shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    /// Takes a password.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Whether the connection is encrypted, as the `mysql` client's `--ssl-mode` has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// Never.
    Disabled,
    /// Where the server can; any certificate.
    #[default]
    Preferred,
    /// Or not at all; any certificate.
    Required,
    /// The certificate must come from the CA.
    VerifyCa,
    /// And it must be the host's.
    VerifyIdentity,
}

/// How a server is reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dsn {
    /// Host name or address.
    pub(crate) host: Option<String>,
    /// TCP port; 3306 when absent.
    pub(crate) port: Option<u16>,
    /// Unix socket.
    pub(crate) socket: Option<PathBuf>,
    /// Account.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: Password,
    /// Encryption of TCP connections.
    pub(crate) tls: TlsMode,
    /// Certificates of the CA (PEM).
    pub(crate) ca: Option<PathBuf>,
}

/// Why a client option file does not say how to reach a server.
#[derive(Debug, Error)]
pub(crate) enum DsnError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] OptionFileError),
    /// A value that means nothing.
    #[error("\"{key}\" in group [client] has the value \"{value}\"")]
    Value {
        /// The option.
        key: &'static str,
        /// What it says.
        value: String,
    },
    /// Nothing says where the server is.
    #[error("group [client] has no \"{0}\"")]
    Missing(&'static str),
}

impl Dsn {
    /// Reads the group `[client]` of an option file; a host that was named elsewhere wins.
    pub(crate) fn read_with_host(path: &Path, host: Option<&str>) -> Result<Self, DsnError> {
        Self::from_options(&OptionFile::read(path)?, host)
    }

    fn from_options(file: &OptionFile, named_host: Option<&str>) -> Result<Self, DsnError> {
        let option = |key| file.get("client", key).filter(|value| !value.is_empty());
        let invalid = |key, value: &str| DsnError::Value { key, value: value.to_owned() };
        let port = option("port").map(|text| text.parse().map_err(|_| invalid("port", text))).transpose()?;
        let tls = match option("ssl_mode").map(str::to_ascii_uppercase).as_deref() {
            None | Some("PREFERRED") => TlsMode::Preferred,
            Some("DISABLED") => TlsMode::Disabled,
            Some("REQUIRED") => TlsMode::Required,
            Some("VERIFY_CA") => TlsMode::VerifyCa,
            Some("VERIFY_IDENTITY") => TlsMode::VerifyIdentity,
            Some(other) => return Err(invalid("ssl-mode", other)),
        };
        let dsn = Self {
            host: named_host.or(option("host")).map(str::to_owned),
            port,
            socket: option("socket").map(PathBuf::from),
            user: option("user").ok_or(DsnError::Missing("user"))?.to_owned(),
            password: Password::new(option("password").unwrap_or_default()),
            tls,
            ca: option("ssl_ca").map(PathBuf::from),
        };
        if dsn.host.is_none() && dsn.socket.is_none() {
            return Err(DsnError::Missing("host"));
        }
        Ok(dsn)
    }

    /// The socket, if that is the way: for the MySQL clients "localhost" means the socket, when one is named.
    pub(super) fn by_socket(&self) -> Option<&Path> {
        let local = self.host.as_deref().is_none_or(|host| host == "localhost");
        self.socket.as_deref().filter(|_| local)
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.by_socket(), &self.host) {
            (Some(socket), _) => write!(f, "{}", socket.display()),
            (None, host) => write!(f, "{}:{}", host.as_deref().unwrap_or("localhost"), self.port.unwrap_or(3306)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Dsn, TlsMode};

    fn read(text: &str) -> Result<Dsn, super::DsnError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dsn");
        fs::write(&path, text).unwrap();
        Dsn::read_with_host(&path, None)
    }

    #[test]
    fn a_client_option_file_says_how_to_reach_the_server() {
        let dsn =
            read("[client]\nhost=db\nport=3307\nuser=b\npassword=geheim\nssl-mode=verify_ca\nssl-ca=/ca\n").unwrap();
        assert_eq!((dsn.to_string().as_str(), dsn.tls), ("db:3307", TlsMode::VerifyCa));
        assert!(!format!("{dsn:?}").contains("geheim"));
        let local = read("[client]\nhost=localhost\nsocket=/s\nuser=b\n").unwrap();
        assert_eq!(local.to_string(), "/s");
    }

    #[test]
    fn what_is_missing_or_means_nothing_is_named() {
        let message = |text| read(text).unwrap_err().to_string();
        assert_eq!(message("[client]\nhost=db\n"), "group [client] has no \"user\"");
        assert_eq!(message("[client]\nuser=b\n"), "group [client] has no \"host\"");
        assert_eq!(message("[client]\nuser=b\nhost=db\nport=x\n"), "\"port\" in group [client] has the value \"x\"");
    }
}
