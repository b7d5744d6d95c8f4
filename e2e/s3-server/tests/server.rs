//! The server as the real SDK sees it, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, Credentials};
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use tempfile::TempDir;

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";

/// A running server; it ends with the value.
struct Server {
    process: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(directory: &Path, more: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_s3-server"))
            .args(["--listen", "127.0.0.1:0", "--bucket", "backups", "--dir"])
            .arg(directory)
            .args(more)
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the first line names the URL").to_owned();
        Self { process, url }
    }

    fn config(&self, secret: &str) -> Builder {
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.url)
            .force_path_style(true)
            .credentials_provider(Credentials::new(KEY, secret, None, None, "test"))
    }

    fn client(&self) -> Client {
        Client::from_conf(self.config(SECRET).build())
    }
}

async fn put(client: &Client, key: &str, body: &'static [u8]) {
    client.put_object().bucket("backups").key(key).body(ByteStream::from_static(body)).send().await.unwrap();
}

async fn get(client: &Client, key: &str, range: Option<&str>) -> Vec<u8> {
    let request = client.get_object().bucket("backups").key(key).set_range(range.map(str::to_owned));
    request.send().await.unwrap().body.collect().await.unwrap().to_vec()
}

fn status<E>(error: &SdkError<E>) -> u16 {
    error.raw_response().expect("the server answered").status().as_u16()
}

#[tokio::test]
async fn objects_are_stored_read_in_ranges_and_deleted() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = server.client();
    put(&client, "shop/mysql/a", b"0123456789").await;

    assert_eq!(get(&client, "shop/mysql/a", None).await, b"0123456789");
    assert_eq!(get(&client, "shop/mysql/a", Some("bytes=2-4")).await, b"234");
    assert_eq!(get(&client, "shop/mysql/a", Some("bytes=-3")).await, b"789");
    let head = client.head_object().bucket("backups").key("shop/mysql/a").send().await.unwrap();
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(std::fs::read(directory.path().join("backups/shop/mysql/a")).unwrap(), b"0123456789");

    let beyond = client.get_object().bucket("backups").key("shop/mysql/a").range("bytes=10-").send().await.unwrap_err();
    assert_eq!(status(&beyond), 416);
    client.delete_object().bucket("backups").key("shop/mysql/a").send().await.unwrap();
    let gone = client.head_object().bucket("backups").key("shop/mysql/a").send().await.unwrap_err();
    assert_eq!(status(&gone), 404);
    assert!(!directory.path().join("backups/shop").exists(), "empty directories go with their last object");
}

#[tokio::test]
async fn listings_come_in_pages_in_key_order() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = server.client();
    let mut expected = Vec::new();
    for number in 0..25 {
        let key = format!("p/{number:02}/x");
        put(&client, &key, b"x").await;
        expected.push(key);
    }
    put(&client, "q", b"x").await;
    put(&client, "o", b"x").await;

    let mut pages = client.list_objects_v2().bucket("backups").prefix("p/").max_keys(10).into_paginator().send();
    let (mut keys, mut sizes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        sizes.push(page.contents().len());
        keys.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
    }
    assert_eq!(keys, expected);
    assert_eq!(sizes, [10, 10, 5]);

    let mut pages = client.list_objects_v2().bucket("backups").delimiter("/").max_keys(2).into_paginator().send();
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        keys.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        prefixes.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
    }
    assert_eq!((keys, prefixes), (vec!["o".to_owned(), "q".to_owned()], vec!["p/".to_owned()]));
}

#[tokio::test]
async fn a_body_with_a_wrong_checksum_never_becomes_an_object() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = server.client();
    let put = || client.put_object().bucket("backups").key("k").body(ByteStream::from_static(b"body"));
    let wrong_md5 = put().content_md5("1B2M2Y8AsgTpgAmY7PhCfg==").send().await.unwrap_err();
    let wrong_crc = put().checksum_crc32_c("AAAAAA==").send().await.unwrap_err();
    assert_eq!((status(&wrong_md5), wrong_md5.code()), (400, Some("BadDigest")));
    assert_eq!((status(&wrong_crc), wrong_crc.code()), (400, Some("BadDigest")));
    assert_eq!(status(&client.head_object().bucket("backups").key("k").send().await.unwrap_err()), 404);
    assert_eq!(std::fs::read_dir(directory.path().join(".uploads")).unwrap().count(), 0);
    put().content_md5("hBotaJrYa9FhFEdFPCLG/A==").send().await.unwrap();
    put().checksum_crc32_c("Jj/JUA==").send().await.unwrap();
}

#[tokio::test]
async fn of_concurrent_creations_of_one_key_exactly_one_succeeds() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = server.client();
    for round in 0..20 {
        let create = |body: &'static [u8]| {
            let key = format!("lock-{round}");
            client.put_object().bucket("backups").key(key).if_none_match("*").body(ByteStream::from_static(body)).send()
        };
        let (a, b, c, d) = tokio::join!(create(b"a"), create(b"b"), create(b"c"), create(b"d"));
        let results = [a, b, c, d];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.iter().filter_map(|result| result.as_ref().err()).all(|error| status(error) == 412));
    }
}

#[tokio::test]
async fn wrong_secrets_buckets_and_keys_are_refused() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    let stranger = Client::from_conf(server.config("wrong").build());
    let denied = stranger.list_objects_v2().bucket("backups").send().await.unwrap_err();
    assert_eq!((status(&denied), denied.code()), (403, Some("SignatureDoesNotMatch")));

    let client = server.client();
    let missing = client.list_objects_v2().bucket("other").send().await.unwrap_err();
    assert_eq!((status(&missing), missing.code()), (404, Some("NoSuchBucket")));
    let put = |key: &str| client.put_object().bucket("backups").key(key).body(ByteStream::from_static(b"x")).send();
    for outside in ["a/../../b", "a//b", "/a", "a/"] {
        assert!(put(outside).await.is_err(), "{outside}");
    }
    put("a").await.unwrap();
    let below_an_object = put("a/b").await.unwrap_err();
    assert_eq!((status(&below_an_object), below_an_object.code()), (400, Some("InvalidRequest")));
}

#[tokio::test]
async fn a_restarted_server_has_all_objects_with_the_same_etags() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    put(&server.client(), "a/b", b"kept").await;
    let before = server.client().head_object().bucket("backups").key("a/b").send().await.unwrap();
    drop(server);
    let server = Server::start(directory.path(), &[]);
    let after = server.client().head_object().bucket("backups").key("a/b").send().await.unwrap();
    assert!(before.e_tag().is_some());
    assert_eq!(before.e_tag(), after.e_tag());
    assert_eq!(get(&server.client(), "a/b", None).await, b"kept");
}

#[tokio::test]
async fn it_fails_and_breaks_connections_as_often_as_it_is_told() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &["--fail-every", "2"]);
    let client = Client::from_conf(server.config(SECRET).retry_config(RetryConfig::disabled()).build());
    let head = || client.head_bucket().bucket("backups").send();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(head().await.map_or_else(|error| status(&error), |_| 200));
    }
    assert_eq!(statuses, [200, 503, 200, 503]);

    let server = Server::start(directory.path(), &["--drop-every", "1"]);
    let client = Client::from_conf(server.config(SECRET).retry_config(RetryConfig::disabled()).build());
    let body = ByteStream::from_static(b"stored all the same");
    let broken = client.put_object().bucket("backups").key("dropped").body(body).send().await.unwrap_err();
    assert!(matches!(broken, SdkError::DispatchFailure(_)), "{broken:?}");
    assert!(directory.path().join("backups/dropped").exists());
}

#[tokio::test]
async fn over_tls_only_clients_that_trust_its_authority_get_in() {
    let directory = TempDir::new().unwrap();
    let certificate = directory.path().join("tls.crt");
    let key = directory.path().join("tls.key");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let store = directory.path().join("store");
    let (certificate_file, key_file) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let server = Server::start(&store, &["--tls-cert", certificate_file, "--tls-key", key_file]);
    assert!(server.url.starts_with("https://"));

    let client = |trust: TrustStore| {
        let context = TlsContext::builder().with_trust_store(trust).build().unwrap();
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context)
            .build_https();
        let config = server.config(SECRET).http_client(http).retry_config(RetryConfig::disabled());
        Client::from_conf(config.build())
    };
    let trusting = client(TrustStore::empty().with_pem_certificate(std::fs::read(&certificate).unwrap()));
    put(&trusting, "a", b"secret").await;
    assert_eq!(get(&trusting, "a", None).await, b"secret");
    let distrusting = client(TrustStore::default());
    let refused = distrusting.head_bucket().bucket("backups").send().await.unwrap_err();
    assert!(matches!(refused, SdkError::DispatchFailure(_)), "{refused:?}");

    let ((key, md5), (other, other_md5)) = (customer_key(1), customer_key(2));
    let put = trusting.put_object().bucket("backups").key("c").body(ByteStream::from_static(b"x"));
    let put = put.sse_customer_algorithm("AES256").sse_customer_key(&key).sse_customer_key_md5(&md5);
    assert_eq!(put.send().await.unwrap().sse_customer_key_md5(), Some(md5.as_str()));
    let get = || trusting.get_object().bucket("backups").key("c");
    let without = get().send().await.unwrap_err();
    assert_eq!((status(&without), without.code()), (400, Some("InvalidRequest")));
    let with = |key: &str, md5: &str| {
        get().sse_customer_algorithm("AES256").sse_customer_key(key).sse_customer_key_md5(md5).send()
    };
    assert_eq!(status(&with(&other, &other_md5).await.unwrap_err()), 403);
    assert_eq!(status(&with(&key, &other_md5).await.unwrap_err()), 400);
    assert_eq!(with(&key, &md5).await.unwrap().content_length(), Some(1));
}

fn customer_key(byte: u8) -> (String, String) {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use md5::Digest as _;
    (BASE64_STANDARD.encode([byte; 32]), BASE64_STANDARD.encode(md5::Md5::digest([byte; 32])))
}

#[tokio::test]
async fn a_customer_key_is_refused_in_clear() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    let (key, md5) = customer_key(1);
    let put = server.client().put_object().bucket("backups").key("k").body(ByteStream::from_static(b"x"));
    let put = put.sse_customer_algorithm("AES256").sse_customer_key(key).sse_customer_key_md5(md5);
    let refused = put.send().await.unwrap_err();
    assert_eq!((status(&refused), refused.code()), (400, Some("InvalidRequest")));
}

#[tokio::test]
async fn classes_and_encryption_are_told_again_and_outlive_a_restart() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path(), &[]);
    let put = |client: &Client| client.put_object().bucket("backups").key("a/b").body(ByteStream::from_static(b"x"));
    put(&server.client())
        .storage_class("STANDARD_IA".into())
        .server_side_encryption("aws:kms".into())
        .ssekms_key_id("key-1")
        .send()
        .await
        .unwrap();
    drop(server);
    let server = Server::start(directory.path(), &[]);
    let head = || server.client().head_object().bucket("backups").key("a/b").send();
    let found = head().await.unwrap();
    assert_eq!(found.storage_class().map(|class| class.as_str().to_owned()).as_deref(), Some("STANDARD_IA"));
    assert_eq!(found.server_side_encryption().map(|kind| kind.as_str().to_owned()).as_deref(), Some("aws:kms"));
    assert_eq!(found.ssekms_key_id(), Some("key-1"));
    put(&server.client()).send().await.unwrap();
    assert_eq!((head().await.unwrap().storage_class(), head().await.unwrap().ssekms_key_id()), (None, None));
}

#[tokio::test]
async fn profiles_differ_as_services_do() {
    let directory = TempDir::new().unwrap();
    let put = |client: &Client| client.put_object().bucket("backups").key("k").body(ByteStream::from_static(b"body"));
    {
        let strict = Server::start(directory.path(), &["--profile", "strict"]);
        use aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired;
        let bare = Client::from_conf(strict.config(SECRET).request_checksum_calculation(WhenRequired).build());
        let refused = put(&bare).send().await.unwrap_err();
        assert_eq!((status(&refused), refused.code()), (400, Some("InvalidRequest")));
        put(&bare).content_md5("hBotaJrYa9FhFEdFPCLG/A==").send().await.unwrap();
        let acl = put(&bare).content_md5("hBotaJrYa9FhFEdFPCLG/A==").acl("private".into()).send().await.unwrap_err();
        assert!(acl.message().unwrap_or_default().contains("x-amz-acl"), "{acl:?}");
    }
    {
        let loose = Server::start(directory.path(), &["--profile", "ignores-conditions"]);
        put(&loose.client()).if_none_match("*").send().await.unwrap();
        put(&loose.client()).if_none_match("*").send().await.unwrap();
        put(&loose.client()).if_match("\"no-such-etag\"").send().await.unwrap();
    }
    let old = Server::start(directory.path(), &["--profile", "md5-only"]);
    let refused = put(&old.client()).checksum_crc32_c("Jj/JUA==").send().await.unwrap_err();
    assert_eq!((status(&refused), refused.code()), (400, Some("InvalidRequest")));
}
