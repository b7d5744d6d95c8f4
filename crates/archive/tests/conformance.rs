//! One suite for all stores: memory, a directory, and S3 through the real SDK over real HTTP and TLS. Then what only S3 has:
//! its ways to fail, and what its requests look like. A real server is one more store: `make test-stores`.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod real_server;
mod s3_server;
mod wire;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hyper::{Method, StatusCode};
use pitr_archive::{
    Credentials, FileStore, MemoryStore, ObjectClass, Operation, RetryPolicy, Retrying, S3Options, S3Store, Store,
    StoreError,
};
use tokio::task::JoinSet;

use real_server::RealServer;
use s3_server::{Authority, BUCKET, KEY, Mood, S3Server, SECRET, credentials_at};

/// A store, and what must live as long as it.
struct Subject {
    store: Arc<dyn Store>,
    _lives: Box<dyn Any + Send>,
}

async fn memory() -> Subject {
    Subject { store: Arc::new(MemoryStore::new()), _lives: Box::new(()) }
}

async fn file() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path().join("not/yet/there"));
    Subject { store: Arc::new(store), _lives: Box::new(directory) }
}

async fn s3() -> Subject {
    let server = S3Server::start().await;
    Subject { store: Arc::new(server.store().await), _lives: Box::new(server) }
}

async fn s3_tls() -> Subject {
    let authority = Authority::new();
    let server = S3Server::start_tls(&authority).await;
    let options = S3Options { ca_file: Some(authority.ca_file()), ..server.options() };
    let store = S3Store::connect(BUCKET, "", &options).await.unwrap();
    Subject { store: Arc::new(store), _lives: Box::new((server, authority)) }
}

async fn real() -> Subject {
    let server = RealServer::find();
    Subject { store: Arc::new(server.store(&server.options()).await), _lives: Box::new(()) }
}

async fn real_tls() -> Subject {
    let server = RealServer::find();
    Subject { store: Arc::new(server.store(&server.options_tls()).await), _lives: Box::new(()) }
}

macro_rules! suite {
    ($($check:ident)*) => {
        suite!(@ memory #[cfg(test)] $($check)*);
        suite!(@ file #[cfg(test)] $($check)*);
        suite!(@ s3 #[cfg(test)] $($check)*);
        suite!(@ s3_tls #[cfg(test)] $($check)*);
        suite!(@ real #[ignore = "needs a real S3 server: make test-stores"] $($check)*);
        suite!(@ real_tls #[ignore = "needs a real S3 server: make test-stores"] $($check)*);
    };
    (@ $store:ident #[$when:meta] $($check:ident)*) => {
        mod $store {
            $(
                #[$when]
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let subject = super::$store().await;
                    super::$check(&*subject.store).await;
                }
            )*
        }
    };
}

suite! {
    what_is_put_is_got
    a_range_is_cut_to_the_object
    an_empty_object_is_an_object
    a_missing_object_is_named
    the_same_bytes_may_be_put_again
    keys_may_have_odd_characters
    a_listing_has_what_begins_with_the_prefix_in_order
    a_listing_has_thousands_of_keys_and_one_call_deletes_them
    many_put_at_once_and_readers_see_whole_objects
    the_way_to_an_object_is_no_object
    an_address_has_no_secret
}

async fn put(store: &dyn Store, key: &str, bytes: &'static [u8]) {
    store.put(key, Bytes::from_static(bytes), ObjectClass::Control).await.unwrap();
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
}

async fn what_is_put_is_got(store: &dyn Store) {
    let begun = jiff::Timestamp::now();
    let megabytes: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    store.put("binlogs/s/big", megabytes.clone(), ObjectClass::Content).await.unwrap();
    put(store, "tail/s/small", b"few bytes").await;
    assert_eq!(store.get("binlogs/s/big").await.unwrap(), megabytes);
    assert_eq!(store.get("tail/s/small").await.unwrap(), "few bytes");
    let info = store.head("binlogs/s/big").await.unwrap();
    assert_eq!(info.length, 3_000_000);
    let age = info.modified.duration_since(begun).as_secs_f64();
    assert!((-2.0..60.0).contains(&age), "{age}");
    assert_eq!(store.list("binlogs/").await.unwrap()[0].length, 3_000_000);
}

async fn a_range_is_cut_to_the_object(store: &dyn Store) {
    put(store, "a/object", b"0123456789").await;
    for (range, wanted) in [
        (0..4, "0123"),
        (3..5, "34"),
        (9..10, "9"),
        (8..20, "89"),
        (0..10, "0123456789"),
        (0..u64::MAX, "0123456789"),
        (10..12, ""),
        (400..500, ""),
        (4..4, ""),
    ] {
        assert_eq!(store.get_range("a/object", range.clone()).await.unwrap(), wanted, "{range:?}");
    }
}

async fn an_empty_object_is_an_object(store: &dyn Store) {
    put(store, "a/empty", b"").await;
    assert_eq!(store.get("a/empty").await.unwrap(), "");
    assert_eq!(store.get_range("a/empty", 0..100).await.unwrap(), "");
    assert_eq!(store.head("a/empty").await.unwrap().length, 0);
    assert_eq!(keys(store, "a/").await, ["a/empty"]);
}

async fn a_missing_object_is_named(store: &dyn Store) {
    put(store, "a/there", b"x").await;
    for error in [
        store.get("a/missing").await.unwrap_err(),
        store.get_range("a/missing", 0..5).await.unwrap_err(),
        store.head("a/missing").await.unwrap_err(),
        store.get("b/c/d/missing").await.unwrap_err(),
    ] {
        assert!(error.is_not_found() && !error.is_retryable(), "{error:?}");
        assert!(
            error.to_string().starts_with("GetObject ") && error.to_string().ends_with("missing: not found"),
            "{error}"
        );
    }
    assert!(store.list("nothing/here/").await.unwrap().is_empty());
    store.delete(&["a/missing".to_owned()]).await.unwrap();
    store.delete(&["a/missing".to_owned(), "b/missing".to_owned()]).await.unwrap();
    store.delete(&[]).await.unwrap();
    store.delete(&["a/there".to_owned()]).await.unwrap();
    assert!(store.get("a/there").await.unwrap_err().is_not_found());
}

async fn the_same_bytes_may_be_put_again(store: &dyn Store) {
    for _ in 0..3 {
        put(store, "a/object", b"always the same").await;
    }
    assert_eq!(store.get("a/object").await.unwrap(), "always the same");
    assert_eq!(keys(store, "").await, ["a/object"]);
}

async fn keys_may_have_odd_characters(store: &dyn Store) {
    let mut odd = vec![
        "odd/a b".to_owned(),
        "odd/a+b".to_owned(),
        "odd/a%20b".to_owned(),
        "odd/a&b=c?d#e".to_owned(),
        "odd/'quoted' \"twice\"".to_owned(),
        "odd/(x)~!@$;,:=*.zst".to_owned(),
        "odd/<tag>&amp;".to_owned(),
        "odd/grün-日本-🐬".to_owned(),
        "odd/..a/b../...".to_owned(),
        format!("odd/{}", "long".repeat(25)),
    ];
    odd.sort();
    for key in &odd {
        store.put(key, Bytes::from(key.clone()), ObjectClass::Control).await.unwrap();
    }
    for key in &odd {
        assert_eq!(store.get(key).await.unwrap(), key.as_bytes());
        assert_eq!(keys(store, key).await, std::slice::from_ref(key));
    }
    assert_eq!(keys(store, "odd/").await, odd);
    store.delete(&odd).await.unwrap();
    assert!(keys(store, "").await.is_empty());
}

async fn a_listing_has_what_begins_with_the_prefix_in_order(store: &dyn Store) {
    for key in ["tail/b/2", "tail/a/1", "tailor", "tail/b/10", "tail/ab/1", "catalog/a/1", "archive.json", "tail/b-/1"]
    {
        put(store, key, b"x").await;
    }
    assert_eq!(keys(store, "tail/").await, ["tail/a/1", "tail/ab/1", "tail/b-/1", "tail/b/10", "tail/b/2"]);
    assert_eq!(keys(store, "tail/b/").await, ["tail/b/10", "tail/b/2"]);
    assert_eq!(keys(store, "tail/a").await, ["tail/a/1", "tail/ab/1"]);
    assert_eq!(keys(store, "tail").await.last().unwrap(), "tailor");
    assert_eq!(keys(store, "archive.json").await, ["archive.json"]);
    assert_eq!(keys(store, "").await.len(), 8);
}

async fn a_listing_has_thousands_of_keys_and_one_call_deletes_them(store: &dyn Store) {
    let wanted: Vec<String> = (0..2_103).map(|n| format!("many/{n:05}")).collect();
    let puts = stream::iter(&wanted).map(|key| store.put(key, Bytes::from_static(b"x"), ObjectClass::Control));
    puts.buffer_unordered(32).try_collect::<Vec<()>>().await.unwrap();
    put(store, "other", b"x").await;
    assert_eq!(keys(store, "many/").await, wanted);
    let mut gone = wanted.clone();
    gone.push("many/never-there".to_owned());
    store.delete(&gone).await.unwrap();
    assert_eq!(keys(store, "").await, ["other"]);
}

async fn many_put_at_once_and_readers_see_whole_objects(store: &dyn Store) {
    let content = |n: usize| Bytes::from(vec![b'a' + n as u8; 200_000]);
    let puts = stream::iter(0..48).map(|n| async move {
        // Each key is put by six at once, with the same bytes.
        let key = format!("at-once/{}", n % 8);
        store.put(&key, content(n % 8), ObjectClass::Content).await
    });
    let reads = stream::iter(0..160).map(|n| async move {
        match store.get(&format!("at-once/{}", n % 8)).await {
            Ok(bytes) => assert_eq!(bytes, content(n % 8)),
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
    });
    let (put, ()) =
        tokio::join!(puts.buffer_unordered(16).try_collect::<Vec<()>>(), reads.buffer_unordered(8).collect());
    put.unwrap();
    assert_eq!(keys(store, "at-once/").await.len(), 8);
    for n in 0..8 {
        assert_eq!(store.get(&format!("at-once/{n}")).await.unwrap(), content(n));
    }
}

async fn the_way_to_an_object_is_no_object(store: &dyn Store) {
    put(store, "a/b/c", b"x").await;
    assert!(store.get("a/b").await.unwrap_err().is_not_found());
    assert!(store.get_range("a", 0..5).await.unwrap_err().is_not_found());
    assert!(store.head("a/b").await.unwrap_err().is_not_found());
    assert_eq!(keys(store, "a/b").await, ["a/b/c"]);
}

async fn an_address_has_no_secret(store: &dyn Store) {
    let texts = [store.describe(), format!("{store:?}"), format!("{store:#?}")];
    for text in texts {
        assert!(!text.is_empty() && !text.contains(SECRET), "{text}");
        let of_a_real_one = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap_or_else(|_| SECRET.to_owned());
        assert!(!text.contains(&of_a_real_one), "{text}");
    }
}

/// The errors of all operations on a store that answers none of them well.
async fn all_errors(store: &dyn Store) -> Vec<StoreError> {
    vec![
        store.put("a/key", Bytes::from_static(b"x"), ObjectClass::Control).await.unwrap_err(),
        store.get("a/key").await.unwrap_err(),
        store.get_range("a/key", 0..5).await.unwrap_err(),
        store.head("a/key").await.unwrap_err(),
        store.list("a/").await.unwrap_err(),
        store.delete(&["a/key".to_owned()]).await.unwrap_err(),
        store.delete(&["a/key".to_owned(), "b/key".to_owned()]).await.unwrap_err(),
    ]
}

fn assert_no_secret(errors: &[StoreError]) {
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(SECRET) && !text.contains("wrong-secret") && !text.contains("Signature="), "{text}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_denied_at_once() {
    let server = S3Server::start().await;
    for options in [server.options_with(KEY, "wrong-secret"), server.options_with("unknown-key", "wrong-secret")] {
        let store = S3Store::connect(BUCKET, "x", &options).await.unwrap();
        let errors = all_errors(&store).await;
        assert_no_secret(&errors);
        for error in &errors {
            assert!(matches!(error, StoreError::Denied { .. }) && !error.is_retryable(), "{error:?}");
        }
        assert!(errors[0].to_string().starts_with("PutObject a/key: access denied: "), "{}", errors[0]);
        assert!(errors[4].to_string().starts_with("ListBucket a/: access denied: "), "{}", errors[4]);
        assert_eq!(errors[5].operation(), Operation::Delete);
    }
}

#[tokio::test]
async fn missing_credentials_name_the_file() {
    let server = S3Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    let options = S3Options { credentials: Credentials::Directory(directory.path().to_owned()), ..server.options() };
    let store = S3Store::connect(BUCKET, "x", &options).await.unwrap();
    for error in all_errors(&store).await {
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains("access-key-id") && error.to_string().contains("is in"), "{error}");
    }
    credentials_at(directory.path(), KEY, SECRET);
    put(&store, "a/key", b"rotated in").await;
    credentials_at(directory.path(), KEY, "wrong-secret");
    // They were accepted before: this may be a rotation, and is worth another attempt.
    let refused = store.get("a/key").await.unwrap_err();
    assert!(refused.is_retryable() && refused.to_string().contains("accepted before"), "{refused:?}");
    assert_eq!(server.seen().len(), 3, "without credentials nothing is sent");
}

#[tokio::test]
async fn keys_that_are_replaced_under_way_fail_nothing() {
    let server = S3Server::start().await;
    let options = server.options_with(KEY, SECRET);
    let Credentials::Directory(directory) = &options.credentials else { panic!("{options:?}") };
    let store = Retrying::new(S3Store::connect(BUCKET, "x", &options).await.unwrap(), RetryPolicy::interactive());
    put_at(&store, "a/before").await;
    store.head("a/before").await.unwrap();
    // The service has the new keys already, the mounted files come a moment later.
    credentials_at(directory, KEY, "an-older-secret");
    let late = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        credentials_at(directory, KEY, SECRET);
    };
    // The answer to HEAD has no body that says what is wrong.
    let head = async { store.head("a/before").await.map(drop) };
    let ((), head, ()) = tokio::join!(put_at(&store, "a/during"), head, late);
    head.unwrap();
    put_at(&store, "a/after").await;
    assert_eq!(store.list("a/").await.unwrap().len(), 3);
}

async fn put_at(store: &impl Store, key: &str) {
    store.put(key, Bytes::from_static(b"x"), ObjectClass::Control).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_replaced_is_trusted_without_a_new_store() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = S3Server::start_tls(&authority).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::copy(other.ca_file(), &ca_file).unwrap();
    let options = S3Options { ca_file: Some(ca_file.clone()), ..server.options() };
    let store = S3Store::connect(BUCKET, "x", &options).await.unwrap();
    assert!(matches!(store.get("a/key").await.unwrap_err(), StoreError::Fatal { .. }));
    std::fs::copy(authority.ca_file(), &ca_file).unwrap();
    // It is read again at most every five seconds.
    let store = Retrying::new(store, RetryPolicy::interactive());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.put("a/key", Bytes::from_static(b"x"), ObjectClass::Control).await {
        assert!(std::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let server = S3Server::start().await;
    let store = S3Store::connect("no-such-bucket", "x", &server.options()).await.unwrap();
    let put = store.put("a/key", Bytes::from_static(b"x"), ObjectClass::Control).await.unwrap_err();
    assert_eq!(put.to_string(), "PutObject a/key: bucket \"no-such-bucket\" does not exist");
    let list = store.list("a/").await.unwrap_err();
    assert_eq!(list.to_string(), "ListBucket a/: bucket \"no-such-bucket\" does not exist");
    assert!(matches!(put, StoreError::Fatal { .. }) && matches!(list, StoreError::Fatal { .. }));
}

#[tokio::test]
async fn an_unreachable_endpoint_is_named() {
    let server = S3Server::start().await;
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = S3Options { endpoint: Some(format!("http://{free}")), ..server.options() };
    let store = S3Store::connect(BUCKET, "x", &options).await.unwrap();
    for error in all_errors(&store).await {
        assert!(matches!(error, StoreError::Transient { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("http://{free} cannot be reached: ")), "{error}");
        assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
    }
    let policy = RetryPolicy::within(Duration::from_secs(2));
    let retrying = Retrying::new(store, policy);
    let error = retrying.get("a/key").await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "the last reason survives: {error}");
    assert!(retrying.retries(Operation::Get) > 0);
}

#[tokio::test]
async fn an_untrusted_certificate_is_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = S3Server::start_tls(&authority).await;
    for ca_file in [Some(other.ca_file()), None] {
        let options = S3Options { ca_file, ..server.options() };
        let store = S3Store::connect(BUCKET, "x", &options).await.unwrap();
        for error in all_errors(&store).await {
            assert!(matches!(error, StoreError::Fatal { .. }), "{error:?}");
            let wanted = format!("the certificate of {} is not trusted: ", server.endpoint);
            assert!(error.to_string().contains(&wanted), "{error}");
        }
    }
    assert!(server.seen().is_empty(), "nothing is sent to somebody who is not trusted");
}

#[tokio::test]
async fn a_service_without_tls_is_named() {
    let (server, authority) = (S3Server::start().await, Authority::new());
    let endpoint = server.endpoint.replace("http://", "https://");
    let options = S3Options { endpoint: Some(endpoint), ca_file: Some(authority.ca_file()), ..server.options() };
    let store = S3Store::connect(BUCKET, "x", &options).await.unwrap();
    let error = store.get("a/key").await.unwrap_err();
    assert!(matches!(error, StoreError::Fatal { .. }) && error.to_string().contains("does not speak TLS"), "{error:?}");
}

#[tokio::test]
async fn unusable_options_are_refused_before_anything_is_sent() {
    let server = S3Server::start().await;
    let missing = S3Options { ca_file: Some("/no/such/ca.pem".into()), ..server.options() };
    let error = S3Store::connect(BUCKET, "x", &missing).await.unwrap_err();
    assert!(error.to_string().contains("CA file \"/no/such/ca.pem\" cannot be read"), "{error}");
    let secret = S3Options { endpoint: Some("https://key:the-secret@host".to_owned()), ..server.options() };
    let error = S3Store::connect(BUCKET, "x", &secret).await.unwrap_err();
    assert!(error.to_string().contains("holds credentials") && !error.to_string().contains("the-secret"), "{error}");
    let bare = S3Options { endpoint: Some("127.0.0.1:9000".to_owned()), ..server.options() };
    let error = S3Store::connect(BUCKET, "x", &bare).await.unwrap_err();
    assert!(error.to_string().contains("endpoint \"127.0.0.1:9000\" is not an address"), "{error}");
}

#[tokio::test]
async fn a_put_is_one_plain_request_with_a_checksum() {
    let server = S3Server::start().await;
    let store = server.store().await;
    put(&store, "tail/s/x", b"some bytes").await;
    let [request] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    assert_eq!(request.method, Method::PUT);
    assert!(request.path_and_query.starts_with("/backups/shop/mysql/tail/s/x"), "{}", request.path_and_query);
    assert_eq!(request.header("content-length"), Some("10"));
    assert_eq!(request.header("content-md5"), Some("nQVoRp0gbBrt8bcfEvR0vA=="), "{:?}", request.headers);
    assert_eq!(request.header("content-encoding"), None, "no chunked signing");
    assert_eq!(request.header("transfer-encoding"), None);
    assert_eq!(request.header("if-none-match"), None);
    assert!(!request.headers.iter().any(|(name, _)| name.starts_with("x-amz-checksum") || name == "x-amz-trailer"));
}

#[tokio::test]
async fn a_missing_right_is_named_by_its_action() {
    let server = S3Server::start().await;
    let store = server.store().await;
    server.set_mood(Mood::Denies(Method::DELETE));
    let error = store.delete(&["a/key".to_owned()]).await.unwrap_err();
    assert_eq!(error.to_string(), "DeleteObject a/key: access denied: AccessDenied: not allowed");
    server.set_mood(Mood::Denies(Method::POST));
    let error = store.delete(&["a/key".to_owned(), "b/key".to_owned()]).await.unwrap_err();
    assert_eq!(error.to_string(), "DeleteObject a/key: access denied: AccessDenied: not allowed");
    server.set_mood(Mood::Denies(Method::PUT));
    let error = store.put("a/key", Bytes::new(), ObjectClass::Control).await.unwrap_err();
    assert_eq!(error.to_string(), "PutObject a/key: access denied: AccessDenied: not allowed");
}

#[tokio::test]
async fn deletes_go_singly_where_there_is_no_batch() {
    let server = S3Server::start().await;
    let store = server.store().await;
    put(&store, "a/1", b"x").await;
    put(&store, "a/2", b"x").await;
    server.set_mood(Mood::Answers(Method::POST, StatusCode::NOT_IMPLEMENTED, error_body("NotImplemented")));
    store.delete(&["a/1".to_owned(), "a/2".to_owned()]).await.unwrap();
    assert!(keys(&store, "").await.is_empty());
}

#[tokio::test]
async fn a_batch_that_was_refused_in_part_is_an_error() {
    let server = S3Server::start().await;
    let store = server.store().await;
    let refused = "<DeleteResult><Error><Key>shop/mysql/a/2</Key><Code>AccessDenied</Code><Message>kept</Message></Error></DeleteResult>";
    server.set_mood(Mood::Answers(Method::POST, StatusCode::OK, refused.to_owned()));
    let error = store.delete(&["a/1".to_owned(), "a/2".to_owned()]).await.unwrap_err();
    assert_eq!(error.to_string(), "DeleteObject a/2: access denied: AccessDenied: kept");
}

fn error_body(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>told to</Message></Error>")
}

#[tokio::test]
async fn passing_failures_are_repeated_and_others_are_not() {
    let server = S3Server::start().await;
    let store = server.store().await;
    for (status, code, is_passing) in [
        (503, "SlowDown", true),
        (500, "InternalError", true),
        (429, "TooManyRequests", true),
        (400, "RequestTimeout", true),
        (400, "InvalidArgument", false),
        (301, "PermanentRedirect", false),
        (403, "RequestTimeTooSkewed", false),
    ] {
        server.set_mood(Mood::Answers(Method::GET, StatusCode::from_u16(status).unwrap(), error_body(code)));
        let error = store.get("a/key").await.unwrap_err();
        assert_eq!(error.is_retryable(), is_passing, "{error:?}");
    }
    server.set_mood(Mood::Answers(Method::GET, StatusCode::BAD_GATEWAY, "<html>a proxy's page</html>".to_owned()));
    let error = store.get("a/key").await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let mut recovering = JoinSet::new();
    let retrying = Retrying::new(server.store().await, RetryPolicy::default());
    recovering.spawn(async move { retrying.list("").await.map(|_| retrying.retries(Operation::List)) });
    let requests = server.seen().len();
    while server.seen().len() < requests + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.set_mood(Mood::Works);
    assert!(recovering.join_next().await.unwrap().unwrap().unwrap() >= 1);
}

fn listing(keys: &[&str], end: &str) -> String {
    let contents: String = keys
        .iter()
        .map(|key| format!("<Contents><Key>shop/mysql/{key}</Key><Size>1</Size><LastModified>2026-11-21T02:00:00Z</LastModified></Contents>"))
        .collect();
    format!("<ListBucketResult><Name>backups</Name>{contents}{end}</ListBucketResult>")
}

#[tokio::test]
async fn odd_listings_are_put_right_or_refused_never_cut() {
    let server = S3Server::start().await;
    let store = server.store().await;
    let answer = |body: String| server.set_mood(Mood::Answers(Method::GET, StatusCode::OK, body));
    answer(listing(&["b", "a", "b", "folder/"], "<IsTruncated>false</IsTruncated>"));
    assert_eq!(keys(&store, "").await, ["a", "b"], "sorted, once, without what a console calls a folder");
    answer(listing(&["a"], "<IsTruncated>true</IsTruncated>"));
    let error = store.list("").await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("breaks off"), "{error:?}");
    answer(listing(&["a"], "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"));
    let error = store.list("").await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("circles"), "{error:?}");
    answer("<ListBucketResult><Contents><Key>".to_owned());
    assert!(store.list("").await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_service_that_ignores_ranges_is_understood() {
    let server = S3Server::start().await;
    let store = server.store().await;
    server.set_mood(Mood::Answers(Method::GET, StatusCode::OK, "0123456789".to_owned()));
    assert_eq!(store.get_range("a/object", 3..5).await.unwrap(), "34");
    assert_eq!(store.get_range("a/object", 8..50).await.unwrap(), "89");
    assert_eq!(store.get_range("a/object", 20..50).await.unwrap(), "");
}

#[tokio::test]
async fn a_directory_that_refuses_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let in_the_way = directory.path().join("a-file");
    std::fs::write(&in_the_way, "x").unwrap();
    let store = FileStore::new(&in_the_way);
    let error = store.put("a/key", Bytes::from_static(b"x"), ObjectClass::Control).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Fatal { .. }) && error.to_string().starts_with("PutObject a/key: "),
        "{error:?}"
    );
    assert!(matches!(store.list("").await.unwrap_err(), StoreError::Fatal { .. }));
    for key in ["../outside", "/etc/passwd", "a//b", "a/./b", "", "a/\0"] {
        let error = store.put(key, Bytes::new(), ObjectClass::Control).await.unwrap_err();
        assert!(matches!(error, StoreError::Fatal { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn temporary_files_are_no_objects_and_do_not_stay() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    put(&store, "a/key", b"x").await;
    std::fs::write(directory.path().join("a/.tmp-0123"), "left by a crash").unwrap();
    assert_eq!(keys(&store, "").await, ["a/key"]);
    // A directory in the object's place: the rename fails, and nothing is left behind.
    std::fs::create_dir_all(directory.path().join("b/key")).unwrap();
    store.put("b/key", Bytes::from_static(b"x"), ObjectClass::Control).await.unwrap_err();
    let left: Vec<_> =
        std::fs::read_dir(directory.path().join("b")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["key"]);
}
