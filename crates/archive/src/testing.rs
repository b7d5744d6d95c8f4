//! For tests: stores that fail on purpose, and a history to archive.

mod faulty;
mod history;
mod timed;

pub use faulty::{Fault, Faulty};
pub use history::History;
pub use timed::TimedStore;
