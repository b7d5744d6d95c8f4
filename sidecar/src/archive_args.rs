//! The archive as it is named on the command line: where it is and how its store is reached. Credentials are never a flag.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use pitr_archive::{
    ArchiveUrl, Checksum, Credentials, Identities, RetryPolicy, Retrying, S3Options, ServerEncryption, StorageClass,
    Store, UrlError, connect,
};
use pitr_recovery::code;

use crate::archive_failure;
use crate::error::Failure;

const EXAMPLE: &str = "--archive s3://BUCKET/PREFIX or file:///DIRECTORY";

/// How a bucket is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathStyle {
    /// In the path for endpoints of one's own, in the host name for the provider's default endpoint
    Auto,
    /// `https://endpoint/bucket/key`
    #[value(alias = "true")]
    Always,
    /// `https://bucket.endpoint/key`
    #[value(alias = "false")]
    Never,
}

impl PathStyle {
    /// As the store's options have it: none where the store decides.
    pub(crate) fn option(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
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
    /// Where credentials come from: environment, web-identity, or file:DIRECTORY (one file a key, read again when it changes)
    #[arg(long, default_value = "environment", value_name = "SOURCE", env = "PITR_CREDENTIALS_FROM", hide_env = true)]
    pub(crate) credentials_from: Credentials,
    /// Checksum sent with each object: auto (what the provider is known to check), md5, crc32c or none
    #[arg(long, default_value = "auto", value_name = "KIND", env = "PITR_S3_CHECKSUM", hide_env = true)]
    pub(crate) checksum: Checksum,
    /// Server-side encryption: none, s3, kms, kms:KEY-ID, or c:FILE (SSE-C; 32 bytes or their base64)
    #[arg(long, default_value = "none", value_name = "HOW", env = "PITR_S3_SSE", hide_env = true)]
    pub(crate) sse: ServerEncryption,
    /// Storage class of segments and chunks
    #[arg(long, value_name = "NAME", env = "PITR_S3_STORAGE_CLASS", hide_env = true)]
    pub(crate) storage_class: Option<StorageClass>,
    /// Identities (AGE-SECRET-KEY-1...) that open an encrypted archive, one a line: needed to restore, not to plan
    #[arg(long, value_name = "FILE", env = "PITR_IDENTITY_FILE", hide_env = true)]
    pub(crate) identity_file: Option<PathBuf>,
}

/// Where an archive is and how its store is reached.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveLocation {
    /// Its address.
    pub(crate) url: ArchiveUrl,
    /// Options of the store, where it is an S3 service.
    pub(crate) options: S3Options,
}

impl ArchiveArgs {
    /// The identities of the file; none without a file.
    pub(crate) fn identities(&self) -> Result<Identities, Failure> {
        let Some(file) = &self.identity_file else { return Ok(Identities::default()) };
        Identities::read(file).map_err(|reason| {
            Failure::new(&code::WRONG_IDENTITY, format!("identity file \"{}\" {reason}", file.display()))
                .hint("it holds one AGE-SECRET-KEY-1... a line, as age-keygen writes it; nothing was touched")
                .fix("--identity-file FILE")
        })
    }

    /// Checks what was typed.
    pub(crate) fn location(&self) -> Result<ArchiveLocation, Failure> {
        let Some(url) = &self.archive else {
            return Err(Failure::new(&code::NO_ARCHIVE_THERE, "no archive is named")
                .hint("nothing is looked for by itself")
                .fix(EXAMPLE)
                .exit(2));
        };
        let options = S3Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style.option(),
            ca_file: self.ca_bundle.clone(),
            checksum: self.checksum,
            credentials: self.credentials_from.clone(),
            encryption: self.sse.clone(),
            storage_class: self.storage_class.clone(),
        };
        Ok(ArchiveLocation { url: parse_url(url)?, options })
    }
}

impl ArchiveLocation {
    /// The store, with retries for work of such a kind. Nothing is asked of it yet.
    pub(crate) async fn store(&self, patience: RetryPolicy) -> Result<Arc<dyn Store>, Failure> {
        let store = self.bare_store().await?;
        Ok(Arc::new(Retrying::new(store, patience)))
    }

    /// The store, one attempt for each call: for callers that wrap it themselves.
    pub(crate) async fn bare_store(&self) -> Result<Arc<dyn Store>, Failure> {
        connect(&self.url, &self.options)
            .await
            .map_err(|error| archive_failure::of_store(&error, &self.url.to_string()))
    }
}

/// Reads an archive's address; one that holds credentials is refused and not repeated.
fn parse_url(text: &str) -> Result<ArchiveUrl, Failure> {
    text.parse().map_err(|reason: UrlError| match reason {
        UrlError::Credentials => Failure::new(&code::CREDENTIALS_IN_URL, reason.to_string())
            .hint("they would end in history and logs")
            .fix("AWS_PROFILE or AWS_ACCESS_KEY_ID"),
        other => Failure::new(&code::NO_ARCHIVE_THERE, other.to_string())
            .hint("an archive is a prefix of a bucket, or a directory")
            .fix(EXAMPLE)
            .exit(2),
    })
}
