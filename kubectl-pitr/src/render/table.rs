//! Tables as kubectl prints them: no borders, three blanks between columns, no blanks at line ends.

use comfy_table::{ContentArrangement, presets};

/// Rows under a header.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    /// The same for rows of several workloads: whose each one is stands first.
    pub fn of_several(header: &[&str], is_of_several: bool) -> Self {
        let owner: &[&str] = if is_of_several { &["NAMESPACE", "WORKLOAD"] } else { &[] };
        Self::new(&[owner, header].concat())
    }

    /// An empty cell shows as "-".
    pub fn row(&mut self, cells: Vec<String>) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn text(&self, headers: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if headers {
            table.add_row(&self.header);
        }
        table.add_rows(&self.rows);
        let last = self.header.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 3 }));
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_three_blanks_apart() {
        let mut table = Table::new(&["NAME", "STATE", "CODES"]);
        table.row(vec!["mysql".into(), "OK".into(), String::new()]);
        table.row(vec!["a-long-name".into(), "DEGRADED".into(), "0501".into()]);
        assert_eq!(
            table.text(true),
            "NAME          STATE      CODES\nmysql         OK         -\na-long-name   DEGRADED   0501\n"
        );
        assert_eq!(table.text(false).lines().count(), 2);
    }
}
