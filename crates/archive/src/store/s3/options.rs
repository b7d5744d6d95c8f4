//! How to reach an S3 service.

use std::path::PathBuf;

/// Options of [`super::S3Store`]. The default is AWS with the ordinary AWS environment.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// The service's address, e.g. `https://minio.example:9000`; none for AWS.
    pub endpoint: Option<String>,
    /// The region; none: from the environment, else `us-east-1` when there is an endpoint.
    pub region: Option<String>,
    /// Whether the bucket stands in the path instead of the host name; none: when there is an endpoint.
    pub path_style: Option<bool>,
    /// PEM file with the authorities that the service's certificate must come from, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What protects an upload on its way.
    pub checksum: Checksum,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// Encryption by the service.
    pub encryption: Encryption,
    /// Storage class of segments and chunks.
    pub storage_class: Option<String>,
}

/// The checksum that goes with an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// `Content-MD5`: every service checks it.
    #[default]
    Md5,
    /// `x-amz-checksum-crc32c`.
    Crc32c,
    /// None but the signed SHA-256 of the body.
    None,
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// The ordinary AWS chain: environment variables, profile, web identity, instance metadata.
    #[default]
    Environment,
    /// A directory of files, such as a mounted Secret: `access-key-id` and `secret-access-key`, or named like the
    /// environment variables. Read anew for every request, so a rotated Secret needs no restart.
    Directory(PathBuf),
}

/// Encryption by the service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// What the bucket does by itself.
    #[default]
    None,
    /// `AES256` with the service's keys.
    S3,
    /// `aws:kms` with this key.
    Kms(String),
}
