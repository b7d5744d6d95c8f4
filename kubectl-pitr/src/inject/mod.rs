//! The sidecar into manifests and out again: text in, text out.
//!
//! ```text
//! text ─strip→ text ─tree::parse→ StatefulSet ─survey→ facts ─sidecar::injection→ objects ─manifest::add→ text
//! ```

pub mod attach;
pub mod cnf;
mod edit;
pub mod keys;
pub mod manifest;
pub mod ours;
pub mod output;
pub mod ownership;
pub mod pins;
pub mod plan;
pub mod report;
pub mod schema;
pub mod settings;
pub mod sidecar;
pub mod survey;
pub mod together;
pub mod tree;
