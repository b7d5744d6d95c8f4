//! verify: the executed set is the plan's, no more and no less, tables are sound if that is asked, and what the user asserts is true.

use pitr_recovery::code;

use super::journal::Phase;
use super::phases::{Restore, unless_interrupted};
use super::{rows, xa};
use crate::error::Failure;
use crate::mysql::Connection;
use crate::progress::Unit;
use crate::server::Mysqld;

/// Verifies the running server; a server that does not pass is shut down in order and stays as it is.
pub(super) async fn run(restore: &mut Restore<'_>, server: Mysqld) -> anyhow::Result<Mysqld> {
    restore.enter(Phase::Verify);
    match check(restore, &server).await {
        Ok(()) => {
            restore.done(Phase::Verify)?;
            Ok(server)
        }
        Err(error) => {
            restore.shut_down(server).await?;
            Err(error)
        }
    }
}

async fn check(restore: &mut Restore<'_>, server: &Mysqld) -> anyhow::Result<()> {
    let assertions = &restore.args.assert;
    restore.progress.begin(Phase::Verify.name(), Unit::Files, 0, 1 + assertions.len() as u64);
    let mut connection = server.connect().await?;
    let executed = connection.executed().await?;
    let expected = restore.plan.expected();
    let (missing, unexpected) = (expected.subtract(&executed), executed.subtract(expected));
    restore.facts.executed = Some(executed);
    if !missing.is_empty() || !unexpected.is_empty() {
        let message = match (missing.count(), unexpected.count()) {
            (0, more) => format!("the restored server holds {more} transactions that were not planned"),
            (less, _) => format!("restore is incomplete: {less} planned transactions are not on the restored server"),
        };
        let failure = Failure::new(&code::RESTORE_INCOMPLETE, message)
            .hint(format!("missing \"{missing}\", unexpected \"{unexpected}\"; the volume is not handed over"));
        (restore.facts.missing, restore.facts.unexpected) = (missing, unexpected);
        return Err(failure.into());
    }
    xa::look(restore, &mut connection).await?;
    rows::account(restore, &mut connection).await?;
    if restore.args.check_tables {
        check_tables(restore, &mut connection).await?;
        restore.journal.tables_checked = true;
    }
    for (number, sql) in assertions.iter().enumerate() {
        restore.progress.set(1 + number as u64);
        let holds = async { Ok(connection.assertion_holds(sql).await?) };
        if !unless_interrupted(&restore.context.shutdown, holds).await? {
            let message = format!("the GTID set equals the plan, but the assertion \"{sql}\" is not true");
            return Err(Failure::new(&code::RESTORE_INCOMPLETE, message).hint("the volume is not handed over").into());
        }
    }
    restore.journal.asserted.clone_from(assertions);
    restore.progress.set(1 + assertions.len() as u64);
    restore.progress.end();
    Ok(())
}

/// Checks all user tables. One that is not sound means that the data is not what the log says.
async fn check_tables(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<()> {
    let tables = connection.user_tables().await?;
    restore.progress.begin("check-tables", Unit::Files, 0, tables.len() as u64);
    for (number, table) in tables.iter().enumerate() {
        let checked = unless_interrupted(&restore.context.shutdown, async { Ok(connection.check_table(table).await?) });
        let complaints = checked.await?;
        if !complaints.is_empty() {
            let message =
                format!("the GTID set equals the plan, but table {}.{} is not sound", table.schema, table.name);
            let hint = format!("{}; the volume is not handed over", complaints.join("; "));
            return Err(Failure::new(&code::RESTORE_INCOMPLETE, message).hint(hint).into());
        }
        restore.progress.set(1 + number as u64);
    }
    restore.progress.end();
    Ok(())
}
