//! Values into text and documents. Nothing here asks a clock, a terminal or a cluster.

mod amounts;
mod bar;
mod instants;
mod table;

pub use amounts::{binary_size, count_of, duration, quantity};
pub use bar::{BarSpan, window_bar};
pub use instants::{Zone, seconds_down, seconds_up, to_micros};
pub use table::Table;
