//! What the user wants of the sidecar, and the configuration file that says so.

use anyhow::Result;
use serde_json::{Value, json};

use super::attach::{SPOOL_DIRECTORY, Stream};
use super::sidecar::{CREDENTIALS_DIRECTORY, MEMORY_LIMIT, MYSQL_DIRECTORY};
use super::survey::Survey;
use super::{keys, together};
use crate::failure::Failure;
use crate::render::quantity;
use pitr_recovery::code;

/// The sidecar's image where nothing else is said.
pub fn default_image() -> String {
    format!("pitr-sidecar:{}", env!("CARGO_PKG_VERSION"))
}

/// What goes into every workload of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub archive: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub secret: Option<String>,
    pub mysql_secret: Option<String>,
    pub retention: String,
    pub image: String,
    pub native: bool,
    pub set: Vec<(String, String)>,
    /// Base backups that an earlier configuration names as never to expire.
    pub pins: Vec<String>,
    /// The server is read over a connection, not from its files.
    pub stream: Option<Stream>,
}

impl Settings {
    /// The content of `config.yaml`, with `--set` laid over it.
    pub fn config(&self, name: &str, namespace: Option<&str>, survey: &Survey) -> Result<Value> {
        keys::check("retention.window", &self.retention).map_err(|failure| failure.fix("--retention 14d"))?;
        let mut config = json!({
            "workload": format!("{}/{name}", namespace.unwrap_or("default")),
            "archive": self.archive,
            "credentials": {"from": match self.secret {
                Some(_) => format!("file:{CREDENTIALS_DIRECTORY}"),
                None => "environment".to_owned(),
            }},
            "source": match &self.stream {
                None => json!({"datadir": survey.datadir, "mode": "auto"}),
                Some(stream) => source(stream),
            },
            "schedule": {"archive_interval": "60s", "tail_interval": "2s", "tail": true},
            "retention": {"window": self.retention, "run": "elsewhere"},
        });
        for (key, value) in [("region", &self.region), ("endpoint", &self.endpoint)] {
            if let Some(value) = value {
                config["s3"][key] = json!(value);
            }
        }
        if let Some(basename) = &survey.binlog_basename {
            config["source"]["binlog_basename"] = json!(basename);
        }
        if !self.pins.is_empty() {
            config["retention"]["pins"] = json!(self.pins);
        }
        for (key, value) in &self.set {
            set(&mut config, key, value)?;
        }
        together::check(&config, quantity(MEMORY_LIMIT))?;
        Ok(config)
    }
}

/// Who may read all binlogs is let in through TLS alone, unless somebody says otherwise.
fn source(stream: &Stream) -> Value {
    json!({
        "mode": "stream",
        "spool": SPOOL_DIRECTORY,
        "mysql": {
            "user": stream.user,
            "host": stream.host,
            "port": stream.port,
            "password_file": format!("{MYSQL_DIRECTORY}/password"),
            "tls": "required",
        },
    })
}

/// Puts a value at a dotted path. Which keys there are, [`super::keys`] knows; what a secret is, is said here.
pub fn set(config: &mut Value, key: &str, value: &str) -> Result<()> {
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
        let failure = Failure::new(code::BAD_CONFIGURATION_KEY, format!("\"{key}\" is not a configuration key"));
        return Err(failure.fix("--set schedule.tail_interval=5s").into());
    }
    if parts.iter().any(|p| p.contains("password") && *p != "password_file" || p.contains("secret")) {
        let failure = Failure::new(code::CREDENTIALS_IN_URL, format!("\"{key}\" would put a secret into a ConfigMap"));
        return Err(failure.hint("secrets are mounted from a Secret").fix("--secret NAME, --mysql-secret NAME").into());
    }
    if value.to_ascii_uppercase().contains("AGE-SECRET-KEY-") {
        // It is not repeated: whoever has it can read the archive.
        let failure = Failure::new(code::CREDENTIALS_IN_URL, format!("the value of \"{key}\" is an identity"));
        return Err(failure
            .hint("the identity opens the archive and stays with you; the configuration takes the recipient")
            .fix("--set encryption.age_recipients=age1...")
            .into());
    }
    keys::check(key, value)?;
    let mut place = config;
    for part in &parts[..parts.len() - 1] {
        if !place[*part].is_object() {
            place[*part] = json!({});
        }
        place = &mut place[*part];
    }
    place[parts[parts.len() - 1]] = match value {
        "true" => json!(true),
        "false" => json!(false),
        text => text.parse::<i64>().map_or_else(|_| json!(text), |n| json!(n)),
    };
    Ok(())
}

/// An archive URL that an injection may name: a bucket, without credentials.
pub fn check_archive_url(url: &str) -> Result<(), Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if rest.split('/').next().unwrap_or_default().contains('@') {
        return Err(Failure::new(code::CREDENTIALS_IN_URL, "the archive URL holds credentials")
            .hint("they would end in history and logs")
            .fix("--secret NAME"));
    }
    if rest.contains(['?', '#']) || !matches!(scheme, "s3" | "file") || rest.trim_matches('/').is_empty() {
        return Err(Failure::usage(format!("\"{url}\" is not an archive URL")).fix("--archive s3://BUCKET/PREFIX"));
    }
    Ok(())
}
