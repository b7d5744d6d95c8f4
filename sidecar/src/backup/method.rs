//! Which method is possible, and which one is taken.

use pitr_recovery::code;

use super::survey::Survey;
use super::{BackupArgs, BackupMethod};
use crate::error::Failure;
use crate::mysql::ForeignTable;

/// The method that is taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The method.
    pub(super) method: BackupMethod,
    /// A phrase for the user.
    pub(super) reason: String,
}

/// Something that makes a method impossible, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Obstacle {
    reason: String,
    fix: Option<String>,
}

impl Obstacle {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: None }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Decides, or says why nothing is possible.
pub(super) fn choose(args: &BackupArgs, survey: &Survey) -> anyhow::Result<Choice> {
    let (clone, dump) = (clone_obstacles(args, survey), dump_obstacles(args, survey));
    match args.method {
        BackupMethod::Clone if clone.is_empty() => {
            Ok(Choice { method: BackupMethod::Clone, reason: "asked for".to_owned() })
        }
        BackupMethod::Dump if dump.is_empty() => {
            Ok(Choice { method: BackupMethod::Dump, reason: "asked for".to_owned() })
        }
        BackupMethod::Auto if clone.is_empty() => {
            let reason = format!("auto: MySQL {}, CLONE active, no rows outside InnoDB", survey.version);
            Ok(Choice { method: BackupMethod::Clone, reason })
        }
        BackupMethod::Auto if dump.is_empty() => Ok(Choice {
            method: BackupMethod::Dump,
            reason: format!("auto: clone is not possible: {}", reasons(&clone)),
        }),
        BackupMethod::Clone => Err(refusal("clone", &clone, "--method dump")),
        BackupMethod::Dump => Err(refusal("dump", &dump, "--method clone")),
        BackupMethod::Auto => {
            let mut all = clone.clone();
            all.extend(dump.iter().cloned());
            let message = format!("no method is possible: clone: {}; dump: {}", reasons(&clone), reasons(&dump));
            Err(with_fixes(Failure::new(&code::METHOD_IMPOSSIBLE, message), &all).into())
        }
    }
}

fn refusal(method: &str, obstacles: &[Obstacle], otherwise: &str) -> anyhow::Error {
    let failure = Failure::new(&code::METHOD_IMPOSSIBLE, format!("{method} is not possible: {}", reasons(obstacles)));
    with_fixes(failure, obstacles).fix(otherwise).into()
}

fn with_fixes(failure: Failure, obstacles: &[Obstacle]) -> Failure {
    obstacles.iter().filter_map(|obstacle| obstacle.fix.clone()).fold(failure, Failure::fix)
}

fn reasons(obstacles: &[Obstacle]) -> String {
    let texts: Vec<&str> = obstacles.iter().map(|obstacle| obstacle.reason.as_str()).collect();
    texts.join(", ")
}

fn clone_obstacles(args: &BackupArgs, survey: &Survey) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if !survey.version.at_least(8, 0, 17) {
        found.push(Obstacle::new(format!("MySQL {} has no CLONE", survey.version)));
    }
    if !survey.donor.clone_active {
        found
            .push(Obstacle::new("the CLONE plugin is not active").fix("INSTALL PLUGIN clone SONAME 'mysql_clone.so';"));
    }
    if !survey.donor.backup_admin {
        let grant = format!("GRANT BACKUP_ADMIN ON *.* TO '{}'@...;", survey.dsn.user);
        found.push(Obstacle::new("no BACKUP_ADMIN").fix(grant));
    }
    if survey.clone_address().is_none() {
        found.push(Obstacle::new("the server listens on no TCP port"));
    }
    match survey.program_version {
        None => found.push(Obstacle::new("no mysqld at hand").fix("--mysqld PATH")),
        Some(ours) if ours != survey.version => {
            found.push(Obstacle::new(format!("the mysqld at hand is {ours}, the server is {}", survey.version)));
        }
        Some(_) => {}
    }
    if args.scratch.is_none() {
        found.push(Obstacle::new("no scratch directory").fix("--scratch DIR"));
    }
    if !args.allow_empty_non_innodb {
        let tables = survey.tables_with_rows();
        if !tables.is_empty() {
            let obstacle = Obstacle::new(format!("{}, which clone copies empty", name_tables(&tables)));
            found.push(obstacle.fix("--allow-empty-non-innodb, if their rows do not matter"));
        }
    }
    found
}

fn dump_obstacles(args: &BackupArgs, survey: &Survey) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if survey.mysqldump.is_none() {
        found.push(Obstacle::new("no mysqldump at hand").fix("--mysqldump PATH"));
    }
    if !survey.donor.backup_admin {
        let grant = format!("GRANT BACKUP_ADMIN ON *.* TO '{}'@...;", survey.dsn.user);
        found.push(
            Obstacle::new("no BACKUP_ADMIN, so that tables could be altered while the dump reads them").fix(grant),
        );
    }
    match survey.prepared_xa {
        None => {
            let grant = format!("GRANT XA_RECOVER_ADMIN ON *.* TO '{}'@...;", survey.dsn.user);
            found.push(
                Obstacle::new("prepared XA transactions cannot be ruled out without XA_RECOVER_ADMIN").fix(grant),
            );
        }
        Some(0) => {}
        Some(count) => {
            let reason = format!("{count} XA transactions are prepared, whose rows a dump cannot hold");
            found.push(Obstacle::new(reason).fix("XA COMMIT or XA ROLLBACK them; XA RECOVER lists them"));
        }
    }
    let tables = survey.tables_with_rows();
    if !tables.is_empty() && !args.lock_tables {
        let reason = format!("{}, which no snapshot covers", name_tables(&tables));
        found.push(Obstacle::new(reason).fix("--lock-tables: writers wait while the dump runs"));
    }
    found
}

/// "2 MyISAM tables (shop.a, shop.b)"
pub(super) fn name_tables(tables: &[&ForeignTable]) -> String {
    const SHOWN: usize = 3;
    let names: Vec<String> = tables.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if tables.len() > SHOWN { ", ..." } else { "" };
    let noun = if tables.len() == 1 { "table" } else { "tables" };
    format!("{} {noun} with rows outside InnoDB: {}{more}", tables.len(), names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser;

    use super::super::survey::Survey;
    use super::{BackupArgs, BackupMethod, choose};
    use crate::error::Rendered;
    use crate::mysql::{Donor, Dsn, ForeignRows, ForeignTable};
    use crate::server::{Programs, ServerVersion};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: BackupArgs,
    }

    fn args(flags: &[&str]) -> BackupArgs {
        let fixed = ["backup", "--mysql", "/dsn", "--scratch", "/scratch"];
        Command::parse_from(fixed.iter().chain(flags)).args
    }

    fn survey() -> Survey {
        let version = ServerVersion::parse("9.7.4").unwrap();
        Survey {
            dsn: Dsn { host: Some("db".into()), user: "backup".into(), ..Dsn::default() },
            donor: Donor {
                version: "9.7.4".into(),
                uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
                gtid_mode: "ON".into(),
                port: Some(3306),
                clone_active: true,
                backup_admin: true,
                data_bytes: 1,
            },
            version,
            foreign: Vec::new(),
            prepared_xa: Some(0),
            programs: Some(Programs { mysqld: PathBuf::from("/mysqld") }),
            program_version: Some(version),
            mysqldump: Some(PathBuf::from("/mysqldump")),
        }
    }

    fn with_rows() -> Survey {
        let table =
            |name: &str, rows| ForeignTable { schema: "shop".into(), name: name.into(), engine: "MyISAM".into(), rows };
        Survey { foreign: vec![table("full", ForeignRows::Some), table("empty", ForeignRows::Empty)], ..survey() }
    }

    #[test]
    fn auto_takes_clone_where_it_is_possible() {
        let choice = choose(&args(&[]), &survey()).unwrap();
        assert_eq!(choice.method, BackupMethod::Clone);
        assert_eq!(choice.reason, "auto: MySQL 9.7.4, CLONE active, no rows outside InnoDB");
    }

    #[test]
    fn auto_says_why_it_does_not() {
        let without = Survey { program_version: None, ..survey() };
        let choice = choose(&args(&[]), &without).unwrap();
        assert_eq!(
            (choice.method, choice.reason.as_str()),
            (BackupMethod::Dump, "auto: clone is not possible: no mysqld at hand")
        );
    }

    #[test]
    fn rows_that_clone_would_lose_are_refused_unless_told_otherwise() {
        let error = choose(&args(&["--method", "clone"]), &with_rows()).unwrap_err();
        let rendered = Rendered::of(&error);
        assert_eq!((rendered.code.as_deref(), rendered.exit), (Some("PITR0801"), 4));
        let expected =
            "clone is not possible: 1 table with rows outside InnoDB: shop.full (MyISAM), which clone copies empty";
        assert!(rendered.text().contains(expected), "{}", rendered.text());
        assert!(choose(&args(&["--method", "clone", "--allow-empty-non-innodb"]), &with_rows()).is_ok());
        assert!(choose(&args(&["--method", "dump"]), &with_rows()).is_err());
        assert!(choose(&args(&["--method", "dump", "--lock-tables"]), &with_rows()).is_ok());
    }

    #[test]
    fn a_dump_is_refused_while_xa_transactions_are_prepared_or_may_be() {
        for (prepared, words) in [(Some(2), "2 XA transactions are prepared"), (None, "XA_RECOVER_ADMIN")] {
            let error =
                choose(&args(&["--method", "dump"]), &Survey { prepared_xa: prepared, ..survey() }).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn every_missing_thing_is_named_at_once() {
        let donor = Donor { clone_active: false, backup_admin: false, ..survey().donor };
        let error = choose(&args(&["--method", "clone"]), &Survey { donor, ..survey() }).unwrap_err();
        assert_eq!(error.to_string(), "clone is not possible: the CLONE plugin is not active, no BACKUP_ADMIN");
    }
}
