//! Logs on standard error: JSON lines (`ts level event ...`) where a machine reads them, text on a terminal.

use std::fmt;
use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text when standard error is a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoggingArgs {
    /// How the log on standard error is written
    #[arg(long, global = true, value_enum, default_value = "auto", env = "PITR_LOG_FORMAT", hide_env = true)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level (error, warn, info, debug, trace) or a filter such as "info,pitr_sidecar=debug"
    #[arg(long, global = true, default_value = "info", value_name = "FILTER", env = "PITR_LOG", hide_env = true)]
    pub(crate) log_level: String,
}

impl LoggingArgs {
    /// Whether log and progress go to a machine.
    pub(crate) fn is_json(&self) -> bool {
        match self.log_format {
            LogFormat::Auto => !std::io::stderr().is_terminal(),
            LogFormat::Text => false,
            LogFormat::Json => true,
        }
    }
}

/// Starts logging for the whole process. A filter that cannot be read falls back to `info`: a log level never stops the work.
pub(crate) fn start(args: &LoggingArgs) {
    let filter = EnvFilter::try_new(&args.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // They would be told on standard error, whose being closed may be the error: that ends in a panic.
        .log_internal_errors(false);
    // A second start (tests) keeps the first logger.
    let _already_started =
        if args.is_json() { builder.event_format(JsonLines).try_init() } else { builder.with_target(false).try_init() };
}

/// One flat JSON object per event. A field named `document` holds a whole JSON object, whose members are put beside `ts` and
/// `level`: the heartbeat is such a document.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        fields.0.insert("ts".into(), timestamp().into());
        fields.0.insert("level".into(), event.metadata().level().as_str().into());
        event.record(&mut fields);
        if !fields.0.contains_key("event") {
            fields.0.insert("target".into(), event.metadata().target().into());
        }
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// Log lines carry wall time; nothing is decided by it.
fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "document"
            && let Ok(Value::Object(members)) = serde_json::from_str(value)
        {
            self.0.extend(members);
            return;
        }
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}
