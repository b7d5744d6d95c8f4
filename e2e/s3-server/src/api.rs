//! The S3 operations, over directories.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use s3s::dto::{
    CommonPrefix, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, GetObjectInput,
    GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::bucket::{Bucket, Condition, Facts, Page, WriteError};
use crate::profile::Profile;
use crate::traits::{CustomerHeaders, TraitFiles, Traits};
use crate::upload::Upload;

const READ_BUFFER_BYTES: usize = 256 * 1024;
const MAX_KEYS: i32 = 1000;

/// All buckets, in one directory.
pub(crate) struct DirectoryStore {
    root: PathBuf,
    uploads: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    traits: TraitFiles,
    /// Whether requests come over TLS.
    is_secure: bool,
    profile: Profile,
}

impl DirectoryStore {
    /// Opens the buckets in `root`; what was being uploaded when it was last used is gone.
    pub(crate) fn open(root: &Path, is_secure: bool, profile: Profile) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let uploads = root.join(".uploads");
        if uploads.exists() {
            fs::remove_dir_all(&uploads)?;
        }
        fs::create_dir(&uploads)?;
        let traits = TraitFiles::new(root.join(".traits"));
        let buckets = RwLock::default();
        let store = Self { root: root.to_owned(), uploads, buckets, traits, is_secure, profile };
        for entry in fs::read_dir(root)? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) {
                store.create(name)?;
            }
        }
        Ok(store)
    }

    /// Makes a bucket unless it is there.
    pub(crate) fn create(&self, name: &str) -> io::Result<()> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(name) {
            buckets.insert(name.to_owned(), Arc::new(Bucket::open(self.root.join(name))?));
        }
        Ok(())
    }

    fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).cloned().ok_or_else(|| s3_error!(NoSuchBucket, "the bucket does not exist"))
    }

    fn object(&self, bucket: &str, key: &str) -> S3Result<(PathBuf, Facts)> {
        let bucket = self.bucket(bucket)?;
        let found = bucket.facts(key).zip(bucket.path(key));
        found.map(|(facts, path)| (path, facts)).ok_or_else(|| s3_error!(NoSuchKey, "the key does not exist"))
    }
}

fn condition(input: &PutObjectInput) -> S3Result<Condition> {
    match (&input.if_none_match, &input.if_match) {
        (None, None) => Ok(Condition::Always),
        (Some(ETagCondition::Any), None) => Ok(Condition::Absent),
        (None, Some(ETagCondition::ETag(etag))) => Ok(Condition::Etag(etag.value().to_owned())),
        _ => Err(s3_error!(NotImplemented, "only If-None-Match: * and If-Match with an ETag are known")),
    }
}

fn etag(facts: &Facts) -> Option<ETag> {
    Some(ETag::Strong(facts.etag()))
}

fn length(bytes: u64) -> S3Result<i64> {
    i64::try_from(bytes).map_err(S3Error::internal_error)
}

#[async_trait::async_trait]
impl S3 for DirectoryStore {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        if self.bucket(&req.input.bucket).is_ok() {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        self.create(&req.input.bucket).map_err(S3Error::internal_error)?;
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        if !self.bucket(&req.input.bucket)?.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).remove(&req.input.bucket);
        fs::remove_dir_all(self.root.join(&req.input.bucket)).map_err(S3Error::internal_error)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let mut input = req.input;
        let bucket = self.bucket(&input.bucket)?;
        let path =
            bucket.path(&input.key).ok_or_else(|| s3_error!(InvalidArgument, "this key cannot be a file's path"))?;
        let condition = match self.profile {
            Profile::IgnoresConditions => Condition::Always,
            _ => condition(&input)?,
        };
        let traits = Traits::asked(&input, self.is_secure)?;
        let upload = Upload::receive(&self.uploads, &mut input, req.trailing_headers).await?;
        let facts = bucket.publish(&input.key, &path, upload.file(), &condition).map_err(|error| match error {
            WriteError::ConditionFailed => s3_error!(PreconditionFailed),
            WriteError::KeyIsDirectory => s3_error!(InvalidRequest, "a key is also the beginning of another"),
            WriteError::Io(error) => S3Error::internal_error(error),
        })?;
        self.traits.keep(&input.bucket, &input.key, &traits).map_err(S3Error::internal_error)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: etag(&facts),
            server_side_encryption: traits.encryption.map(Into::into),
            ssekms_key_id: traits.kms_key,
            sse_customer_algorithm: traits.customer_md5.as_ref().map(|_| "AES256".to_owned()),
            sse_customer_key_md5: traits.customer_md5,
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let (path, facts) = self.object(&input.bucket, &input.key)?;
        let traits = self.traits.of(&input.bucket, &input.key);
        let customer = CustomerHeaders {
            algorithm: input.sse_customer_algorithm.as_ref(),
            key: input.sse_customer_key.as_ref(),
            md5: input.sse_customer_key_md5.as_ref(),
        };
        traits.admit(customer, self.is_secure)?;
        let range = match input.range {
            None => 0..facts.size,
            Some(range) => range.check(facts.size).map_err(|_| s3_error!(InvalidRange))?,
        };
        let mut file = tokio::fs::File::open(&path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => s3_error!(NoSuchKey),
            _ => S3Error::internal_error(error),
        })?;
        file.seek(SeekFrom::Start(range.start)).await.map_err(S3Error::internal_error)?;
        let body = ReaderStream::with_capacity(file.take(range.end - range.start), READ_BUFFER_BYTES);
        let content_range = input.range.map(|_| format!("bytes {}-{}/{}", range.start, range.end - 1, facts.size));
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            content_length: Some(length(range.end - range.start)?),
            content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: etag(&facts),
            last_modified: Some(Timestamp::from(facts.modified)),
            storage_class: traits.storage_class().map(Into::into),
            server_side_encryption: traits.encryption.map(Into::into),
            ssekms_key_id: traits.kms_key,
            sse_customer_key_md5: traits.customer_md5,
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let (_, facts) = self.object(&input.bucket, &input.key)?;
        let traits = self.traits.of(&input.bucket, &input.key);
        let customer = CustomerHeaders {
            algorithm: input.sse_customer_algorithm.as_ref(),
            key: input.sse_customer_key.as_ref(),
            md5: input.sse_customer_key_md5.as_ref(),
        };
        traits.admit(customer, self.is_secure)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length(facts.size)?),
            accept_ranges: Some("bytes".to_owned()),
            e_tag: etag(&facts),
            last_modified: Some(Timestamp::from(facts.modified)),
            storage_class: traits.storage_class().map(Into::into),
            server_side_encryption: traits.encryption.map(Into::into),
            ssekms_key_id: traits.kms_key,
            sse_customer_key_md5: traits.customer_md5,
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.bucket(&req.input.bucket)?.remove(&req.input.key).map_err(S3Error::internal_error)?;
        self.traits.remove(&req.input.bucket, &req.input.key).map_err(S3Error::internal_error)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = self.bucket(&req.input.bucket)?;
        let mut deleted = Vec::new();
        for object in req.input.delete.objects {
            bucket.remove(&object.key).map_err(S3Error::internal_error)?;
            self.traits.remove(&req.input.bucket, &object.key).map_err(S3Error::internal_error)?;
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let limit = input.max_keys.unwrap_or(MAX_KEYS).clamp(0, MAX_KEYS);
        let (entries, truncated) = self.bucket(&input.bucket)?.list(&Page {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            after: input.continuation_token.as_deref().or(input.start_after.as_deref()),
            limit: usize::try_from(limit).map_err(S3Error::internal_error)?,
        });
        let next = entries.last().filter(|_| truncated).map(|(name, _)| name.clone());
        let count = i32::try_from(entries.len()).map_err(S3Error::internal_error)?;
        let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
        for (name, facts) in entries {
            match facts {
                None => prefixes.push(CommonPrefix { prefix: Some(name) }),
                Some(facts) => contents.push(Object {
                    key: Some(name),
                    e_tag: etag(&facts),
                    size: Some(length(facts.size)?),
                    last_modified: Some(Timestamp::from(facts.modified)),
                    ..Object::default()
                }),
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            max_keys: Some(limit),
            key_count: Some(count),
            is_truncated: Some(truncated),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..ListObjectsV2Output::default()
        }))
    }
}
