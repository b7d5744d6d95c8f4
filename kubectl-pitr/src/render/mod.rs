//! Values into text and documents. Nothing here asks a clock, a terminal or a cluster.

mod amounts;
mod backups;
mod bar;
mod binlogs;
mod check;
mod gap;
mod instants;
mod job;
mod jsonpath;
mod keys;
mod log_line;
mod plan;
mod prune;
mod restores;
mod status;
mod status_document;
mod status_table;
mod table;
mod timeline;
mod timeline_html;
mod verify;

pub use amounts::{binary_size, count_of, duration, quantity};
pub use backups::{backups_document, backups_table};
pub use bar::{BarSpan, window_bar};
pub use binlogs::{binlogs_table, segments_table};
pub use check::{check_document, check_text};
pub use gap::gap_story;
pub use instants::{Zone, end_shown, seconds_down, seconds_up, to_micros};
pub use job::{
    Pace, asks_for_identity, backup_verdict, drill_verdict, job_failure, progress_line, restore_verdict, rows_line,
};
pub use jsonpath::JsonPath;
pub use keys::{instead, sealed_parts};
pub use log_line::{log_line, log_time};
pub use plan::{Named, PlanFacts, gtid_set, plan_text};
pub use prune::{prune_refusal, prune_text};
pub use restores::{RestoreRow, restore_item, restore_story, restores_document, restores_table};
pub use status::{server_name, status_text};
pub use status_document::status_document;
pub use status_table::{status_said, status_table};
pub use table::Table;
pub use timeline::{TimelineShown, timeline_text};
pub use timeline_html::timeline_html;
pub use verify::{verify_failure, verify_text};
