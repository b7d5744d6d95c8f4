//! What S3 servers that others wrote make of us, beyond the conformance suite: checksums and damage on the way, customer keys,
//! storage classes, refusals; archivers that die at chosen calls, and two at once. `make test-stores` runs it.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod archiver;
mod real_server;

use std::sync::Arc;

use bytes::Bytes;
use pitr_archive::testing::{Fault, Faulty};
use pitr_archive::{Archive, Checksum, ObjectClass, S3Options, S3Store, ServerEncryption, Store, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use archiver::{Acknowledged, clock, live, verify, verify_end};
use real_server::{RealServer, prefix};

const BODY: &[u8] = b"bytes as they were meant";

/// The life of an archiver dies at every so manieth of its calls.
const STEP: usize = 7;

async fn put(store: &S3Store, key: &str) -> Result<(), StoreError> {
    store.put(key, Bytes::from_static(BODY), ObjectClass::Content).await
}

#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn every_checksum_is_taken() {
    let server = RealServer::find();
    for checksum in [Checksum::Auto, Checksum::Md5, Checksum::Crc32c, Checksum::None] {
        let store = server.store(&S3Options { checksum, ..server.options() }).await;
        put(&store, "a/object").await.unwrap();
        assert_eq!(store.get("a/object").await.unwrap(), BODY, "{checksum:?}");
    }
}

/// A way to the server that flips a bit of each upload's body.
async fn damaging(server: &RealServer) -> (String, JoinSet<()>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", socket.local_addr().unwrap());
    let target = server.endpoint.trim_start_matches("http://").to_owned();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (client, _) = socket.accept().await.unwrap();
            connections.spawn(damage(client, target.clone()));
        }
    });
    (address, serving)
}

async fn damage(client: TcpStream, target: String) {
    let server = TcpStream::connect(target).await.unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let back = async move { tokio::io::copy(&mut from_server, &mut to_client).await };
    let forth = async move {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let bytes = &mut buffer[..count];
            if let Some(at) = bytes.windows(BODY.len()).position(|window| window == BODY) {
                bytes[at + BODY.len() / 2] ^= 1;
            }
            to_server.write_all(bytes).await.unwrap();
        }
    };
    let (_, ()) = tokio::join!(back, forth);
}

/// Nothing that is stored differs from what was sent: the server sees the damage, and another attempt may help.
#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn a_body_that_was_damaged_on_the_way_is_refused() {
    let server = RealServer::find();
    let (endpoint, _serving) = damaging(&server).await;
    for checksum in [Checksum::Md5, Checksum::Crc32c, Checksum::None] {
        let prefix = prefix();
        let options = S3Options { checksum, ..server.options() };
        let direct = S3Store::connect(&server.bucket, &prefix, &options).await.unwrap();
        let options = S3Options { endpoint: Some(endpoint.clone()), ..options };
        let damaged = S3Store::connect(&server.bucket, &prefix, &options).await.unwrap();
        let error = put(&damaged, "a/object").await.unwrap_err();
        assert!(error.is_retryable(), "{checksum:?}: {error:?}");
        assert!(direct.get("a/object").await.unwrap_err().is_not_found(), "{checksum:?}: stored all the same");
    }
}

#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn an_object_of_a_customer_key_is_nobody_elses() {
    let server = RealServer::find();
    let home = tempfile::tempdir().unwrap();
    let prefix = prefix();
    let mut stores = Vec::new();
    for key in [Some([42_u8; 32]), Some([43; 32]), None] {
        let mut options = server.options_tls();
        if let Some(key) = key {
            let file = home.path().join(format!("key-{}", key[0]));
            std::fs::write(&file, key).unwrap();
            options.encryption = ServerEncryption::Customer(file);
        }
        stores.push(S3Store::connect(&server.bucket, &prefix, &options).await.unwrap());
    }
    let [own, other, without] = &stores[..] else { panic!("three") };
    put(own, "a/object").await.unwrap();
    assert_eq!(own.get("a/object").await.unwrap(), BODY);
    assert_eq!(own.get_range("a/object", 6..10).await.unwrap(), BODY[6..10]);
    assert_eq!(own.head("a/object").await.unwrap().length, BODY.len() as u64);
    for store in [other, without] {
        for error in [store.get("a/object").await.unwrap_err(), store.head("a/object").await.unwrap_err()] {
            assert!(!error.is_not_found() && !error.is_retryable(), "{error:?}");
        }
    }
    without.delete(&["a/object".to_owned()]).await.unwrap();
    assert!(own.get("a/object").await.unwrap_err().is_not_found());
}

#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn a_class_that_the_server_knows_is_taken_and_another_one_named() {
    let server = RealServer::find();
    let with_class = |class: &str| S3Options { storage_class: Some(class.parse().unwrap()), ..server.options() };
    let store = server.store(&with_class("STANDARD_IA")).await;
    put(&store, "a/object").await.unwrap();
    assert_eq!(store.get("a/object").await.unwrap(), BODY);
    let store = server.store(&with_class("NO_SUCH_CLASS")).await;
    match (server.name.as_str(), put(&store, "a/object").await) {
        ("garage", stored) => stored.unwrap(), // it knows no classes, and ignores the header
        (_, refused) => {
            let error = refused.unwrap_err();
            assert!(!error.is_retryable() && error.to_string().contains("storage class NO_SUCH_CLASS"), "{error:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn refusals_are_understood() {
    let server = RealServer::find();
    let home = tempfile::tempdir().unwrap();
    let (key, secret) = (std::env::var("AWS_ACCESS_KEY_ID").unwrap(), "not-the-secret-of-this-key");
    for key in [key.as_str(), "AKNOBODY"] {
        std::fs::write(home.path().join("access-key-id"), key).unwrap();
        std::fs::write(home.path().join("secret-access-key"), secret).unwrap();
        let credentials = pitr_archive::Credentials::Directory(home.path().to_owned());
        let store = server.store(&S3Options { credentials, ..server.options() }).await;
        for error in [
            put(&store, "a/object").await.unwrap_err(),
            store.get("a/object").await.unwrap_err(),
            store.head("a/object").await.unwrap_err(),
            store.list("a/").await.unwrap_err(),
            store.delete(&["a/object".to_owned()]).await.unwrap_err(),
            store.delete(&["a/object".to_owned(), "a/other".to_owned()]).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Denied { .. }), "{key}: {error:?}");
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }
    let store = S3Store::connect("no-such-bucket", "x", &server.options()).await.unwrap();
    for error in [put(&store, "a/object").await.unwrap_err(), store.list("a/").await.unwrap_err()] {
        assert!(matches!(error, StoreError::Fatal { .. } | StoreError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains("no-such-bucket") || matches!(error, StoreError::Denied { .. }), "{error}");
    }
}

/// Lives once, with what goes wrong; then a successor lives on, with a server that works. Gives how many calls the first one made.
async fn life_with(server: &RealServer, at: u64, fault: Fault) -> u64 {
    let store = Arc::new(server.store(&server.options()).await);
    let acknowledged = Acknowledged::default();
    let faulty = Arc::new(Faulty::new(Arc::clone(&store), at, fault));
    let _died = live(&Archive::open(Arc::clone(&faulty) as Arc<dyn Store>, clock()), &acknowledged).await;
    verify(&store, &acknowledged).await;
    live(&Archive::open(Arc::clone(&store) as Arc<dyn Store>, clock()), &acknowledged).await.unwrap();
    verify_end(&store, &acknowledged).await;
    faulty.calls()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real S3 server: make test-stores"]
async fn an_archiver_may_die_at_its_calls() {
    let server = Arc::new(RealServer::find());
    let calls = life_with(&server, u64::MAX, Fault::Dies).await;
    assert!(calls > 100, "{calls}");
    let mut lives = JoinSet::new();
    for (number, at) in (0..calls).step_by(STEP).enumerate() {
        let fault = [Fault::Dies, Fault::DiesAfter][number % 2];
        let server = Arc::clone(&server);
        lives.spawn(async move { life_with(&server, at, fault).await });
        if lives.len() == 4 {
            lives.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(lived) = lives.join_next().await {
        lived.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real S3 server: make test-stores"]
async fn two_archivers_at_once_harm_nothing() {
    let server = RealServer::find();
    for _ in 0..8 {
        let store = Arc::new(server.store(&server.options()).await);
        let acknowledged = Acknowledged::default();
        let open = || Archive::open(Arc::clone(&store) as Arc<dyn Store>, clock());
        let (first, second) = (open(), open());
        // One may take away the other's objects of the tail: an error ends a cycle, and the next one begins with what is there.
        let (_, _) = tokio::join!(live(&first, &acknowledged), live(&second, &acknowledged));
        verify(&store, &acknowledged).await;
        live(&open(), &acknowledged).await.unwrap();
        verify_end(&store, &acknowledged).await;
    }
}
