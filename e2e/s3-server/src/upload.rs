//! An object on its way in: its bytes in a temporary file, until every checksum that came with them has been verified.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, ChecksumAlgorithm, PutObjectInput, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

static UPLOADS: AtomicU64 = AtomicU64::new(0);

/// A complete and verified body; the file is removed unless it is moved to its place.
#[derive(Debug)]
pub(crate) struct Upload {
    file: PathBuf,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

impl Upload {
    /// Receives the body of a PUT into a file in `directory`.
    pub(crate) async fn receive(
        directory: &Path,
        input: &mut PutObjectInput,
        trailers: Option<TrailingHeaders>,
    ) -> S3Result<Self> {
        let body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let number = UPLOADS.fetch_add(1, Ordering::Relaxed);
        let upload = Self { file: directory.join(format!("upload-{}-{number}", std::process::id())) };
        let mut hasher = hasher_for(input);
        let md5 = write(body, &upload.file, &mut hasher).await?;
        if let Some(expected) = &input.content_md5
            && BASE64_STANDARD.encode(md5.finalize()) != *expected
        {
            return Err(s3_error!(BadDigest, "the body does not have the Content-MD5 that came with it"));
        }
        verify(&hasher.finalize(), &expected_checksums(input, trailers)?)?;
        Ok(upload)
    }

    /// Where the bytes are now.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

async fn write(mut body: StreamingBlob, file: &Path, hasher: &mut ChecksumHasher) -> S3Result<Md5> {
    let mut md5 = Md5::new();
    let mut out = fs::File::create(file).map_err(S3Error::internal_error)?;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
        md5.update(&piece);
        hasher.update(&piece);
        out.write_all(&piece).map_err(S3Error::internal_error)?;
    }
    Ok(md5)
}

/// The checksums to compute: those with a value in the headers, and the one announced for the trailer.
fn hasher_for(input: &PutObjectInput) -> ChecksumHasher {
    let announced = |algorithm: &str| input.checksum_algorithm.as_ref().is_some_and(|a| a.as_str() == algorithm);
    let wanted = |value: &Option<String>, algorithm: &str| value.is_some() || announced(algorithm);
    ChecksumHasher {
        crc32: wanted(&input.checksum_crc32, ChecksumAlgorithm::CRC32).then(Default::default),
        crc32c: wanted(&input.checksum_crc32c, ChecksumAlgorithm::CRC32C).then(Default::default),
        crc64nvme: wanted(&input.checksum_crc64nvme, ChecksumAlgorithm::CRC64NVME).then(Default::default),
        sha1: wanted(&input.checksum_sha1, ChecksumAlgorithm::SHA1).then(Default::default),
        sha256: wanted(&input.checksum_sha256, ChecksumAlgorithm::SHA256).then(Default::default),
    }
}

/// The values to compare with, from the headers or from the trailer that came after the body.
fn expected_checksums(input: &PutObjectInput, trailers: Option<TrailingHeaders>) -> S3Result<Checksum> {
    let trailers = trailers.and_then(|trailers| trailers.take()).unwrap_or_default();
    let either = |header: &Option<String>, name: &str| match trailers.get(name) {
        None => Ok(header.clone()),
        Some(value) => value.to_str().map(|value| Some(value.to_owned())).map_err(|_| s3_error!(InvalidRequest)),
    };
    Ok(Checksum {
        checksum_crc32: either(&input.checksum_crc32, "x-amz-checksum-crc32")?,
        checksum_crc32c: either(&input.checksum_crc32c, "x-amz-checksum-crc32c")?,
        checksum_crc64nvme: either(&input.checksum_crc64nvme, "x-amz-checksum-crc64nvme")?,
        checksum_sha1: either(&input.checksum_sha1, "x-amz-checksum-sha1")?,
        checksum_sha256: either(&input.checksum_sha256, "x-amz-checksum-sha256")?,
        ..Checksum::default()
    })
}

fn verify(found: &Checksum, expected: &Checksum) -> S3Result<()> {
    let pairs = [
        (&found.checksum_crc32, &expected.checksum_crc32),
        (&found.checksum_crc32c, &expected.checksum_crc32c),
        (&found.checksum_crc64nvme, &expected.checksum_crc64nvme),
        (&found.checksum_sha1, &expected.checksum_sha1),
        (&found.checksum_sha256, &expected.checksum_sha256),
    ];
    if pairs.iter().any(|(found, expected)| expected.is_some() && found != expected) {
        return Err(s3_error!(BadDigest, "the body does not have the checksum that came with it"));
    }
    Ok(())
}
