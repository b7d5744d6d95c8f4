use clap::Args;

/// What restored data is held against before it counts as verified
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct DataChecks {
    /// A query that must return true before the data counts as verified (repeatable)
    #[arg(long, value_name = "SQL")]
    pub assert: Vec<String>,
    /// Check each table before the data counts as verified: reads all of it
    #[arg(long)]
    pub check_tables: bool,
    /// Count the rows of each table before and after, and hold them against the log: reads all of the data twice, and the log again
    #[arg(long)]
    pub count_rows: bool,
}

impl DataChecks {
    /// The same for the Job's program.
    pub(super) fn options(&self) -> impl Iterator<Item = String> + '_ {
        let assertions = self.assert.iter().map(|sql| format!("--assert={}", literal(sql)));
        let flags = [("--check-tables", self.check_tables), ("--count-rows", self.count_rows)];
        assertions.chain(flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.to_owned()))
    }
}

/// A text as Kubernetes passes it on unchanged: it would take `$(NAME)` for a variable.
pub(crate) fn literal(text: &str) -> String {
    text.replace("$(", "$$(")
}
