//! One connection to one server.

use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, DriverError, Opts, OptsBuilder, SslOpts};
use thiserror::Error;

use super::dsn::{Dsn, Password, TlsMode};
use super::quoting::SESSION;

/// A statement that should be quick may take this long. Long ones say so themselves.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// To connect may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a server did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum SqlError {
    /// No connection.
    #[error("connect to {to} as \"{user}\"")]
    Connect {
        /// Where.
        to: String,
        /// As whom.
        user: String,
        #[source]
        source: Cause,
    },
    /// The server refused a statement, or the connection broke.
    #[error("{what}")]
    Statement {
        /// A verb phrase: statements themselves may hold secrets.
        what: &'static str,
        #[source]
        source: Cause,
    },
    /// No answer.
    #[error("{what}: no answer in {seconds} s")]
    Timeout {
        /// A verb phrase.
        what: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// An answer that does not fit the question.
    #[error("{what}: the server's answer is not understood: {reason}")]
    Answer {
        /// A verb phrase.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the server or the connection said, once: the driver's errors repeat their sources.
#[derive(Debug, Error)]
#[error("{text}")]
pub(crate) struct Cause {
    /// The server's error number, if it was the server who spoke.
    number: Option<u16>,
    text: String,
}

impl From<mysql_async::Error> for Cause {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(error) => {
                Self { number: Some(error.code), text: format!("error {}: {}", error.code, error.message) }
            }
            other => {
                let mut innermost: &dyn std::error::Error = &other;
                while let Some(source) = innermost.source() {
                    innermost = source;
                }
                Self { number: None, text: innermost.to_string() }
            }
        }
    }
}

impl SqlError {
    /// The server's own error number.
    pub(crate) fn number(&self) -> Option<u16> {
        match self {
            Self::Connect { source, .. } | Self::Statement { source, .. } => source.number,
            Self::Timeout { .. } | Self::Answer { .. } => None,
        }
    }

    /// Whether the connection is of no more use: the server went away, or its state is unknown.
    pub(crate) fn lost(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => true,
            Self::Statement { source, .. } => source.number.is_none(),
            Self::Answer { .. } => false,
        }
    }
}

/// One connection. Dropping it closes it.
pub(crate) struct Connection(Conn);

impl Connection {
    /// Connects over TCP or a socket.
    pub(crate) async fn open(dsn: &Dsn) -> Result<Self, SqlError> {
        match connect(dsn, dsn.tls).await {
            Err(source) if dsn.tls == TlsMode::Preferred && has_no_tls(&source) => {
                connect(dsn, TlsMode::Disabled).await
            }
            other => other,
        }
        .map(Self)
        .map_err(|source| SqlError::Connect {
            to: dsn.to_string(),
            user: dsn.user.clone(),
            source: source.into(),
        })
    }

    /// Connects to a private server over its socket.
    pub(crate) async fn open_socket(socket: &Path, user: &str, password: &Password) -> Result<Self, SqlError> {
        let dsn = Dsn {
            socket: Some(socket.to_owned()),
            user: user.to_owned(),
            password: password.clone(),
            ..Dsn::default()
        };
        Self::open(&dsn).await
    }

    /// Runs a statement that returns nothing.
    pub(crate) async fn run(&mut self, what: &'static str, sql: impl AsRef<str>) -> Result<(), SqlError> {
        within(STATEMENT_TIMEOUT, what, self.0.query_drop(sql.as_ref())).await
    }

    /// Runs a statement that may take as long as it takes; the caller bounds it.
    pub(crate) async fn run_long(&mut self, what: &'static str, sql: impl AsRef<str>) -> Result<(), SqlError> {
        self.0.query_drop(sql.as_ref()).await.map_err(|source| SqlError::Statement { what, source: source.into() })
    }

    /// All rows of a query that may take as long as it takes; the caller bounds it.
    pub(super) async fn long_rows<T>(&mut self, what: &'static str, sql: impl AsRef<str>) -> Result<Vec<T>, SqlError>
    where
        T: FromRow + Send + 'static,
    {
        self.0.query(sql.as_ref()).await.map_err(|source| SqlError::Statement { what, source: source.into() })
    }

    /// All rows of a query.
    pub(super) async fn rows<T>(&mut self, what: &'static str, sql: impl AsRef<str>) -> Result<Vec<T>, SqlError>
    where
        T: FromRow + Send + 'static,
    {
        within(STATEMENT_TIMEOUT, what, self.0.query(sql.as_ref())).await
    }

    /// The only row of a query.
    pub(super) async fn row<T>(&mut self, what: &'static str, sql: impl AsRef<str>) -> Result<T, SqlError>
    where
        T: FromRow + Send + 'static,
    {
        let row = within(STATEMENT_TIMEOUT, what, self.0.query_first(sql.as_ref())).await?;
        row.ok_or_else(|| SqlError::Answer { what, reason: "no row".to_owned() })
    }

    /// The first row of a query, if it has one.
    pub(super) async fn maybe_row<T>(&mut self, what: &'static str, sql: impl AsRef<str>) -> Result<Option<T>, SqlError>
    where
        T: FromRow + Send + 'static,
    {
        within(STATEMENT_TIMEOUT, what, self.0.query_first(sql.as_ref())).await
    }
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, SqlError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(|source| SqlError::Statement { what, source: source.into() }),
        Err(_) => Err(SqlError::Timeout { what, seconds: limit.as_secs() }),
    }
}

async fn connect(dsn: &Dsn, tls: TlsMode) -> Result<Conn, mysql_async::Error> {
    let timed_out = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer to the connection attempt");
    tokio::time::timeout(CONNECT_TIMEOUT, Conn::new(options(dsn, tls))).await.map_err(timed_out)?
}

fn options(dsn: &Dsn, tls: TlsMode) -> Opts {
    let builder = OptsBuilder::default()
        .user(Some(&dsn.user))
        .pass(Some(dsn.password.reveal()))
        .init(vec![SESSION])
        .prefer_socket(false);
    match dsn.by_socket() {
        Some(socket) => builder.socket(Some(socket.to_string_lossy())),
        None => builder
            .ip_or_hostname(dsn.host.clone().unwrap_or_else(|| "localhost".to_owned()))
            .tcp_port(dsn.port.unwrap_or(3306))
            .ssl_opts(ssl_options(dsn, tls)),
    }
    .into()
}

/// The name that a certificate is compared with where its name does not count.
///
/// The driver passes over a wrong name, and over nothing else, by this word in the text of the error. rustls has other words for it
/// now (`NotValidForNameContext`), but repeats the name that was asked for, and only in that error. So it is asked for the word.
const NO_HOST: &str = "NotValidForName.invalid";

fn ssl_options(dsn: &Dsn, tls: TlsMode) -> Option<SslOpts> {
    let roots = dsn.ca.iter().map(|path| path.clone().into()).collect();
    // Where an authority is named, no other one will do.
    let options = SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(dsn.ca.is_some());
    match tls {
        TlsMode::Disabled => None,
        TlsMode::Preferred | TlsMode::Required => {
            Some(options.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
        }
        TlsMode::VerifyCa => {
            let named = options.with_danger_tls_hostname_override(Some(NO_HOST));
            Some(named.with_danger_skip_domain_validation(true))
        }
        TlsMode::VerifyIdentity => Some(options),
    }
}

fn has_no_tls(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer))
}
