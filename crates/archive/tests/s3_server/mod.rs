//! An S3 service in this process, on loopback: real HTTP or TLS, real signatures, and what it was asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use pitr_archive::{Credentials, S3Options, S3Store};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse, S3Error, S3ErrorCode};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The key that the service accepts.
pub(crate) const KEY: &str = "THE-ACCESS-KEY-ID";
/// Its secret.
pub(crate) const SECRET: &str = "the-secret-access-key-0123456789";
/// The bucket that exists.
pub(crate) const BUCKET: &str = "backups";

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path_and_query: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What the service does instead of its work.
#[derive(Debug, Clone)]
pub(crate) enum Mood {
    Works,
    /// Refuses requests of this method.
    Denies(Method),
    /// Answers requests of this method with this status and body.
    Answers(Method, StatusCode, String),
}

/// A running service; dropping it ends it.
pub(crate) struct S3Server {
    pub(crate) endpoint: String,
    home: TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    mood: Arc<Mutex<Mood>>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Handler {
    service: S3Service,
    objects: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    mood: Arc<Mutex<Mood>>,
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// Over TLS, with the certificate that [`Authority::new`] has made.
    pub(crate) async fn start_tls(authority: &Authority) -> Self {
        Self::listen(Some(authority.acceptor())).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let objects = home.path().join("objects");
        std::fs::create_dir_all(objects.join(BUCKET)).unwrap();
        credentials_at(&home.path().join("credentials"), KEY, SECRET);
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&objects).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let handler = Handler {
            service: builder.build(),
            objects,
            seen: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Works)),
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", socket.local_addr().unwrap());
        let (seen, mood) = (Arc::clone(&handler.seen), Arc::clone(&handler.mood));
        let mut serving = JoinSet::new();
        serving.spawn(accept(socket, tls, handler));
        Self { endpoint, home, seen, mood, _serving: serving }
    }

    /// Options with the right credentials.
    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.endpoint.clone()),
            credentials: Credentials::Directory(self.home.path().join("credentials")),
            ..S3Options::default()
        }
    }

    /// Options with other credentials.
    pub(crate) fn options_with(&self, key: &str, secret: &str) -> S3Options {
        let directory = self.home.path().join(format!("credentials-{key}-{secret}"));
        credentials_at(&directory, key, secret);
        S3Options { credentials: Credentials::Directory(directory), ..self.options() }
    }

    pub(crate) async fn store(&self) -> S3Store {
        S3Store::connect(BUCKET, "shop/mysql", &self.options()).await.unwrap()
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub(crate) fn credentials_at(directory: &Path, key: &str, secret: &str) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("access-key-id"), key).unwrap();
    std::fs::write(directory.join("secret-access-key"), secret).unwrap();
}

async fn accept(socket: TcpListener, tls: Option<TlsAcceptor>, handler: Handler) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => {
                let (stream, _) = accepted.unwrap();
                connections.spawn(connection(stream, tls.clone(), handler.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, handler: Handler) {
    stream.set_nodelay(true).unwrap();
    match tls {
        None => http(stream, handler).await,
        Some(tls) => {
            // A client that does not trust us says goodbye here.
            if let Ok(stream) = tls.accept(stream).await {
                http(stream, handler).await;
            }
        }
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, handler: Handler) {
    let service = service_fn(move |request| answer(handler.clone(), request));
    // A broken connection is the client's to notice.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(handler: Handler, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
    let headers = request.headers().iter();
    let seen = Seen {
        method: request.method().clone(),
        path_and_query: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned())).collect(),
    };
    let mood = handler.mood.lock().unwrap().clone();
    let method = seen.method.clone();
    let path = seen.path_and_query.split('?').next().unwrap_or_default().trim_matches('/').to_owned();
    handler.seen.lock().unwrap().push(seen);
    match mood {
        Mood::Denies(denied) if denied == method => refusal(S3ErrorCode::AccessDenied, "not allowed"),
        Mood::Answers(answered, status, body) if answered == method => {
            let mut response = HttpResponse::new(Body::from(body));
            *response.status_mut() = status;
            Ok(response)
        }
        // The file system underneath makes buckets, and gives directories as objects; a service does neither.
        _ if path.split('/').next() != Some(BUCKET) => refusal(S3ErrorCode::NoSuchBucket, "there is no such bucket"),
        _ if path.contains('/') && handler.objects.join(&path).is_dir() => {
            refusal(S3ErrorCode::NoSuchKey, "no such key")
        }
        _ => Service::call(&handler.service, request).await,
    }
}

fn refusal(code: S3ErrorCode, message: &'static str) -> Result<HttpResponse, HttpError> {
    S3Error::with_message(code, message).to_http_response().map_err(|error| HttpError::new(Box::new(error)))
}

/// A certificate authority and a certificate of 127.0.0.1 that it has signed, as files.
pub(crate) struct Authority {
    home: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let made = Self { home };
        let subject = |name: &str| format!("/CN={name}");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        std::fs::write(made.file("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        made.openssl(
            &[&["req", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"], &key[..]],
            &subject("test authority"),
        );
        made.openssl(&[&["req", "-keyout", "server.key", "-out", "server.csr"], &key[..]], &subject("test server"));
        made.openssl(
            &[
                &["x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"],
                &["-CAcreateserial", "-out", "server.pem", "-extfile", "names"],
            ],
            "",
        );
        made
    }

    /// What a client has to trust.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn openssl(&self, arguments: &[&[&str]], subject: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.concat()).current_dir(self.home.path());
        if !subject.is_empty() {
            command.args(["-subj", subject]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn acceptor(&self) -> TlsAcceptor {
        let chain = CertificateDer::pem_file_iter(self.file("server.pem")).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
