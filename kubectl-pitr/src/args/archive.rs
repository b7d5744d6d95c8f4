use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The archive itself, read from where the user sits: the day when every pod is gone.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Archive")]
pub struct ArchiveArgs {
    /// Read the archive itself, with your own AWS environment credentials: s3://bucket/prefix or file:///dir
    #[arg(long, value_name = "URL")]
    pub archive: Option<String>,
    /// Region of the store
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Endpoint of a store that is not AWS
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Bucket in the path instead of in the host name
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub path_style: PathStyle,
    /// Certificates of the authority that signed the store's certificate
    #[arg(long, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
    /// Encryption by the store that readers must know: c:FILE (SSE-C; 32 bytes or their base64)
    #[arg(long, value_name = "HOW", env = "PITR_S3_SSE", hide_env = true)]
    pub sse: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PathStyle {
    #[default]
    Auto,
    Always,
    Never,
}
