//! What services that call themselves S3 differ in, as far as it has bitten somebody.

use clap::ValueEnum;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use s3s::{S3ErrorCode, S3Result, s3_error};

/// The kind of service that this server plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Profile {
    /// As AWS
    #[default]
    Aws,
    /// Stricter than AWS: each upload has a length, a signed body and a checksum, and no header that nobody knows
    Strict,
    /// Conditional writes are accepted and their conditions ignored, as by Garage
    IgnoresConditions,
    /// Headers with checksums other than Content-MD5 are refused, as by Wasabi
    Md5Only,
}

/// Headers of Amazon's that requests of ours may have.
const KNOWN: [&str; 16] = [
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-user-agent",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-mode",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-checksum-sha256",
    "x-amz-sdk-request",
];

impl Profile {
    /// Whether this service takes a request with these headers.
    pub(crate) fn check(self, method: &Method, uri: &Uri, headers: &HeaderMap) -> S3Result<()> {
        let has_checksum = || headers.keys().any(|name| name.as_str().starts_with("x-amz-checksum-"));
        match self {
            Self::Md5Only if has_checksum() => Err(s3_error!(InvalidRequest, "checksum headers are not known here")),
            Self::Aws | Self::IgnoresConditions | Self::Md5Only => Ok(()),
            Self::Strict => {
                let unknown = |name: &&str| name.starts_with("x-amz-") && !KNOWN.contains(name);
                if let Some(name) = headers.keys().map(hyper::header::HeaderName::as_str).find(unknown) {
                    return Err(s3_error!(InvalidRequest, "header {name} is not known here"));
                }
                if *method == Method::PUT && uri.path().trim_matches('/').contains('/') {
                    strict_upload(headers, has_checksum())?;
                }
                Ok(())
            }
        }
    }
}

fn strict_upload(headers: &HeaderMap, has_checksum: bool) -> S3Result<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("content-length").is_none() {
        return Err(s3_error!(MissingContentLength, "an upload must say how long it is"));
    }
    let body_is_signed = text("x-amz-content-sha256").is_some_and(|hash| hash.len() == 64);
    if !body_is_signed || text("content-encoding").is_some_and(|encoding| encoding.contains("aws-chunked")) {
        return Err(s3_error!(NotImplemented, "the body must be signed in one piece"));
    }
    if text("content-md5").is_none() && !has_checksum {
        let code = S3ErrorCode::InvalidRequest;
        return Err(s3s::S3Error::with_message(code, "Content-MD5 or an x-amz-checksum- header is required here"));
    }
    Ok(())
}
