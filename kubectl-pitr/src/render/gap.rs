//! The story of a gap.

use super::{count_of, to_micros};
use crate::state::Gap;

/// What is missing, since when, and what helps.
pub fn gap_story(gap: &Gap, backup_command: &str) -> String {
    let instant = |at: Option<jiff::Timestamp>| at.map_or_else(|| "unknown".to_owned(), to_micros);
    let mut text = format!(
        "{}\n\nMissing      {}: {}\nReachable    up to {}",
        gap.id,
        count_of(gap.transactions, "transaction"),
        gap.why(),
        instant(gap.from)
    );
    if let Some(branch) = &gap.branch {
        text.push_str(&format!("\nBranch       {branch}"));
    }
    match (gap.is_open(), &gap.closed_by) {
        (true, _) => {
            text.push_str("\nState        open: nothing after it can be restored until a new base backup is there");
            text.push_str(&format!("\nFix          {backup_command}"));
        }
        (false, by) => {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            text.push_str(&format!("\nState        closed{by}: instants from {} on can be restored", instant(gap.to)));
        }
    }
    text + "\n"
}
