//! What a PUT asked for beside storing bytes: storage class and server-side encryption. Kept in a small file per object, in a
//! folder beside the buckets, so that the bytes of an object stay a plain file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use s3s::dto::{PutObjectInput, ServerSideEncryption, StorageClass};
use s3s::{S3Result, s3_error};

/// The only algorithm of keys that customers keep.
const CUSTOMER_ALGORITHM: &str = "AES256";
const CUSTOMER_KEY_BYTES: usize = 32;

/// How an object is kept, by what its PUT said. The bytes are stored as they came: this server only holds to the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) storage_class: Option<String>,
    pub(crate) encryption: Option<String>,
    pub(crate) kms_key: Option<String>,
    /// MD5 of the key that reads need, too.
    pub(crate) customer_md5: Option<String>,
}

/// The three headers of a key that the customer keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CustomerHeaders<'a> {
    pub(crate) algorithm: Option<&'a String>,
    pub(crate) key: Option<&'a String>,
    pub(crate) md5: Option<&'a String>,
}

impl CustomerHeaders<'_> {
    /// The MD5 of the key, once all three belong together. Such a key is refused on a connection that others can read.
    fn checked(self, is_secure: bool) -> S3Result<Option<String>> {
        let (algorithm, key, md5) = match (self.algorithm, self.key, self.md5) {
            (None, None, None) => return Ok(None),
            (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
            _ => return Err(s3_error!(InvalidArgument, "a customer key needs its algorithm, the key and its MD5")),
        };
        if !is_secure {
            return Err(s3_error!(InvalidRequest, "a customer key must come over a secure connection"));
        }
        let bytes = BASE64_STANDARD.decode(key).unwrap_or_default();
        let fits = algorithm == CUSTOMER_ALGORITHM && bytes.len() == CUSTOMER_KEY_BYTES;
        if !fits || BASE64_STANDARD.encode(Md5::digest(&bytes)) != *md5 {
            return Err(s3_error!(InvalidArgument, "the customer key is not one of AES256, or its MD5 is of another"));
        }
        Ok(Some(md5.clone()))
    }
}

impl Traits {
    /// What a PUT asks for.
    pub(crate) fn asked(input: &PutObjectInput, is_secure: bool) -> S3Result<Self> {
        let customer = CustomerHeaders {
            algorithm: input.sse_customer_algorithm.as_ref(),
            key: input.sse_customer_key.as_ref(),
            md5: input.sse_customer_key_md5.as_ref(),
        };
        let customer_md5 = customer.checked(is_secure)?;
        let encryption = input.server_side_encryption.as_ref().map(|kind| kind.as_str().to_owned());
        let known = encryption
            .as_deref()
            .is_none_or(|kind| [ServerSideEncryption::AES256, ServerSideEncryption::AWS_KMS].contains(&kind));
        let is_kms = encryption.as_deref() == Some(ServerSideEncryption::AWS_KMS);
        if !known || (input.ssekms_key_id.is_some() && !is_kms) || (encryption.is_some() && customer_md5.is_some()) {
            return Err(s3_error!(InvalidArgument, "this is no way to encrypt an object"));
        }
        let account_key = || "alias/aws/s3".to_owned();
        let kms_key = is_kms.then(|| input.ssekms_key_id.clone().unwrap_or_else(account_key));
        let storage_class = input.storage_class.as_ref().map(|class| class.as_str().to_owned());
        Ok(Self { storage_class, encryption, kms_key, customer_md5 })
    }

    /// Whether a read may have the object.
    pub(crate) fn admit(&self, customer: CustomerHeaders<'_>, is_secure: bool) -> S3Result<()> {
        match (&self.customer_md5, customer.checked(is_secure)?) {
            (None, None) => Ok(()),
            (Some(stored), Some(given)) if *stored == given => Ok(()),
            (Some(_), Some(_)) => Err(s3_error!(AccessDenied, "the object was stored with another customer key")),
            (Some(_), None) => Err(s3_error!(InvalidRequest, "the object was stored with a customer key")),
            (None, Some(_)) => Err(s3_error!(InvalidRequest, "the object was stored without a customer key")),
        }
    }

    /// As the answers of GET, HEAD and LIST have it.
    pub(crate) fn storage_class(&self) -> Option<String> {
        self.storage_class.clone().filter(|class| class != StorageClass::STANDARD)
    }

    fn text(&self) -> String {
        let lines = [
            ("storage-class", &self.storage_class),
            ("encryption", &self.encryption),
            ("kms-key", &self.kms_key),
            ("customer-md5", &self.customer_md5),
        ];
        lines.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}\n"))).collect()
    }

    fn parse(text: &str) -> Self {
        let find = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        Self {
            storage_class: find("storage-class"),
            encryption: find("encryption"),
            kms_key: find("kms-key"),
            customer_md5: find("customer-md5"),
        }
    }
}

/// The files with the traits of all objects.
#[derive(Debug)]
pub(crate) struct TraitFiles {
    root: PathBuf,
}

impl TraitFiles {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, bucket: &str, key: &str) -> PathBuf {
        // One flat name for each key, so that nothing has to be tidied up in folders.
        let flat: String = format!("{bucket}/{key}").bytes().map(|byte| format!("{byte:02x}")).collect();
        // File names end at 255 bytes; keys that long share their folder.
        flat.as_bytes()
            .chunks(200)
            .fold(self.root.clone(), |path, part| path.join(String::from_utf8_lossy(part).as_ref()))
    }

    /// Writes them down.
    pub(crate) fn keep(&self, bucket: &str, key: &str, traits: &Traits) -> io::Result<()> {
        let path = self.path(bucket, key);
        if *traits == Traits::default() {
            return forget(&path);
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, traits.text())
    }

    pub(crate) fn of(&self, bucket: &str, key: &str) -> Traits {
        fs::read_to_string(self.path(bucket, key)).map(|text| Traits::parse(&text)).unwrap_or_default()
    }

    pub(crate) fn remove(&self, bucket: &str, key: &str) -> io::Result<()> {
        forget(&self.path(bucket, key))
    }
}

fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
