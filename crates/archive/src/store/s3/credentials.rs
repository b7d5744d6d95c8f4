//! Credentials from a directory of files, such as a mounted Secret, or for a token that the cluster gives to a pod.

use std::io;
use std::path::{Path, PathBuf};

use aws_config::Region;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// Longer is no key of any service.
const LENGTH_MAX: usize = 16 << 10;

const ACCESS_KEY_ID: [&str; 3] = ["access-key-id", "AWS_ACCESS_KEY_ID", "aws_access_key_id"];
const SECRET_ACCESS_KEY: [&str; 3] = ["secret-access-key", "AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"];
const SESSION_TOKEN: [&str; 3] = ["session-token", "AWS_SESSION_TOKEN", "aws_session_token"];

/// Reads the files at each request: a few hundred bytes from memory, and rotation needs nothing else.
#[derive(Debug, Clone)]
pub(super) struct DirectoryCredentials {
    directory: PathBuf,
}

/// The role of `AWS_ROLE_ARN`, assumed with the token of `AWS_WEB_IDENTITY_TOKEN_FILE`. The SDK keeps what it gets until
/// shortly before it expires, and then reads the file again.
pub(super) fn web_identity(http: SharedHttpClient, region: Option<Region>) -> WebIdentityTokenCredentialsProvider {
    let config = ProviderConfig::without_region().with_region(region).with_http_client(http);
    WebIdentityTokenCredentialsProvider::builder().configure(&config).build()
}

/// What is wrong with a file, without its content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum FileProblem {
    #[error("credentials: none of {names:?} is in \"{directory}\"")]
    Missing { directory: String, names: [&'static str; 3] },
    #[error("credentials: file \"{file}\" cannot be read: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("credentials: file \"{file}\" is empty")]
    Empty { file: String },
    #[error("credentials: file \"{file}\" holds white space or other characters that no key has")]
    NotAKey { file: String },
}

impl DirectoryCredentials {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    async fn load(&self) -> Result<Credentials, FileProblem> {
        // A mounted Secret is replaced as a whole, by another target of this link: all three come from one of them.
        let directory = tokio::fs::canonicalize(self.directory.join("..data")).await.ok();
        let directory = directory.as_deref().unwrap_or(&self.directory);
        let id = self.required(directory, ACCESS_KEY_ID).await?;
        let secret = self.required(directory, SECRET_ACCESS_KEY).await?;
        let token = read_first(directory, SESSION_TOKEN).await?;
        Ok(Credentials::new(id, secret, token, None, "files"))
    }

    async fn required(&self, directory: &Path, names: [&'static str; 3]) -> Result<String, FileProblem> {
        let found = read_first(directory, names).await?;
        found.ok_or_else(|| FileProblem::Missing { directory: self.directory.display().to_string(), names })
    }
}

async fn read_first(directory: &Path, names: [&'static str; 3]) -> Result<Option<String>, FileProblem> {
    for name in names {
        let path = directory.join(name);
        let file = path.display().to_string();
        match tokio::fs::read(&path).await {
            Ok(content) => return key_of(&content, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileProblem::Unreadable { file, reason: error.to_string() }),
        }
    }
    Ok(None)
}

/// The key in a file. Editors and `echo` add a line end, which is no part of it.
fn key_of(content: &[u8], file: String) -> Result<String, FileProblem> {
    let key = content.trim_ascii();
    if key.is_empty() {
        return Err(FileProblem::Empty { file });
    }
    if key.len() > LENGTH_MAX || !key.iter().all(u8::is_ascii_graphic) {
        return Err(FileProblem::NotAKey { file });
    }
    String::from_utf8(key.to_vec()).map_err(|_| FileProblem::NotAKey { file })
}

impl ProvideCredentials for DirectoryCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.load().await.map_err(CredentialsError::invalid_configuration) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_again_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = DirectoryCredentials::new(directory.path().to_owned());
        let missing = credentials.load().await.unwrap_err();
        assert!(matches!(missing, FileProblem::Missing { names: ACCESS_KEY_ID, .. }), "{missing}");
        std::fs::write(directory.path().join("access-key-id"), "first\n").unwrap();
        std::fs::write(directory.path().join("AWS_SECRET_ACCESS_KEY"), "secret\r\n").unwrap();
        let loaded = credentials.load().await.unwrap();
        assert_eq!((loaded.access_key_id(), loaded.secret_access_key()), ("first", "secret"));
        std::fs::write(directory.path().join("access-key-id"), "second").unwrap();
        assert_eq!(credentials.load().await.unwrap().access_key_id(), "second");
    }

    #[test]
    fn empty_and_odd_files_are_named_but_not_shown() {
        let file = || "/s3/secret-access-key".to_owned();
        assert_eq!(key_of(b" \n", file()), Err(FileProblem::Empty { file: file() }));
        for content in [&b"two words"[..], b"nul\0", b"\xff\xfe"] {
            let error = key_of(content, file()).unwrap_err();
            assert_eq!(error, FileProblem::NotAKey { file: file() });
            assert!(!error.to_string().contains("two"));
        }
    }
}
