//! What every command has at hand: where its output goes, how times are shown, and the cluster once it is needed.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::args::{Cli, ClientArgs, OutputFormat};
use crate::cluster::{self, Cluster};
use crate::failure::{EXIT_INTERRUPTED, Failure};
use crate::inject::tree;
use crate::interrupts::{Interrupts, Minding};
use crate::preferences::{Answer, Preferences};
use crate::program::Process;
use crate::render::{JsonPath, Zone};
use crate::target::Reader;
use crate::terminal::Terminal;
use pitr_recovery::code;

/// One run of a command.
pub struct Session {
    client: ClientArgs,
    pub terminal: Terminal,
    pub zone: Zone,
    output: Option<String>,
    /// The format of answers where none is typed.
    preferred: Option<Answer>,
    template: Option<JsonPath>,
    pub environment: fn(&str) -> Option<String>,
    clock: fn() -> Timestamp,
    warned: Mutex<BTreeSet<String>>,
    interrupts: Interrupts,
    /// Whoever read stdout has gone.
    unread: AtomicBool,
}

impl Session {
    pub fn new(cli: &Cli, terminal: Terminal, process: &Process, preferences: &Preferences) -> Result<Self> {
        let zone = match cli.common.timezone.as_ref().or(preferences.timezone.as_ref()) {
            None => Zone::UTC,
            Some(name) => Zone::named(name).map_err(Failure::usage)?,
        };
        let template = cli.common.output.as_deref().and_then(|text| text.strip_prefix("jsonpath="));
        let template = template
            .map(JsonPath::parse)
            .transpose()
            .map_err(|reason| Failure::usage(reason).fix("-o jsonpath='{range .items[*]}{.workload}{\"\\n\"}{end}'"))?;
        Ok(Self {
            template,
            client: cli.client.clone(),
            terminal,
            zone,
            output: cli.common.output.clone(),
            preferred: preferences.output,
            environment: process.environment,
            clock: process.clock,
            warned: Mutex::default(),
            interrupts: Interrupts::default(),
            unread: AtomicBool::new(false),
        })
    }

    /// Ends with a Ctrl-C that nobody minds.
    pub async fn unminded(&self) {
        self.interrupts.unminded().await;
    }

    /// From now on, and until this is dropped, Ctrl-C is for whoever holds it.
    pub fn mind(&self) -> Minding<'_> {
        self.interrupts.mind()
    }

    /// Ends with Ctrl-C, also with one that came before.
    pub async fn interrupted(&self) {
        self.mind().came().await;
    }

    /// An error after Ctrl-C: nothing more is begun then.
    pub fn go_on(&self) -> Result<(), Failure> {
        match self.interrupts.has_come() {
            true => Err(Failure::without_code(EXIT_INTERRUPTED, "interrupted")),
            false => Ok(()),
        }
    }

    /// The clock itself, for what outlives this look at it.
    pub fn clock(&self) -> fn() -> Timestamp {
        self.clock
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Who reads a time that lacks its zone: the zone of `--timezone`, else this machine's.
    pub fn reader(&self) -> Reader {
        let zone = self.zone.named_zone().or_else(|| {
            let zone = TimeZone::system();
            let name = zone.iana_name().unwrap_or("your zone").to_owned();
            Some((name, zone))
        });
        Reader { now: self.now(), zone }
    }

    /// The namespace that was named on the command line.
    pub fn namespace_flag(&self) -> Option<&str> {
        self.client.namespace.as_deref()
    }

    /// The namespace that an object without one of its own gets: that of the command line, else that of the kubeconfig's context,
    /// as when it is applied. No call is made.
    pub fn namespace_here(&self) -> Result<String, Failure> {
        match &self.client.namespace {
            Some(namespace) => Ok(namespace.clone()),
            None => cluster::namespace_of_context(&self.client)?.ok_or_else(|| {
                Failure::usage("the namespace is not known")
                    .hint("an archive belongs to NAMESPACE/NAME")
                    .fix("-n NAMESPACE")
            }),
        }
    }

    /// Connects: only commands that need a cluster fail without one.
    pub async fn cluster(&self) -> Result<Cluster, Failure> {
        cluster::connect(&self.client).await
    }

    /// `-o` as it was typed, for a command that reads more into it than one word.
    pub fn output_text(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// `-o`, as one of the values that this command knows. What is preferred counts where the command has it.
    pub fn output<T: ValueEnum>(&self, default: T) -> Result<T, Failure> {
        let Some(text) = &self.output else {
            let preferred = self.preferred.and_then(|answer| T::from_str(answer.as_str(), false).ok());
            return Ok(preferred.unwrap_or(default));
        };
        // A template is filled from the document that "-o json" prints.
        let format = if self.template.is_some() { "json" } else { text };
        T::from_str(format, false).map_err(|_| {
            let known: Vec<_> =
                T::value_variants().iter().filter_map(T::to_possible_value).map(|v| v.get_name().to_owned()).collect();
            Failure::usage(format!("this command has no output format \"{text}\"")).hint(known.join(", "))
        })
    }

    /// An error if `-o` asks this command for what it does not have: it prints text for people and nothing else.
    pub fn prints_text(&self, what: &str) -> Result<(), Failure> {
        match &self.output {
            Some(text) => Err(Failure::usage(format!("{what} has no output format \"{text}\": it prints text"))),
            None => Ok(()),
        }
    }

    /// Whether `-o jsonpath=` wants a part of the document.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Prints an answer on stdout. A reader that has gone away has seen enough.
    pub fn print(&self, text: &str) -> Result<()> {
        self.print_bytes(self.terminal.plain_signs(text).as_bytes())
    }

    /// Prints bytes as they are.
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(reason) if reason.kind() == std::io::ErrorKind::BrokenPipe => {
                self.unread.store(true, Ordering::Relaxed);
                Ok(())
            }
            outcome => outcome.context("write to stdout"),
        }
    }

    /// Whether somebody still reads what is printed, as far as printing has told.
    pub fn is_read(&self) -> bool {
        !self.unread.load(Ordering::Relaxed)
    }

    /// Prints a document in the wanted form.
    pub fn print_document(&self, document: &impl Serialize, format: OutputFormat) -> Result<()> {
        let value = serde_json::to_value(document).context("write the document")?;
        if let Some(template) = &self.template {
            let text = template.text(&value);
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            return self.print(&format!("{text}{end}"));
        }
        let text = match format {
            OutputFormat::Yaml => tree::emit(&value)?,
            _ => serde_json::to_string_pretty(&value).context("write the document")? + "\n",
        };
        self.print(&text)
    }

    /// Tells a warning on stderr, once, however often it is come by: a list may be looked at again and again.
    pub fn warn(&self, text: &str) {
        let is_news = self.warned.lock().map_or(true, |mut warned| warned.insert(text.to_owned()));
        if is_news {
            self.tell(text);
        }
    }

    /// Tells something on stderr.
    pub fn tell(&self, text: &str) {
        let text = self.terminal.plain_signs(text);
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = stderr.write_all(b"\n");
        }
    }

    /// A question to whoever sits there: nobody, and everything but "y" and "yes", says no.
    pub async fn agrees(&self, question: &str) -> bool {
        if !self.terminal.interactive {
            return false;
        }
        eprint!("{question} [y/N] ");
        typed().await.is_ok_and(|line| ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
    }

    /// Wants the name typed at a terminal, or given with `--confirm`.
    pub async fn confirm(&self, name: &str, given: Option<&str>, what: &str) -> Result<()> {
        let refused = |message: String| {
            Failure::new(code::NOT_CONFIRMED, message).hint(what.to_owned()).fix(format!("--confirm {name}"))
        };
        match given {
            Some(given) if given == name => return Ok(()),
            Some(given) => return Err(refused(format!("--confirm {given} does not name \"{name}\"")).into()),
            None if !self.terminal.interactive => {
                return Err(refused(format!("--confirm {name} is required when stdin is not a terminal")).into());
            }
            None => {}
        }
        eprint!("{what}. Type {name} to go on: ");
        if typed().await?.trim() == name { Ok(()) } else { Err(refused(format!("\"{name}\" was not typed")).into()) }
    }
}

/// A line from whoever sits there. It is read elsewhere: Ctrl-C is heard meanwhile.
async fn typed() -> Result<String> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    tokio::task::spawn_blocking(read).await.context("wait for the answer")?.context("read the answer")
}
