//! The account with which we talk to a private server on restored data.
//!
//! Its data holds the source's accounts, whose passwords are not ours to know, and `skip_grant_tables` would make the applier stop
//! at the first CREATE USER of the log (error 1290). So the server runs a file at start that makes one account, named at random,
//! for its socket only, with a random password; it is dropped before hand-over.

use std::fmt;

use rand::RngExt as _;

use super::connection::{Connection, SqlError};
use super::dsn::Password;
use super::quoting::literal;

/// Characters of one password class each, so that any password policy found on the restored data is content.
const CLASSES: [&[u8]; 4] = [b"abcdefghijkmnopqrstuvwxyz", b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"23456789", b"_-+=.:"];
/// Characters of a password, of every class in turn.
const PASSWORD_LENGTH: usize = 32;

/// A name and a password, both random.
#[derive(Clone)]
pub(crate) struct LocalAccount {
    /// The name; the host part is always `localhost`.
    pub(crate) name: String,
    /// Lives as long as one start of the server.
    pub(crate) password: Password,
}

impl LocalAccount {
    /// A new account.
    pub(crate) fn random() -> Self {
        Self::named(format!("pitr_{:016x}", rand::rng().random::<u64>()))
    }

    /// An account that may be there already, with a new password.
    pub(crate) fn named(name: String) -> Self {
        let mut random = rand::rng();
        let pick = |class: &[u8], index: usize| char::from(class[index % class.len()]);
        let password: String =
            (0..PASSWORD_LENGTH).map(|at| pick(CLASSES[at % CLASSES.len()], random.random_range(0..1 << 16))).collect();
        Self { name, password: Password::new(password) }
    }

    /// What the server runs at start. Nothing of it reaches a binary log.
    pub(crate) fn init_file(&self) -> String {
        let account = format!("{}@'localhost'", literal(&self.name));
        let password = literal(self.password.reveal());
        format!(
            "SET sql_log_bin = 0;\n\
             CREATE USER IF NOT EXISTS {account} IDENTIFIED WITH caching_sha2_password BY {password};\n\
             ALTER USER {account} IDENTIFIED WITH caching_sha2_password BY {password} ACCOUNT UNLOCK;\n\
             GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
        )
    }

    /// Drops the account; the connection that does it goes on.
    pub(crate) async fn drop_from(&self, connection: &mut Connection) -> Result<(), SqlError> {
        let sql = format!("DROP USER IF EXISTS {}@'localhost'", literal(&self.name));
        connection.run("drop the restore's own account", sql).await
    }
}

impl fmt::Debug for LocalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalAccount({})", self.name)
    }
}
