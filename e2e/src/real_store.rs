//! A real S3 server, as `e2e/parts/stores/with.sh` has started it.

use anyhow::{Context as _, Result};

use crate::sidecar::Sidecar;

/// Where it is.
#[derive(Debug, Clone)]
pub struct RealStore {
    endpoint: String,
    tls_endpoint: String,
    ca_file: String,
    region: String,
    bucket: String,
    key: (String, String),
}

fn told(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: e2e/parts/stores/with.sh rgw cargo test ..."))
}

impl RealStore {
    /// The one that the environment tells of.
    ///
    /// # Errors
    /// It tells of none.
    pub fn find() -> Result<Self> {
        Ok(Self {
            endpoint: told("PITR_TEST_S3_ENDPOINT")?,
            tls_endpoint: told("PITR_TEST_S3_TLS_ENDPOINT")?,
            ca_file: told("PITR_TEST_S3_CA_FILE")?,
            region: told("PITR_TEST_S3_REGION")?,
            bucket: told("PITR_TEST_S3_BUCKET")?,
            key: (told("AWS_ACCESS_KEY_ID")?, told("AWS_SECRET_ACCESS_KEY")?),
        })
    }

    /// An archive that nobody else has.
    #[must_use]
    pub fn archive(&self) -> String {
        format!("s3://{}/e2e/{:016x}", self.bucket, rand::random::<u64>())
    }

    /// The `s3:` section of a sidecar's configuration, with `more` keys (`, sse: ...`).
    #[must_use]
    pub fn yaml(&self, more: &str) -> String {
        format!("s3: {{endpoint: \"{}\", region: {}, path_style: true{more}}}", self.endpoint, self.region)
    }

    /// The same over TLS.
    #[must_use]
    pub fn yaml_tls(&self, more: &str) -> String {
        let Self { tls_endpoint, ca_file, region, .. } = self;
        format!("s3: {{endpoint: \"{tls_endpoint}\", region: {region}, path_style: true, ca_file: {ca_file}{more}}}")
    }

    /// The flags of `kubectl pitr` that lead to it.
    #[must_use]
    pub fn flags(&self) -> [&str; 6] {
        ["--endpoint", &self.endpoint, "--region", &self.region, "--path-style", "always"]
    }

    /// What tells a sidecar's verbs the same as [`Self::yaml`].
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", self.key.0.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.key.1.clone()),
            ("PITR_S3_ENDPOINT", self.endpoint.clone()),
            ("PITR_S3_REGION", self.region.clone()),
            ("PITR_S3_PATH_STYLE", "true".to_owned()),
        ]
    }

    fn environment_tls(&self) -> Vec<(&'static str, String)> {
        let mut environment = self.environment();
        environment
            .extend([("PITR_S3_ENDPOINT", self.tls_endpoint.clone()), ("PITR_S3_CA_FILE", self.ca_file.clone())]);
        environment
    }

    /// Lets every program started later use it.
    #[must_use]
    pub fn reached_by(&self, sidecar: Sidecar) -> Sidecar {
        told_to(sidecar, &self.environment())
    }

    /// The same over TLS.
    #[must_use]
    pub fn reached_by_tls(&self, sidecar: Sidecar) -> Sidecar {
        told_to(sidecar, &self.environment_tls())
    }
}

fn told_to(sidecar: Sidecar, environment: &[(&str, String)]) -> Sidecar {
    environment.iter().fold(sidecar, |sidecar, (name, value)| sidecar.environment(name, value))
}
