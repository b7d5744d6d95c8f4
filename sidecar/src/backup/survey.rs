//! What is known before a base backup is taken: the server, what our account may do, the programs at hand.

use std::path::PathBuf;

use anyhow::Context as _;
use pitr_recovery::code;

use super::BackupArgs;
use crate::error::Failure;
use crate::mysql::{Connection, Donor, Dsn, ForeignRows, ForeignTable, SqlError};
use crate::server::{Programs, ServerVersion};

/// Everything that decides which methods are possible.
pub(super) struct Survey {
    /// How the server is reached.
    pub(super) dsn: Dsn,
    /// What it says about itself.
    pub(super) donor: Donor,
    /// Its version.
    pub(super) version: ServerVersion,
    /// Tables of other engines that our account can see.
    pub(super) foreign: Vec<ForeignTable>,
    /// Prepared XA transactions; absent when our account may not ask.
    pub(super) prepared_xa: Option<usize>,
    /// The server program for the clone.
    pub(super) programs: Option<Programs>,
    /// Its version.
    pub(super) program_version: Option<ServerVersion>,
    /// The dump program.
    pub(super) mysqldump: Option<PathBuf>,
}

impl Survey {
    /// Asks the server and looks around.
    pub(super) async fn make(args: &BackupArgs) -> anyhow::Result<(Self, Connection)> {
        let dsn = dsn(args)?;
        let mut connection = Connection::open(&dsn).await.map_err(|error| unreachable(error, args))?;
        let text = connection.server_version().await?;
        if text.contains("MariaDB") {
            let failure = Failure::new(&code::METHOD_IMPOSSIBLE, format!("no method for {text}"))
                .hint("clone and dump are for MySQL; mariadb-backup is not built yet");
            return Err(failure.into());
        }
        let donor = connection.donor().await?;
        let programs = Programs::find(args.mysqld.as_deref());
        if let (Some(named), None) = (&args.mysqld, &programs) {
            let failure =
                Failure::new(&code::METHOD_IMPOSSIBLE, format!("\"{}\" is not a server program", named.display()));
            return Err(failure.fix("--mysqld with the path of the workload's mysqld").into());
        }
        let program_version = match &programs {
            Some(programs) => Some(ServerVersion::of_program(&programs.mysqld).await?),
            None => None,
        };
        let mysqldump = match (&args.mysqldump, &programs) {
            (Some(named), _) => Some(named.clone()),
            (None, Some(programs)) => programs.companion("mysqldump"),
            (None, None) => Programs::client("mysqldump"),
        };
        let survey = Self {
            version: ServerVersion::parse(&donor.version)?,
            foreign: connection.foreign_tables().await?,
            // Without the privilege the answer is an error, which is an answer too.
            prepared_xa: connection.prepared_xa().await.ok(),
            dsn,
            donor,
            programs,
            program_version,
            mysqldump,
        };
        Ok((survey, connection))
    }

    /// Tables whose rows a clone would lose.
    pub(super) fn tables_with_rows(&self) -> Vec<&ForeignTable> {
        self.foreign.iter().filter(|table| table.rows != ForeignRows::Empty).collect()
    }

    /// Where a recipient reaches the donor: CLONE speaks TCP only.
    pub(super) fn clone_address(&self) -> Option<(String, u16)> {
        let named = self.dsn.host.clone().filter(|host| host != "localhost");
        match (named, self.dsn.port) {
            (Some(host), port) => Some((host, port.unwrap_or(3306))),
            (None, _) => self.donor.port.map(|port| ("127.0.0.1".to_owned(), port)),
        }
    }
}

/// Error numbers with which a server turns an account away.
const TURNED_AWAY: [u16; 3] = [1044, 1045, 1698];

fn unreachable(error: SqlError, args: &BackupArgs) -> anyhow::Error {
    let turned_away = error.number().is_some_and(|number| TURNED_AWAY.contains(&number));
    let failure = Failure::new(&code::BACKUP_FAILED, format!("backup failed: {:#}", anyhow::Error::new(error)));
    let file = args.mysql.display();
    let fix =
        if turned_away { format!("user and password in \"{file}\"") } else { format!("host and port in \"{file}\"") };
    failure.hint("nothing was begun").fix(fix).into()
}

fn dsn(args: &BackupArgs) -> anyhow::Result<Dsn> {
    let mut dsn = Dsn::read_with_host(&args.mysql, args.mysql_host.as_deref())
        .with_context(|| format!("read how to reach the server from \"{}\"", args.mysql.display()))?;
    dsn.port = args.mysql_port.or(dsn.port);
    Ok(dsn)
}
