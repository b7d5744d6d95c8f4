//! An S3 server that others wrote. `e2e/parts/stores/with.sh` starts one, and says where it is.

#![allow(dead_code)] // each of the programs that share this uses a part

use pitr_archive::{S3Options, S3Store};
use rand::RngExt as _;

/// Where it is.
pub(crate) struct RealServer {
    /// `rgw` or `garage`.
    pub(crate) name: String,
    /// Its address without TLS.
    pub(crate) endpoint: String,
    /// A bucket that is there.
    pub(crate) bucket: String,
    region: String,
}

fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: e2e/parts/stores/with.sh rgw cargo test ..."))
}

impl RealServer {
    /// The one that the environment tells of.
    pub(crate) fn find() -> Self {
        Self {
            name: told("PITR_TEST_S3"),
            endpoint: told("PITR_TEST_S3_ENDPOINT"),
            bucket: told("PITR_TEST_S3_BUCKET"),
            region: told("PITR_TEST_S3_REGION"),
        }
    }

    /// With the key of the environment.
    pub(crate) fn options(&self) -> S3Options {
        S3Options { endpoint: Some(self.endpoint.clone()), region: Some(self.region.clone()), ..S3Options::default() }
    }

    /// The same over TLS.
    pub(crate) fn options_tls(&self) -> S3Options {
        S3Options {
            endpoint: Some(told("PITR_TEST_S3_TLS_ENDPOINT")),
            ca_file: Some(told("PITR_TEST_S3_CA_FILE").into()),
            ..self.options()
        }
    }

    /// An empty store: a prefix that nobody else has.
    pub(crate) async fn store(&self, options: &S3Options) -> S3Store {
        S3Store::connect(&self.bucket, &prefix(), options).await.unwrap()
    }
}

/// A prefix that nobody else has.
pub(crate) fn prefix() -> String {
    format!("tests/{:016x}", rand::rng().random::<u64>())
}
