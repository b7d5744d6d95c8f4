//! One file a command: it gathers values, hands them to functions of values, and prints or creates what comes out.

pub mod completion;
pub mod explain;
pub mod inject;
mod rollout;
pub mod uninject;
pub mod version;
