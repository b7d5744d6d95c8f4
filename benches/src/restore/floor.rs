//! The floor of a replay: the rows that the log of small transactions changes, as few large statements and transactions.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use pitr_e2e::mysqld::Mysqld;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::workload::Workload;

/// Rows that a transaction changes: two orders for each item that is taken.
const ORDERS: usize = 667;
const TAKEN: usize = 333;
/// What there is of each item on the base.
const STOCK: i64 = 1000;

/// Whether the rows of such a log can be told from the tables that it leaves.
pub(super) fn knows(workload: Workload) -> bool {
    matches!(workload, Workload::Small | Workload::Compressed)
}

/// SQL that makes of the base what the source is, row by row as the log does, in an order of its own.
pub(super) async fn statements(source: &Mysqld) -> Result<String> {
    let orders = "SELECT CONCAT('(', id, ',', customer, ',', amount, ',', QUOTE(note), ',', QUOTE(created_at), ')') FROM shop.orders ORDER BY id";
    let orders: Vec<String> = source.rows(orders).await?.into_iter().filter_map(|row| row.get(0)).collect();
    let mut taken = Vec::new();
    let mut last = Vec::new();
    let stock = "SELECT item, quantity, CAST(changed_at AS CHAR) FROM shop.stock WHERE changed_at IS NOT NULL";
    for row in source.rows(stock).await? {
        let (item, quantity, at): (i64, i64, String) = mysql_async::from_row_opt(row).context("a row of the stock")?;
        let one = format!("UPDATE shop.stock SET quantity = quantity - 1 WHERE item = {item};\n");
        taken.extend(std::iter::repeat_n(one, usize::try_from(STOCK - quantity - 1).unwrap_or(0)));
        last.push(format!("UPDATE shop.stock SET quantity = quantity - 1, changed_at = '{at}' WHERE item = {item};\n"));
    }
    let mut random = StdRng::seed_from_u64(1);
    taken.shuffle(&mut random);
    taken.extend(last);
    let mut sql = "SET time_zone = '+00:00';\n".to_owned();
    let (mut orders, mut taken) = (orders.chunks(ORDERS), taken.chunks(TAKEN));
    loop {
        let (some, few) = (orders.next(), taken.next());
        if some.is_none() && few.is_none() {
            return Ok(sql);
        }
        sql.push_str("BEGIN;\n");
        if let Some(rows) = some {
            writeln!(
                sql,
                "INSERT INTO shop.orders (id, customer, amount, note, created_at) VALUES {};",
                rows.join(",")
            )?;
        }
        few.unwrap_or_default().iter().for_each(|statement| sql.push_str(statement));
        sql.push_str("COMMIT;\n");
    }
}
