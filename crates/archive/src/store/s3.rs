//! A store in a bucket of an S3 service, through the AWS SDK.
//!
//! The SDK makes one attempt per call and neither chunks nor streams a body: one plain, signed PUT with Content-Length
//! and a checksum is what every S3 service understands (faults.md §6). Retries are ours, see [`super::Retrying`].

mod access;
mod client;
mod credentials;
mod customer_key;
mod failure;
mod options;

use std::collections::HashSet;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier, ServerSideEncryption};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use md5::{Digest as _, Md5};
use tokio::time::Instant;

use super::error::{Call, Operation, StoreError};
use super::{ListedObject, OBJECT_BYTES_MAX, ObjectClass, ObjectInfo, Store};
use crate::digest::sha256;
use access::Access;
use customer_key::{ALGORITHM, CustomerKey};
use failure::Stale;
pub use options::{Checksum, Credentials, OptionError, S3Options, ServerEncryption, StorageClass};

/// An operation without a byte for this long is ended (faults.md §6.5).
const NO_PROGRESS: Duration = Duration::from_secs(60);

/// The slowest upload that still counts as progress, in bytes a second; the SDK does not show an upload's progress.
const SLOWEST_UPLOAD: u64 = 64 << 10;

/// S3 deletes at most so many keys with one request.
const DELETE_BATCH: usize = 1000;

/// Pages of one listing: 100 million keys. A service whose continuation token runs in circles is found earlier.
const LIST_PAGES_MAX: usize = 100_000;

/// Objects under a prefix of a bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    access: Arc<Access>,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    /// Named when a connection fails.
    endpoint: String,
    checksum: Checksum,
    encryption: ServerEncryption,
    /// The key of SSE-C, where that is the encryption.
    customer_key: Option<CustomerKey>,
    storage_class: Option<StorageClass>,
}

impl S3Store {
    /// A store under `prefix` of `bucket`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] when the options cannot be used.
    pub async fn connect(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, StoreError> {
        let call = Call::new(Operation::List, bucket);
        options.check_endpoint().map_err(|reason| call.fatal(reason))?;
        let access = Access::new(options, None).await.map_err(|reason| call.fatal(reason))?;
        Self::with_access(bucket, prefix, options, access)
    }

    /// The same, with another way to send requests: for tests that look at them.
    ///
    /// # Errors
    /// As [`Self::connect`].
    #[doc(hidden)]
    pub async fn with_http_client(
        bucket: &str,
        prefix: &str,
        options: &S3Options,
        http: aws_smithy_runtime_api::client::http::SharedHttpClient,
    ) -> Result<Self, StoreError> {
        let call = Call::new(Operation::List, bucket);
        let access = Access::new(options, Some(http)).await.map_err(|reason| call.fatal(reason))?;
        Self::with_access(bucket, prefix, options, access)
    }

    fn with_access(bucket: &str, prefix: &str, options: &S3Options, access: Access) -> Result<Self, StoreError> {
        let customer_key = match &options.encryption {
            ServerEncryption::Customer(file) => {
                let call = Call::new(Operation::List, bucket);
                Some(CustomerKey::read(file).map_err(|reason| call.fatal(reason))?)
            }
            _ => None,
        };
        Ok(Self {
            access: Arc::new(access),
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            endpoint: options.endpoint.clone().unwrap_or_else(|| "the AWS endpoint of the region".to_owned()),
            checksum: options.checksum.at(options.endpoint.as_deref()),
            encryption: options.encryption.clone(),
            customer_key,
            storage_class: options.storage_class.clone(),
        })
    }

    /// Algorithm, key and its MD5, as the three headers of SSE-C have them.
    fn customer(&self) -> (Option<String>, Option<String>, Option<String>) {
        match &self.customer_key {
            None => (None, None, None),
            Some(key) => (Some(ALGORITHM.to_owned()), Some(key.key.clone()), Some(key.md5.clone())),
        }
    }

    /// A PUT with checksum, encryption and storage class as they were asked for.
    fn dressed(&self, mut put: PutObjectFluentBuilder, bytes: &Bytes, class: ObjectClass) -> PutObjectFluentBuilder {
        match self.checksum {
            Checksum::Md5 => put = put.content_md5(STANDARD.encode(Md5::digest(bytes))),
            Checksum::Crc32c => put = put.checksum_crc32_c(crc32c_header(bytes)),
            Checksum::Auto | Checksum::None => {}
        }
        match &self.encryption {
            ServerEncryption::None => {}
            ServerEncryption::S3 => put = put.server_side_encryption(ServerSideEncryption::Aes256),
            ServerEncryption::Kms(key) => {
                put = put.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key.clone());
            }
            ServerEncryption::Customer(_) => {
                let (algorithm, customer_key, md5) = self.customer();
                let customer = put.set_sse_customer_algorithm(algorithm).set_sse_customer_key(customer_key);
                put = customer.set_sse_customer_key_md5(md5);
            }
        }
        match self.storage_class_of(class) {
            Some(class) => put.storage_class(class.name().into()),
            None => put,
        }
    }

    /// What an object of a class is stored as, if the service is to choose nothing itself.
    fn storage_class_of(&self, class: ObjectClass) -> Option<&StorageClass> {
        self.storage_class.as_ref().filter(|_| class == ObjectClass::Content)
    }

    fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Sends a request; a service that says nothing for `patience` has failed. Credentials or a certificate that are refused may have been
    /// replaced just now: that is worth a second try, with what is there then.
    async fn send<T, E, F>(
        &self,
        call: Call<'_>,
        patience: Duration,
        request: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E>>> + Send,
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (error, stale) = match self.try_once(call, patience, request(self.access.client())).await {
            Ok(value) => return Ok(value),
            Err((error, None)) => return Err(error),
            Err((error, Some(stale))) => (error, stale),
        };
        let Some(client) = self.access.renewed(stale).await else { return Err(self.access.refused(error, stale)) };
        match self.try_once(call, patience, request(client)).await {
            Ok(value) => Ok(value),
            Err((error, None)) => Err(error),
            Err((error, Some(stale))) => Err(self.access.refused(error, stale)),
        }
    }

    async fn try_once<T, E, F>(
        &self,
        call: Call<'_>,
        patience: Duration,
        request: F,
    ) -> Result<T, (StoreError, Option<Stale>)>
    where
        F: Future<Output = Result<T, SdkError<E>>> + Send,
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let sent = Instant::now();
        match tokio::time::timeout(patience, request).await {
            Ok(Ok(value)) => {
                self.access.worked(call.operation, sent);
                Ok(value)
            }
            Ok(Err(error)) => Err((failure::classify(call, &self.place(), &error), failure::stale(&error))),
            Err(_) => {
                let silence = format!("{} gave no answer for {}s", self.endpoint, patience.as_secs());
                Err((call.transient(silence), None))
            }
        }
    }

    fn place(&self) -> failure::Place<'_> {
        failure::Place { endpoint: &self.endpoint, bucket: &self.bucket }
    }

    async fn fetch(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let call = Call::new(Operation::Get, key);
        // S3 ranges are inclusive, and `bytes=5-4` means the whole object.
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Bytes::new());
        }
        // Services read these as signed numbers.
        let header = range.as_ref().map(|range| match i64::try_from(range.end) {
            Ok(end) => format!("bytes={}-{}", range.start, end - 1),
            Err(_) => format!("bytes={}-", range.start),
        });
        let request = |client: Client| {
            let (algorithm, customer_key, md5) = self.customer();
            let get = client.get_object().bucket(&self.bucket).key(self.full_key(key)).set_range(header.clone());
            let get = get.set_sse_customer_algorithm(algorithm).set_sse_customer_key(customer_key);
            get.set_sse_customer_key_md5(md5).send()
        };
        let output = match self.send(call, NO_PROGRESS, request).await {
            Ok(output) => output,
            Err(StoreError::Fatal { reason, .. }) if header.is_some() && failure::is_range_error(&reason) => {
                return Ok(Bytes::new());
            }
            Err(error) => return Err(error),
        };
        let announced = output.content_length().and_then(|length| u64::try_from(length).ok());
        // A service, or what stands before it, may answer with another range than was asked for, or the whole object.
        let begins = output.content_range().map_or(Some(0), range_start);
        let bytes = read_body(call, output.body, announced).await?;
        match range {
            Some(range) => cut(&bytes, begins, &range).ok_or_else(|| call.transient("another range was asked for")),
            None => Ok(bytes),
        }
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<(), StoreError> {
        let call = Call::new(Operation::Delete, keys.first().map_or("", String::as_str));
        let mut delete = Delete::builder().quiet(true);
        for key in keys {
            let object = ObjectIdentifier::builder().key(self.full_key(key)).build();
            delete = delete.objects(object.map_err(|error| call.fatal(error.to_string()))?);
        }
        let delete = delete.build().map_err(|error| call.fatal(error.to_string()))?;
        let request = |client: Client| client.delete_objects().bucket(&self.bucket).delete(delete.clone()).send();
        match self.send(call, NO_PROGRESS, request).await {
            Ok(output) => match output.errors().first() {
                None => Ok(()),
                Some(refused) => match failure::refused_delete(&self.prefix, refused) {
                    Some(error) => Err(error),
                    None => self.delete_singly(keys).await,
                },
            },
            // Services without batch deletes, or with another idea of its checksum, know the single one.
            Err(StoreError::Fatal { .. }) => self.delete_singly(keys).await,
            Err(error) => Err(error),
        }
    }

    async fn delete_singly(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            let call = Call::new(Operation::Delete, key);
            let request = |client: Client| client.delete_object().bucket(&self.bucket).key(self.full_key(key)).send();
            match self.send(call, NO_PROGRESS, request).await {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn listed(&self, object: &aws_sdk_s3::types::Object) -> Option<ListedObject> {
        let key = object.key()?.strip_prefix(&self.prefix)?;
        // Some consoles create an empty object for a "folder".
        if key.is_empty() || key.ends_with('/') {
            return None;
        }
        Some(ListedObject {
            key: key.to_owned(),
            length: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
            modified: timestamp(object.last_modified()),
        })
    }
}

/// Where the answer to a range request begins: `bytes 5-9/20`.
fn range_start(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// The wanted range out of bytes that begin at `begins`. `None`: its beginning is not there.
fn cut(bytes: &Bytes, begins: Option<u64>, wanted: &Range<u64>) -> Option<Bytes> {
    let begins = begins?;
    let skipped = wanted.start.checked_sub(begins)?;
    let length = bytes.len() as u64;
    let (from, to) = (skipped.min(length), (wanted.end - begins).min(length));
    Some(bytes.slice(usize::try_from(from).ok()?..usize::try_from(to).ok()?))
}

/// Reads a body piece by piece: a stalled one is ended, a short or endless one is an error.
async fn read_body(call: Call<'_>, mut body: ByteStream, announced: Option<u64>) -> Result<Bytes, StoreError> {
    if announced.is_some_and(|length| length > OBJECT_BYTES_MAX) {
        return Err(call.corrupt("larger than any object of an archive"));
    }
    let expected = usize::try_from(announced.unwrap_or(0)).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(expected);
    loop {
        let piece = tokio::time::timeout(NO_PROGRESS, body.next()).await;
        match piece.map_err(|_| call.transient(format!("the transfer stalled for {}s", NO_PROGRESS.as_secs())))? {
            None => break,
            Some(Err(error)) => {
                return Err(call.transient(format!("the transfer broke off: {}", failure::root(&error))));
            }
            Some(Ok(piece)) => bytes.extend_from_slice(&piece),
        }
        if bytes.len() as u64 > OBJECT_BYTES_MAX {
            return Err(call.corrupt("larger than any object of an archive"));
        }
    }
    match announced {
        Some(length) if length != bytes.len() as u64 => {
            Err(call.transient(format!("the transfer ended after {} of {length} bytes", bytes.len())))
        }
        _ => Ok(bytes.freeze()),
    }
}

/// As the header has it. The SDK, asked for the algorithm alone, would send the body in chunks and the checksum behind it.
fn crc32c_header(bytes: &Bytes) -> String {
    STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
}

/// The store's time; one that it does not give counts as the distant past, which no rule prefers.
fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).unwrap_or(0)).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[async_trait]
impl Store for S3Store {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        let call = Call::new(Operation::Put, key);
        let length = bytes.len() as u64;
        let announced = i64::try_from(length).map_err(|_| call.fatal("object is too large"))?;
        let patience = NO_PROGRESS + Duration::from_secs(length / SLOWEST_UPLOAD);
        let request = |client: Client| {
            let put = client.put_object().bucket(&self.bucket).key(self.full_key(key)).content_length(announced);
            self.dressed(put, &bytes, class).body(ByteStream::from(bytes.clone())).send()
        };
        match self.send(call, patience, request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failure::about_class(error, self.storage_class_of(class))),
        }
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.fetch(key, None).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.fetch(key, Some(range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let request = |client: Client| {
            let (algorithm, customer_key, md5) = self.customer();
            let head = client.head_object().bucket(&self.bucket).key(self.full_key(key));
            let head = head.set_sse_customer_algorithm(algorithm).set_sse_customer_key(customer_key);
            head.set_sse_customer_key_md5(md5).send()
        };
        let output = self.send(Call::new(Operation::Head, key), NO_PROGRESS, request).await?;
        Ok(ObjectInfo {
            length: u64::try_from(output.content_length().unwrap_or(0)).unwrap_or(0),
            modified: timestamp(output.last_modified()),
        })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let call = Call::new(Operation::List, prefix);
        let mut listed = Vec::new();
        let mut token: Option<String> = None;
        let mut seen = HashSet::new();
        for _ in 0..LIST_PAGES_MAX {
            let request = |client: Client| {
                let list = client.list_objects_v2().bucket(&self.bucket).prefix(self.full_key(prefix));
                list.set_continuation_token(token.clone()).send()
            };
            let output = self.send(call, NO_PROGRESS, request).await?;
            // The SDK takes a body that was cut off for a shorter listing. A part of one would look like a hole.
            let announced = usize::try_from(output.key_count().unwrap_or(0)).unwrap_or(0);
            let counted = output.contents().len() + output.common_prefixes().len();
            if output.is_truncated().is_none() && output.key_count().is_none() || counted < announced {
                return Err(call.transient(format!("{} gave a listing that is not whole", self.endpoint)));
            }
            listed.extend(output.contents().iter().filter_map(|object| self.listed(object)));
            match (output.is_truncated(), output.next_continuation_token()) {
                (Some(true), Some(next)) => {
                    if !seen.insert(sha256(next.as_bytes())) {
                        return Err(call.transient("the listing runs in circles"));
                    }
                    token = Some(next.to_owned());
                }
                (Some(true), None) => {
                    return Err(call.transient("the listing breaks off and does not say how to go on"));
                }
                _ => {
                    // Services are seen that repeat keys at page borders or don't sort (faults.md F12).
                    listed.sort_unstable_by(|a: &ListedObject, b| a.key.cmp(&b.key));
                    listed.dedup_by(|a, b| a.key == b.key);
                    return Ok(listed);
                }
            }
        }
        Err(call.transient("the listing does not end"))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        for batch in keys.chunks(DELETE_BATCH) {
            match batch {
                [single] => self.delete_singly(std::slice::from_ref(single)).await?,
                batch => self.delete_batch(batch).await?,
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix.trim_end_matches('/'))
    }
}
