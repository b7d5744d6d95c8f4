//! The SDK's client, set so that nothing in it retries, chunks or waits on its own.

use std::path::Path;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::options::{Credentials, S3Options};

/// A host that does not complete a TCP handshake in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Credentials that a token was exchanged for are renewed so long before they expire.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(300);

/// Sends over TLS of one kind (rustls, aws-lc), trusting `ca_file` or else the system's authorities.
pub(super) fn http_client(ca_file: Option<&Path>) -> Result<SharedHttpClient, String> {
    let trusted = match ca_file {
        Some(file) => trust_file(file)?,
        None => trust_system(),
    };
    let context = TlsContext::builder().with_trust_store(trusted).build().map_err(|error| error.to_string())?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}

/// The SDK panics on a file that holds no certificate, so it is checked first.
fn trust_file(file: &Path) -> Result<TrustStore, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|error| format!("CA file \"{name}\" cannot be read: {error}"))?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("CA file \"{name}\" is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("CA file \"{name}\" holds no certificate"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| format!("CA file \"{name}\" holds an unusable certificate: {error}"))?;
    }
    Ok(TrustStore::empty().with_pem_certificate(pem))
}

/// The system's authorities; where it has none, as in an image with one binary, those of Mozilla that we carry.
fn trust_system() -> TrustStore {
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return TrustStore::default();
    }
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    TrustStore::empty().with_pem_certificate(pem)
}

/// The SDK's client for these options.
pub(super) async fn s3_client(options: &S3Options, http: SharedHttpClient) -> Client {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).region(region(options));
    match &options.credentials {
        Credentials::Environment => {}
        Credentials::Directory(directory) => {
            loader = loader.credentials_provider(super::credentials::DirectoryCredentials::new(directory.clone()));
        }
        Credentials::WebIdentity => {
            let region = region(options).region().await;
            loader = loader.credentials_provider(super::credentials::web_identity(http, region));
        }
    }
    let shared = loader.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().upload_enabled(true).grace_period(super::NO_PROGRESS).build(),
        )
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.path_style.unwrap_or(options.endpoint.is_some()));
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if matches!(options.credentials, Credentials::Directory(_)) {
        // Cached credentials without an expiry would be kept for ever; the files are read for each request.
        config = config.identity_cache(IdentityCache::no_cache());
    }
    if matches!(options.credentials, Credentials::WebIdentity) {
        // What is started with credentials that are about to expire must not fail for it.
        config = config.identity_cache(IdentityCache::lazy().buffer_time(RENEW_BEFORE_EXPIRY).build());
    }
    Client::from_conf(config.build())
}

/// The region; a service at an endpoint of its own has usually none that matters, and no instance metadata to ask.
fn region(options: &S3Options) -> RegionProviderChain {
    let chain = RegionProviderChain::first_try(options.region.clone().map(Region::new));
    if options.endpoint.is_some() {
        chain
            .or_else(aws_config::environment::EnvironmentVariableRegionProvider::new())
            .or_else(aws_config::profile::ProfileFileRegionProvider::new())
            .or_else(Region::new("us-east-1"))
    } else {
        chain.or_default_provider()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorities_that_we_carry_are_usable() {
        let mut roots = RootCertStore::empty();
        let (valid, invalid) =
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        assert!(valid > 50, "{valid}");
        assert_eq!(invalid, 0);
    }

    #[test]
    fn a_bad_ca_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        assert!(http_client(Some(&file)).unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "hello").unwrap();
        assert!(http_client(Some(&file)).unwrap_err().contains("holds no certificate"));
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(http_client(Some(&file)).unwrap_err().contains("unusable certificate"));
    }
}
