//! What each option of the store looks like on the wire.

use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use pitr_archive::{Checksum, ObjectClass, S3Options, S3Store, ServerEncryption, Store as _, StoreError};

use super::s3_server::{Authority, BUCKET, Mood, S3Server, Seen};

async fn seen_of_puts(options: &S3Options, server: &S3Server) -> (Seen, Seen) {
    let store = S3Store::connect(BUCKET, "shop", options).await.unwrap();
    let bytes = Bytes::from_static(b"some bytes");
    store.put("binlogs/a", bytes.clone(), ObjectClass::Content).await.unwrap();
    store.put("tail/a", bytes, ObjectClass::Control).await.unwrap();
    let [.., content, control] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    (content.clone(), control.clone())
}

fn named(seen: &Seen, beginning: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = seen.headers.iter().filter(|(name, _)| name.starts_with(beginning)).cloned().collect();
    found.sort();
    found
}

#[tokio::test]
async fn the_chosen_checksum_goes_with_each_object_and_no_other() {
    let server = S3Server::start().await;
    // Both computed by other programs: openssl dgst -md5 -binary | base64, and the CRC32C of RFC 3720 in base64.
    let md5 = Some("nQVoRp0gbBrt8bcfEvR0vA==");
    for (checksum, wanted_md5, has_crc) in [
        (Checksum::Auto, md5, false),
        (Checksum::Md5, md5, false),
        (Checksum::Crc32c, None, true),
        (Checksum::None, None, false),
    ] {
        let options = S3Options { checksum, ..server.options() };
        let (content, control) = seen_of_puts(&options, &server).await;
        for seen in [content, control] {
            assert_eq!(seen.header("content-md5"), wanted_md5, "{checksum:?}");
            let crc = seen.header("x-amz-checksum-crc32c");
            assert_eq!(crc, has_crc.then(crc32c_of_some_bytes).as_deref(), "{checksum:?}");
            let checksums: Vec<_> =
                seen.headers.iter().filter(|(name, _)| name.starts_with("x-amz-checksum-")).collect();
            assert_eq!(checksums.len(), usize::from(has_crc), "{checksums:?}");
            // Whatever the checksum, the body itself is signed, in one piece.
            let signed = seen.header("x-amz-content-sha256").unwrap();
            assert_eq!(signed, hex::encode(pitr_archive::sha256(b"some bytes")), "{checksum:?}");
            assert_eq!((seen.header("content-encoding"), seen.header("x-amz-trailer")), (None, None));
            assert_eq!(seen.header("content-length"), Some("10"));
        }
    }
}

/// RFC 3720 appendix B.4: polynomial 0x1EDC6F41, reflected.
fn crc32c_of_some_bytes() -> String {
    let crc = b"some bytes".iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 })
    });
    STANDARD.encode((!crc).to_be_bytes())
}

#[tokio::test]
async fn the_chosen_encryption_goes_with_each_object() {
    const SSE: &str = "x-amz-server-side-encryption";
    let server = S3Server::start().await;
    let header = |name: &str, value: &str| (format!("{SSE}{name}"), value.to_owned());
    for (encryption, wanted) in [
        (ServerEncryption::None, vec![]),
        (ServerEncryption::S3, vec![header("", "AES256")]),
        (ServerEncryption::Kms(None), vec![header("", "aws:kms")]),
        (
            ServerEncryption::Kms(Some("arn:aws:kms:eu:1:key/2".to_owned())),
            vec![header("", "aws:kms"), header("-aws-kms-key-id", "arn:aws:kms:eu:1:key/2")],
        ),
    ] {
        let options = S3Options { encryption, ..server.options() };
        let (content, control) = seen_of_puts(&options, &server).await;
        assert_eq!((named(&content, SSE), named(&control, SSE)), (wanted.clone(), wanted));
    }
}

#[tokio::test]
async fn a_customer_key_goes_with_every_request_for_an_object_and_with_no_other() {
    let authority = Authority::new();
    let server = S3Server::start_tls(&authority).await;
    let key_file = authority.ca_file().with_file_name("sse-key");
    std::fs::write(&key_file, [7; 32]).unwrap();
    let options = S3Options {
        encryption: ServerEncryption::Customer(key_file),
        ca_file: Some(authority.ca_file()),
        ..server.options()
    };
    let store = S3Store::connect(BUCKET, "shop", &options).await.unwrap();
    assert!(!format!("{store:?} {options:?}").contains(&STANDARD.encode([7; 32])));
    store.put("tail/a", Bytes::from_static(b"some bytes"), ObjectClass::Control).await.unwrap();
    store.get("tail/a").await.unwrap();
    store.get_range("tail/a", 0..4).await.unwrap();
    store.head("tail/a").await.unwrap();
    store.list("tail/").await.unwrap();
    store.delete(&["tail/a".to_owned()]).await.unwrap();
    let prefix = "x-amz-server-side-encryption-customer-";
    let wanted = [
        (format!("{prefix}algorithm"), "AES256".to_owned()),
        (format!("{prefix}key"), STANDARD.encode([7; 32])),
        // printf '\7%.0s' {1..32} | openssl dgst -md5 -binary | base64
        (format!("{prefix}key-md5"), MD5_OF_SEVENS.to_owned()),
    ];
    let carries: Vec<bool> = server.seen().iter().map(|seen| named(seen, prefix) == wanted).collect();
    assert_eq!(carries, [true, true, true, true, false, false]);
    assert!(server.seen()[4..].iter().all(|seen| named(seen, prefix).is_empty()));
}

const MD5_OF_SEVENS: &str = "y4HAEFCYWuvAXWFTtA1Qpg==";

#[tokio::test]
async fn an_unusable_customer_key_is_refused_before_anything_is_sent() {
    let server = S3Server::start().await;
    let options = |endpoint: &str| S3Options {
        encryption: ServerEncryption::Customer("/no/such/key".into()),
        endpoint: Some(endpoint.to_owned()),
        ..server.options()
    };
    for (endpoint, wanted) in
        [("https://127.0.0.1:1", "\"/no/such/key\" cannot be read"), ("http://127.0.0.1:1", "must be https://")]
    {
        let error = S3Store::connect(BUCKET, "x", &options(endpoint)).await.unwrap_err();
        assert!(matches!(error, StoreError::Fatal { .. }) && error.to_string().contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn the_storage_class_is_for_segments_and_chunks_alone() {
    let server = S3Server::start().await;
    server.set_mood(Mood::Answers(Method::PUT, StatusCode::OK, String::new()));
    let options = S3Options { storage_class: Some("STANDARD_IA".parse().unwrap()), ..server.options() };
    let (content, control) = seen_of_puts(&options, &server).await;
    assert_eq!(content.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(control.header("x-amz-storage-class"), None);
    let (content, _) = seen_of_puts(&server.options(), &server).await;
    assert_eq!(content.header("x-amz-storage-class"), None);
}

/// Every name is this machine.
#[derive(Debug, Clone)]
struct Loopback;

impl ResolveDns for Loopback {
    fn resolve_dns<'a>(&'a self, _name: &'a str) -> DnsFuture<'a> {
        DnsFuture::ready(Ok(vec!["127.0.0.1".parse().unwrap()]))
    }
}

#[tokio::test]
async fn the_bucket_stands_in_the_path_or_in_the_host_name() {
    let server = S3Server::start().await;
    server.set_mood(Mood::Answers(Method::PUT, StatusCode::OK, String::new()));
    let port = server.endpoint.rsplit(':').next().unwrap();
    for (path_style, host, path) in [
        (None, format!("s3.test:{port}"), "/backups/shop/tail/a"),
        (Some(true), format!("s3.test:{port}"), "/backups/shop/tail/a"),
        (Some(false), format!("backups.s3.test:{port}"), "/shop/tail/a"),
    ] {
        let options = S3Options { path_style, endpoint: Some(format!("http://s3.test:{port}")), ..server.options() };
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_with_resolver(Loopback);
        let store = S3Store::with_http_client(BUCKET, "shop", &options, http).await.unwrap();
        store.put("tail/a", Bytes::from_static(b"x"), ObjectClass::Control).await.unwrap();
        let seen = server.seen().pop().unwrap();
        assert_eq!(seen.header("host"), Some(host.as_str()), "{path_style:?}");
        assert_eq!(seen.path_and_query.split('?').next(), Some(path), "{path_style:?}");
    }
}
