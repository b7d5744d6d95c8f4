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

impl S3Options {
    /// `Err`: what is wrong with the endpoint. One that holds credentials is not repeated.
    pub(super) fn check_endpoint(&self) -> Result<(), String> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let wrong = || format!("endpoint \"{endpoint}\" is not an address like https://s3.example:9000");
        let after_scheme = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if endpoint.contains(['@', '?']) {
            return Err("the endpoint holds credentials or a query".to_owned());
        }
        let authority = after_scheme.ok_or_else(wrong)?.split('/').next().unwrap_or_default();
        let port_is_valid = match authority.rsplit_once(':') {
            // Within the brackets of an IPv6 address a colon separates no port.
            Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok(),
            _ => true,
        };
        let plain = authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:[]".contains(&b));
        if authority.is_empty() || authority.starts_with(':') || !plain || !port_is_valid {
            return Err(wrong());
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(endpoint: &str) -> Result<(), String> {
        S3Options { endpoint: Some(endpoint.to_owned()), ..S3Options::default() }.check_endpoint()
    }

    #[test]
    fn an_endpoint_is_an_address() {
        for endpoint in
            ["http://127.0.0.1:9000", "https://s3.example", "http://[::1]:9000", "http://[::1]", "https://h/base"]
        {
            assert_eq!(check(endpoint), Ok(()), "{endpoint}");
        }
        for endpoint in ["s3.example:9000", "", "ftp://x", "https://", "http://:9000", "http://a b", "http://h:99999"] {
            assert!(check(endpoint).unwrap_err().contains("is not an address"), "{endpoint}");
        }
    }

    #[test]
    fn credentials_in_an_endpoint_are_refused_and_not_repeated() {
        for endpoint in ["https://key:SECRET@s3.example", "https://s3.example?sig=SECRET", "SECRET@x"] {
            assert!(!check(endpoint).unwrap_err().contains("SECRET"));
        }
    }
}
