//! The parts and drivers of the end-to-end tests.

pub mod mysqld;
