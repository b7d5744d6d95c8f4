//! How to reach an S3 service.

use std::path::PathBuf;
use std::str::FromStr;

use super::customer_key::CustomerKey;
use crate::digest::ShortHash;

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
    pub encryption: ServerEncryption,
    /// Storage class of segments under `binlogs/` and of chunks.
    pub storage_class: Option<StorageClass>,
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
        if matches!(self.encryption, ServerEncryption::Customer(_)) && endpoint.starts_with("http://") {
            return Err("with SSE-C the key goes with every request: the endpoint must be https://".to_owned());
        }
        Ok(())
    }
}

/// The checksum that goes with an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// What the provider is known to check: see [`Checksum::at`].
    #[default]
    Auto,
    /// `Content-MD5`: every service checks it.
    Md5,
    /// `x-amz-checksum-crc32c`: cheaper, and known to AWS; some services refuse it.
    Crc32c,
    /// None but the signed SHA-256 of the body.
    None,
}

impl Checksum {
    /// The checksum that is sent to a service at this endpoint. Only AWS is known to check CRC32C everywhere: Wasabi refuses
    /// the header, older Ceph stores whatever it says (faults.md F15). `Content-MD5` is part of S3 since its first day.
    #[must_use]
    pub fn at(self, endpoint: Option<&str>) -> Self {
        match self {
            Self::Auto if is_aws(endpoint) => Self::Crc32c,
            Self::Auto => Self::Md5,
            chosen => chosen,
        }
    }
}

/// Whether requests go to AWS itself.
fn is_aws(endpoint: Option<&str>) -> bool {
    let Some(endpoint) = endpoint else { return true };
    let after_scheme = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = after_scheme.split(['/', ':']).next().unwrap_or_default();
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

impl FromStr for Checksum {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "auto" => Ok(Self::Auto),
            "md5" => Ok(Self::Md5),
            "crc32c" => Ok(Self::Crc32c),
            "none" => Ok(Self::None),
            _ => Err(OptionError::new("checksum", text, "auto, md5, crc32c or none")),
        }
    }
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
    /// Only the role of `AWS_ROLE_ARN`, assumed with the token in `AWS_WEB_IDENTITY_TOKEN_FILE`, as EKS gives them to a pod.
    /// The file is read again whenever the role is assumed again.
    WebIdentity,
}

impl FromStr for Credentials {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "environment" => return Ok(Self::Environment),
            "web-identity" => return Ok(Self::WebIdentity),
            _ => {}
        }
        match text.strip_prefix("file:").map(|directory| directory.trim_start_matches("//")) {
            Some(directory) if directory.starts_with('/') => Ok(Self::Directory(PathBuf::from(directory))),
            Some(_) | None => {
                Err(OptionError::new("source of credentials", text, "environment, web-identity or file:/DIRECTORY"))
            }
        }
    }
}

/// Encryption by the service, with its keys or with one that goes with each request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerEncryption {
    /// What the bucket does by itself.
    #[default]
    None,
    /// SSE-S3: `AES256` with the service's keys.
    S3,
    /// SSE-KMS: `aws:kms` with this key, or with the account's own for S3.
    Kms(Option<String>),
    /// SSE-C: the key in this file, 32 bytes or their base64, goes with every request that writes or reads an object.
    Customer(PathBuf),
}

impl ServerEncryption {
    /// Which key of SSE-C lies in its file now, without giving it away. `None`: the service has the keys, or there are none.
    ///
    /// # Errors
    /// What is wrong with the file, without its content.
    pub fn customer_key_id(&self) -> Result<Option<ShortHash>, String> {
        match self {
            Self::Customer(file) => CustomerKey::read(file).map(|key| Some(key.id())),
            Self::None | Self::S3 | Self::Kms(_) => Ok(None),
        }
    }
}

impl FromStr for ServerEncryption {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let wrong = || OptionError::new("server-side encryption", text, "none, s3, kms, kms:KEY-ID or c:/KEY-FILE");
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "s3" => Ok(Self::S3),
            None if text == "kms" => Ok(Self::Kms(None)),
            Some(("kms", key)) if is_header_text(key) => Ok(Self::Kms(Some(key.to_owned()))),
            Some(("c", file)) if file.starts_with('/') => Ok(Self::Customer(PathBuf::from(file))),
            _ => Err(wrong()),
        }
    }
}

/// A storage class by its name in S3: `STANDARD_IA`, `GLACIER_IR`, or one of the service's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClass(String);

impl StorageClass {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl FromStr for StorageClass {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_-".contains(&b);
        if text.is_empty() || !text.bytes().all(plain) {
            return Err(OptionError::new("storage class", text, "a name such as STANDARD_IA, INTELLIGENT_TIERING"));
        }
        // Objects of these classes are read after hours, when somebody has asked for a copy.
        if ["GLACIER", "DEEP_ARCHIVE"].contains(&text) {
            let readable = "a class whose objects can be read at once, such as STANDARD_IA or GLACIER_IR";
            return Err(OptionError::new("storage class", text, readable));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Text that a header can hold.
fn is_header_text(text: &str) -> bool {
    (1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// An option's text that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no {what}: expected {expected}")]
pub struct OptionError {
    what: &'static str,
    text: String,
    /// What would be right.
    pub expected: &'static str,
}

impl OptionError {
    fn new(what: &'static str, text: &str, expected: &'static str) -> Self {
        Self { what, text: text.to_owned(), expected }
    }
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

    #[test]
    fn a_customer_key_is_not_sent_in_clear() {
        let encryption = ServerEncryption::Customer("/key".into());
        let options = |endpoint: &str| S3Options {
            endpoint: Some(endpoint.to_owned()),
            encryption: encryption.clone(),
            ..S3Options::default()
        };
        assert!(options("http://s3.example").check_endpoint().unwrap_err().contains("must be https://"));
        assert_eq!(options("https://s3.example").check_endpoint(), Ok(()));
    }

    #[test]
    fn a_checksum_is_one_that_the_provider_checks() {
        let aws = [None, Some("https://s3.eu-west-1.amazonaws.com"), Some("https://x.s3.cn-north-1.amazonaws.com.cn/")];
        for endpoint in aws {
            assert_eq!(Checksum::Auto.at(endpoint), Checksum::Crc32c, "{endpoint:?}");
        }
        let others = [
            "https://s3.wasabisys.com",
            "http://rgw:7480",
            "https://amazonaws.com.example",
            "https://s3.eu-central-003.backblazeb2.com",
        ];
        for endpoint in others {
            assert_eq!(Checksum::Auto.at(Some(endpoint)), Checksum::Md5, "{endpoint}");
            assert_eq!(Checksum::None.at(Some(endpoint)), Checksum::None);
        }
    }

    #[test]
    fn options_are_read_from_text_or_refused_with_what_is_right() {
        assert_eq!("kms".parse(), Ok(ServerEncryption::Kms(None)));
        assert_eq!(
            "kms:arn:aws:kms:x:1:key/2".parse(),
            Ok(ServerEncryption::Kms(Some("arn:aws:kms:x:1:key/2".to_owned())))
        );
        assert_eq!("c:/keys/sse".parse(), Ok(ServerEncryption::Customer("/keys/sse".into())));
        for text in ["", "S3", "kms:", "kms:a b", "c:", "c:key", "aes256"] {
            assert!(text.parse::<ServerEncryption>().unwrap_err().to_string().contains("expected none, s3, kms"));
        }
        assert_eq!("file:///s3".parse(), Ok(Credentials::Directory("/s3".into())));
        assert_eq!("web-identity".parse(), Ok(Credentials::WebIdentity));
        assert!("file:s3".parse::<Credentials>().is_err());
        assert_eq!("STANDARD_IA".parse::<StorageClass>().unwrap().name(), "STANDARD_IA");
        for text in ["", "standard ia", "GLACIER", "DEEP_ARCHIVE"] {
            assert!(text.parse::<StorageClass>().is_err(), "{text}");
        }
        assert!("sha1".parse::<Checksum>().is_err());
    }
}
