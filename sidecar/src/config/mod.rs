//! The configuration of the archiver: a YAML file, overridden by `PITR_...` variables. Unknown keys are errors: nothing is ignored in
//! silence.

mod document;
mod keys;
mod retention;
mod schedule;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use self::document::Setting;
pub(crate) use self::document::{Origin, Settings};
pub(crate) use self::keys::is_taken_at_the_start;
pub(crate) use self::retention::{Retention, check_grace, check_window, retention_of};
pub(crate) use self::schedule::Schedule;
pub(crate) use self::values::parse_duration;
use self::values::parse_size;
use pitr_archive::{Codec, OptionError, UnknownCodec, memory};
use pitr_recovery::code;
use serde_json::Value;

use crate::archive_args::{ArchiveArgs, PathStyle};
use crate::archiver::SPOOL_INDEX;
use crate::encryption_args::EncryptionArgs;
use crate::error::Failure;
use crate::mysql::{Dsn, Password, TlsMode};

/// Smallest and largest segment that the memory limit and the format's limits allow.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;
/// Segments in work at once.
const WORKERS: std::ops::RangeInclusive<u64> = 1..=64;
/// Bytes a second below which a segment would take longer than a call to the store may.
const RATE_MIN: u64 = 256 << 10;

/// Something wrong with the configuration, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    message: String,
    hint: String,
}

impl Problem {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// What the archiver needs to know, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What the archive belongs to.
    pub(crate) workload: String,
    /// Where the archive is and how its store is reached.
    pub(crate) archive: ArchiveArgs,
    /// Where the binlogs are.
    pub(crate) source: SourceConfig,
    /// What encrypts what is stored.
    pub(crate) encryption: EncryptionArgs,
    /// When things happen.
    pub(crate) schedule: Schedule,
    /// How much is done at once.
    pub(crate) pipeline: Pipeline,
    /// What expires, and who sees to it.
    pub(crate) retention: Retention,
    /// So long after a binlog was closed the server may delete it, once it is archived; none: we have nothing deleted.
    pub(crate) purge_after: Option<Duration>,
    /// Address of probes and metrics.
    pub(crate) listen: Option<SocketAddr>,
    /// Address of the control API.
    pub(crate) control_listen: Option<SocketAddr>,
    /// All settings with their origins, for `check-config` and for the diff after a change.
    pub(crate) settings: Settings,
}

/// Where the binlogs are.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceConfig {
    /// The server's data directory.
    pub(crate) datadir: PathBuf,
    /// Path and name of the binlogs without their number; none: looked for.
    pub(crate) binlog_basename: Option<PathBuf>,
    /// The archive's name for the server; none: its server UUID.
    pub(crate) identity: Option<String>,
    /// How the server is asked about itself; none: it is not.
    pub(crate) mysql: Option<MysqlConfig>,
    /// Stream mode: `datadir` is the spool, and above so many bytes of complete binlogs no other one is received.
    pub(crate) spool_limit: Option<u64>,
}

/// How the server is asked.
#[derive(Debug, Clone)]
pub(crate) struct MysqlConfig {
    /// Where it is and who asks, without the password.
    pub(crate) dsn: Dsn,
    /// The file that holds the password.
    pub(crate) password_file: Option<PathBuf>,
}

impl MysqlConfig {
    /// Where the server is and who asks, with the password as it is in its file now.
    pub(crate) async fn read_dsn(&self) -> std::io::Result<Dsn> {
        let password = match &self.password_file {
            Some(file) => tokio::fs::read_to_string(file).await?,
            None => String::new(),
        };
        let password = Password::new(password.trim_end_matches(['\r', '\n']));
        Ok(Dsn { password, ..self.dsn.clone() })
    }
}

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pipeline {
    /// Raw bytes of one segment.
    pub(crate) segment_bytes: u64,
    /// Bytes that the archiver may use.
    pub(crate) memory_limit: u64,
    /// How segments are compressed.
    pub(crate) codec: Codec,
    /// Segments that are hashed and compressed at once; none: as many as there are cores, and as fit.
    pub(crate) workers: Option<u64>,
    /// Bytes a second to the store.
    pub(crate) bandwidth_limit: Option<u64>,
    /// Bytes a second from the disk.
    pub(crate) read_limit: Option<u64>,
    /// CPU niceness.
    pub(crate) nice: i32,
}

/// Reads and checks a configuration file.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    let mut config = parse(&read_file(file)?, &environment())?;
    config.retention.file = Some(file.to_owned());
    Ok(config)
}

/// What is left of a configuration that is not valid: whose state it is and where that is shown, all else as by default. With it
/// nothing can be archived.
pub(crate) fn remains(file: &Path) -> Option<Config> {
    let known = std::fs::read_to_string(file).ok().and_then(|text| serde_saphyr::from_str::<Value>(&text).ok());
    let text = |key: &str| known.as_ref().and_then(|known| known[key].as_str()).map(str::to_owned);
    let mut settings = document::read("", &BTreeMap::new()).ok()?;
    let environment = environment();
    for (key, variable) in [("listen", "PITR_LISTEN"), ("control_listen", "PITR_CONTROL_LISTEN")] {
        let said = environment.get(variable).cloned().or_else(|| text(key));
        let fits = |address: SocketAddr| key == "listen" || address.ip().is_loopback();
        let usable = said.filter(|address| address == "none" || address.parse().is_ok_and(fits));
        settings.extend(usable.map(|value| (key, Setting { value, origin: Origin::File })));
    }
    let workload = text("workload").unwrap_or_else(|| "unknown".to_owned());
    settings.insert("workload", Setting { value: workload, origin: Origin::File });
    settings.insert("archive", Setting { value: "memory:".to_owned(), origin: Origin::Default });
    let mut config = interpret(&settings).ok()?;
    config.archive.archive = text("archive");
    Some(config)
}

fn read_file(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|reason| {
        let message = format!("configuration file \"{}\" cannot be read: {reason}", file.display());
        Failure::new(&code::BAD_CONFIGURATION_KEY, message)
            .hint("nothing else says what to archive")
            .fix("--config FILE")
    })
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with("PITR_")).collect()
}

/// What a key is for, in one line.
pub(crate) fn about(path: &str) -> &'static str {
    keys::find(path).map_or("", |key| key.about)
}

/// Checks a configuration text under an environment.
pub(crate) fn parse(text: &str, environment: &BTreeMap<String, String>) -> Result<Config, Failure> {
    document::read(text, environment).and_then(|settings| interpret(&settings)).map_err(failure)
}

fn failure(problems: Vec<Problem>) -> Failure {
    let mut problems = problems.into_iter();
    let Some(first) = problems.next() else {
        return Failure::new(&code::BAD_CONFIGURATION_KEY, "configuration is not valid");
    };
    let failure = Failure::new(&code::BAD_CONFIGURATION_KEY, first.message).hint(first.hint);
    let failure = problems
        .fold(failure, |failure, problem| failure.hint(format!("also: {} ({})", problem.message, problem.hint)));
    failure.fix("change the file; pitr-sidecar check-config FILE says what it then means")
}

fn interpret(settings: &Settings) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader { settings, problems: Vec::new() };
    let config = Config {
        workload: reader.required("workload", "workload: NAMESPACE/NAME"),
        archive: reader.archive(),
        source: reader.source(),
        encryption: reader.encryption(),
        schedule: reader.schedule(),
        pipeline: reader.pipeline(),
        retention: reader.retention(),
        purge_after: reader.purge_after(),
        listen: reader.address("listen"),
        control_listen: reader.loopback("control_listen"),
        settings: settings.clone(),
    };
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

/// Takes settings out one by one and notes what is wrong across keys.
struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn text(&self, path: &str) -> Option<String> {
        self.settings.get(path).map(|setting| setting.value.clone()).filter(|value| !value.is_empty())
    }

    fn unless_auto(&self, path: &str) -> Option<String> {
        self.text(path).filter(|value| value != "auto")
    }

    fn required(&mut self, path: &str, hint: &str) -> String {
        self.text(path).unwrap_or_else(|| {
            self.problems.push(Problem::new(format!("\"{path}\" is missing"), hint));
            String::new()
        })
    }

    fn archive(&mut self) -> ArchiveArgs {
        let archive = self.required("archive", "archive: s3://BUCKET/PREFIX or file:///DIRECTORY");
        let path_style = match self.text("s3.path_style").as_deref() {
            Some("always" | "true") => PathStyle::Always,
            Some("never" | "false") => PathStyle::Never,
            Some(_) | None => PathStyle::Auto,
        };
        let args = ArchiveArgs {
            archive: Some(archive),
            region: self.text("s3.region"),
            endpoint: self.text("s3.endpoint"),
            path_style,
            ca_bundle: self.text("s3.ca_file").map(PathBuf::from),
            credentials_from: self.option("credentials.from").unwrap_or_default(),
            checksum: self.option("s3.checksum").unwrap_or_default(),
            sse: self.option("s3.sse").unwrap_or_default(),
            storage_class: self.option("s3.storage_class"),
            identity_file: None,
        };
        if self.problems.is_empty()
            && let Err(reason) = args.location()
        {
            self.problems.push(Problem::new(reason.to_string(), "archive: s3://BUCKET/PREFIX or file:///DIRECTORY"));
        }
        args
    }

    fn option<T: FromStr<Err = OptionError>>(&mut self, path: &str) -> Option<T> {
        match self.text(path)?.parse() {
            Ok(value) => Some(value),
            Err(reason) => {
                self.problems
                    .push(Problem::new(format!("\"{path}\": {reason}"), format!("{path}: {}", reason.expected)));
                None
            }
        }
    }

    fn encryption(&mut self) -> EncryptionArgs {
        let recipients = self.text("encryption.age_recipients").unwrap_or_default();
        let encryption = EncryptionArgs {
            age_recipients: recipients.split(',').map(str::to_owned).filter(|text| !text.is_empty()).collect(),
            hash_key_file: self.text("encryption.hash_key_file").map(PathBuf::from),
        };
        match encryption.recipients() {
            Err(reason) => {
                let problem = Problem::new(format!("\"encryption.age_recipients\": {reason}"), "public keys: age1...");
                self.problems.push(problem);
            }
            Ok(recipients) if recipients.is_empty() == encryption.hash_key_file.is_none() => {}
            Ok(_) => self.problems.push(Problem::new(
                "\"encryption.age_recipients\" and \"encryption.hash_key_file\" go together",
                "openssl rand -base64 32 makes a hash key",
            )),
        }
        encryption
    }

    fn source(&mut self) -> SourceConfig {
        let source = SourceConfig {
            datadir: self.text("source.datadir").unwrap_or_default().into(),
            binlog_basename: self.unless_auto("source.binlog_basename").map(PathBuf::from),
            identity: self.identity(),
            mysql: self.mysql(),
            spool_limit: None,
        };
        if self.text("source.mode").as_deref() != Some("stream") {
            return source;
        }
        let spool = self.text("source.spool");
        for (path, is_there, hint) in [
            ("source.spool", spool.is_some(), "source: {spool: DIRECTORY}, where binlogs wait until they are archived"),
            (
                "source.mysql.user",
                source.mysql.is_some(),
                "source: {mysql: {user: NAME}} with REPLICATION SLAVE and REPLICATION CLIENT",
            ),
            ("source.identity: auto", source.identity.is_none(), "stream mode knows a server by its UUID"),
        ] {
            if !is_there {
                self.problems.push(Problem::new(format!("\"source.mode\" is stream, and that needs \"{path}\""), hint));
            }
        }
        SourceConfig {
            datadir: spool.unwrap_or_default().into(),
            binlog_basename: Some(SPOOL_INDEX.into()),
            spool_limit: Some(self.size("source.spool_limit")),
            ..source
        }
    }

    fn identity(&mut self) -> Option<String> {
        let identity = self.unless_auto("source.identity")?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !identity.bytes().all(allowed) || identity.starts_with('.') {
            let message = format!("\"source.identity\": \"{identity}\" is not valid");
            self.problems
                .push(Problem::new(message, "letters, digits, \".\", \"_\" and \"-\"; it becomes part of object keys"));
        }
        Some(identity)
    }

    fn mysql(&mut self) -> Option<MysqlConfig> {
        let password_file = self.text("source.mysql.password_file").map(PathBuf::from);
        let socket = self.text("source.mysql.socket").map(PathBuf::from);
        let Some(user) = self.text("source.mysql.user") else {
            if password_file.is_some() || socket.is_some() {
                self.problems.push(Problem::new("\"source.mysql.user\" is missing", "source: {mysql: {user: NAME}}"));
            }
            return None;
        };
        let port = self.text("source.mysql.port").and_then(|port| port.parse().ok());
        if port.is_none() {
            self.problems.push(Problem::new("\"source.mysql.port\" is no port", "1 to 65535"));
        }
        let tls = match self.text("source.mysql.tls").as_deref() {
            Some("disabled") => TlsMode::Disabled,
            Some("required") => TlsMode::Required,
            Some("verify-ca") => TlsMode::VerifyCa,
            Some("verify-identity") => TlsMode::VerifyIdentity,
            Some(_) | None => TlsMode::Preferred,
        };
        let host = if socket.is_some() { None } else { self.text("source.mysql.host") };
        let ca = self.text("source.mysql.ca_file").map(PathBuf::from);
        let dsn = Dsn { host, port, socket, user, tls, ca, ..Dsn::default() };
        Some(MysqlConfig { dsn, password_file })
    }

    fn duration(&self, path: &str) -> Duration {
        self.text(path).and_then(|value| parse_duration(&value)).unwrap_or_default()
    }

    fn size(&self, path: &str) -> u64 {
        self.text(path).and_then(|value| parse_size(&value)).unwrap_or_default()
    }

    fn pipeline(&mut self) -> Pipeline {
        let segment_bytes = self.size("pipeline.segment_bytes");
        if !SEGMENT_BYTES.contains(&segment_bytes) {
            self.problems.push(Problem::new("\"pipeline.segment_bytes\" is out of range", "64KiB to 64MiB"));
        }
        let memory_limit = self.size("pipeline.memory_limit");
        let workers = self.unless_auto("pipeline.workers").map(|text| text.parse::<u64>().unwrap_or(0));
        if workers.is_some_and(|workers| !WORKERS.contains(&workers)) {
            self.problems.push(Problem::new("\"pipeline.workers\" is out of range", "auto, or 1 to 64"));
        }
        let codec = self.codec();
        let needed = memory::least_bytes(workers.map(|workers| workers.min(*WORKERS.end())), segment_bytes, codec);
        if memory_limit < needed {
            let least = format!("at least {}MiB for these segments, workers and {codec}", needed.div_ceil(1 << 20));
            self.problems.push(Problem::new("\"pipeline.memory_limit\" is too small", least));
        }
        let nice = self.text("pipeline.nice").and_then(|nice| nice.parse().ok()).unwrap_or(0);
        if !(0..=19).contains(&nice) {
            self.problems.push(Problem::new("\"pipeline.nice\" is out of range", "0 to 19"));
        }
        Pipeline {
            segment_bytes,
            memory_limit,
            codec,
            workers,
            bandwidth_limit: self.rate("pipeline.bandwidth_limit"),
            read_limit: self.rate("pipeline.read_limit"),
            nice,
        }
    }

    fn codec(&mut self) -> Codec {
        let text = self.text("pipeline.codec").unwrap_or_default();
        text.parse().unwrap_or_else(|reason: UnknownCodec| {
            self.problems.push(Problem::new(format!("\"pipeline.codec\": {reason}"), "pipeline: {codec: \"zstd:1\"}"));
            Codec::default()
        })
    }

    /// Bytes a second, or none.
    fn rate(&mut self, path: &str) -> Option<u64> {
        let text = self.text(path).filter(|text| text != "none")?;
        let rate = parse_size(text.strip_suffix("/s").unwrap_or(&text)).filter(|rate| *rate >= RATE_MIN);
        if rate.is_none() {
            self.problems.push(Problem::new(
                format!("\"{path}\": \"{text}\" is not valid"),
                "none, or at least 256KiB, such as 20MiB",
            ));
        }
        rate
    }

    /// An address that nobody outside the pod reaches: who asks there is not asked who he is.
    fn loopback(&mut self, path: &str) -> Option<SocketAddr> {
        let address = self.address(path)?;
        if !address.ip().is_loopback() {
            self.problems.push(Problem::new(
                format!("\"{path}\": {address} can be reached from outside the pod"),
                "127.0.0.1:PORT, or none; listen serves probes and metrics to everybody",
            ));
        }
        Some(address)
    }

    fn address(&mut self, path: &str) -> Option<SocketAddr> {
        let text = self.text(path).filter(|text| text != "none")?;
        let address = text.parse().ok();
        if address.is_none() {
            self.problems.push(Problem::new(
                format!("\"{path}\": \"{text}\" is not an address"),
                "IP:PORT, such as 0.0.0.0:9399, or none",
            ));
        }
        address
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
