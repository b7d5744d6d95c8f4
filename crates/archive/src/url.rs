//! Where an archive is: `s3://bucket/prefix`, `file:///directory` or `memory:`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of one archive. It never holds credentials.
///
/// ```
/// use pitr_archive::ArchiveUrl;
/// let url: ArchiveUrl = "s3://backups/shop/mysql/".parse().unwrap();
/// assert_eq!(url.to_string(), "s3://backups/shop/mysql");
/// assert!("s3://key:secret@backups/shop".parse::<ArchiveUrl>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ArchiveUrl {
    /// A prefix of a bucket; the prefix may be empty and has no slash at either end.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key prefix, without a slash at either end.
        prefix: String,
    },
    /// A directory, given by its absolute path.
    File {
        /// The directory.
        directory: PathBuf,
    },
    /// Inside this process: for tests.
    Memory,
}

/// Why a text is not the address of an archive. The text itself is not repeated where it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A user, a password or a query, which would end in history and logs.
    #[error("the archive URL holds credentials")]
    Credentials,
    /// Neither `s3://` nor `file:///`.
    #[error("archive URL \"{url}\" is neither s3://bucket/prefix nor file:///directory")]
    Scheme {
        /// The text.
        url: String,
    },
    /// The bucket's name is empty or has a character that no bucket has.
    #[error("archive URL \"{url}\" has no valid bucket name")]
    Bucket {
        /// The text.
        url: String,
    },
    /// The prefix has an empty or relative part or a control character.
    #[error("archive URL \"{url}\" has an invalid prefix")]
    Prefix {
        /// The text.
        url: String,
    },
    /// `file:` without an absolute path.
    #[error("archive URL \"{url}\" needs an absolute path: file:///directory")]
    Path {
        /// The text.
        url: String,
    },
}

impl FromStr for ArchiveUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            return parse_s3(text, rest);
        }
        if let Some(rest) = text.strip_prefix("file://") {
            return parse_file(text, rest);
        }
        // A scheme that is not ours may still carry a secret in its authority.
        if text.contains('@') || text.contains('?') {
            return Err(UrlError::Credentials);
        }
        Err(UrlError::Scheme { url: text.to_owned() })
    }
}

fn parse_s3(url: &str, rest: &str) -> Result<ArchiveUrl, UrlError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // A query is where presigned URLs keep their signature.
    if bucket.contains(['@', ':']) || rest.contains('?') {
        return Err(UrlError::Credentials);
    }
    let bucket_is_valid =
        (1..=255).contains(&bucket.len()) && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !bucket_is_valid || bucket.starts_with('.') {
        return Err(UrlError::Bucket { url: url.to_owned() });
    }
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() && !prefix.split('/').all(is_prefix_part) {
        return Err(UrlError::Prefix { url: url.to_owned() });
    }
    Ok(ArchiveUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn is_prefix_part(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && !part.chars().any(|c| c.is_control() || c == '\\' || c == '#')
}

fn parse_file(url: &str, rest: &str) -> Result<ArchiveUrl, UrlError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        let authority = path.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        return Err(UrlError::Path { url: url.to_owned() });
    }
    if path.contains('\0') || path.split('/').any(|part| part == "..") {
        return Err(UrlError::Prefix { url: url.to_owned() });
    }
    let trimmed = path.trim_end_matches('/');
    let directory = PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed });
    Ok(ArchiveUrl::File { directory })
}

impl fmt::Display for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { directory } => write!(f, "file://{}", directory.display()),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_is_printed_again() {
        for url in
            ["s3://backups", "s3://backups/shop/mysql", "s3://b.c-d_e/x=1/@home", "file:///var/lib/archive", "memory:"]
        {
            assert_eq!(url.parse::<ArchiveUrl>().unwrap().to_string(), url);
        }
        assert_eq!("file://localhost/a/".parse::<ArchiveUrl>().unwrap().to_string(), "file:///a");
    }

    #[test]
    fn credentials_are_refused_and_never_repeated() {
        for url in [
            "s3://AKIA:SECRET@bucket/x",
            "s3://SECRET@bucket",
            "s3://bucket/x?X-Amz-Signature=SECRET",
            "https://u:SECRET@host/bucket",
            "file://u:SECRET@host/bucket",
        ] {
            let error = url.parse::<ArchiveUrl>().unwrap_err();
            assert_eq!(error, UrlError::Credentials, "{url}");
            assert!(!error.to_string().contains("SECRET"));
        }
    }

    #[test]
    fn other_texts_are_refused_by_kind() {
        let kind = |url: &str| url.parse::<ArchiveUrl>().unwrap_err();
        assert!(matches!(kind("gs://bucket/x"), UrlError::Scheme { .. }));
        assert!(matches!(kind("backups/shop"), UrlError::Scheme { .. }));
        assert!(matches!(kind("s3:///shop"), UrlError::Bucket { .. }));
        assert!(matches!(kind("s3://a b/shop"), UrlError::Bucket { .. }));
        assert!(matches!(kind("s3://b/a//c"), UrlError::Prefix { .. }));
        assert!(matches!(kind("s3://b/../c"), UrlError::Prefix { .. }));
        assert!(matches!(kind("file://relative/x"), UrlError::Path { .. }));
        assert!(matches!(kind("file:///a/../b"), UrlError::Prefix { .. }));
    }
}
