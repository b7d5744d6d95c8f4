//! The archive as it is named on the command line: where it is and how its store is reached. Credentials are never a flag.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How a bucket is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathStyle {
    /// In the path for endpoints of one's own, in the host name for the provider's default endpoint
    Auto,
    /// `https://endpoint/bucket/key`
    Always,
    /// `https://bucket.endpoint/key`
    Never,
}

/// Flags that name an archive.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArchiveArgs {
    /// s3://bucket/prefix or file:///directory
    #[arg(long, value_name = "URL", env = "PITR_ARCHIVE", hide_env = true)]
    pub(crate) archive: Option<String>,
    /// Region of the bucket
    #[arg(long, value_name = "REGION", env = "PITR_S3_REGION", hide_env = true)]
    pub(crate) region: Option<String>,
    /// Endpoint of an S3-compatible store
    #[arg(long, value_name = "URL", env = "PITR_S3_ENDPOINT", hide_env = true)]
    pub(crate) endpoint: Option<String>,
    /// How the bucket is addressed
    #[arg(long, value_enum, default_value = "auto", env = "PITR_S3_PATH_STYLE", hide_env = true)]
    pub(crate) path_style: PathStyle,
    /// Certificates (PEM) to trust for the endpoint
    #[arg(long, value_name = "FILE", env = "PITR_S3_CA_FILE", hide_env = true)]
    pub(crate) ca_bundle: Option<PathBuf>,
    /// Where credentials come from: "environment" or "file:DIRECTORY" (one file a key, read again when it changes)
    #[arg(long, default_value = "environment", value_name = "SOURCE", env = "PITR_CREDENTIALS_FROM", hide_env = true)]
    pub(crate) credentials_from: String,
}
