//! The parts and drivers of the end-to-end tests.

pub mod document;
pub mod kubernetes;
pub mod mysqld;
pub mod nasty;
pub mod product;
pub mod real_store;
pub mod reference;
pub mod s3;
pub mod scene;
pub mod shop;
pub mod sidecar;
pub mod synthetic;
