//! XA transactions that are prepared and undecided.

use pitr_binlog::event::XaId;

use super::connection::{Connection, SqlError};

impl Connection {
    /// The identifiers of all that are prepared.
    pub(crate) async fn prepared_xids(&mut self) -> Result<Vec<XaId>, SqlError> {
        const WHAT: &str = "list prepared XA transactions";
        let rows: Vec<(i64, usize, usize, Vec<u8>)> = self.rows(WHAT, "XA RECOVER").await?;
        let id = |(format, global, branch, data): (i64, usize, usize, Vec<u8>)| {
            let (gtrid, rest) = data.split_at_checked(global)?;
            XaId::new(i32::try_from(format).ok()?, gtrid, rest.get(..branch)?)
        };
        let not_understood =
            || SqlError::Answer { what: WHAT, reason: "an identifier of impossible length".to_owned() };
        rows.into_iter().map(|row| id(row).ok_or_else(not_understood)).collect()
    }

    /// Rolls one of them back. The server writes no log, so no GTID is used.
    pub(crate) async fn roll_xa_back(&mut self, id: &XaId) -> Result<(), SqlError> {
        self.run("roll a prepared XA transaction back", format!("XA ROLLBACK {id}")).await
    }
}
