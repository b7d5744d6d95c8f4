//! For tests: stores that fail on purpose, and a history to archive.

mod faulty;
mod history;
mod overheard;
mod timed;

pub use faulty::{Fault, Faulty};
pub use history::History;
pub use overheard::{Listener, Overheard};
pub use timed::TimedStore;
