//! `kubectl pitr`: the plugin. Arguments, Kubernetes calls, manifests and tables; no SQL, no HTTP server.
//!
//! `cluster` makes every call to the Kubernetes API. `inject`, `objects` and `render` are functions of values, tested against golden
//! files. `commands` puts them together, one file a command.

pub mod archive_view;
pub mod args;
pub mod cluster;
pub mod commands;
pub mod failure;
pub mod inject;
pub mod interrupts;
pub mod job_line;
pub mod objects;
pub mod preferences;
pub mod program;
pub mod question;
pub mod redaction;
pub mod refusal;
pub mod render;
pub mod session;
pub mod state;
pub mod tarball;
pub mod target;
pub mod terminal;
