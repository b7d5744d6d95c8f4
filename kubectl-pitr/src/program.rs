//! One run of the plugin: arguments in, an exit code out.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches};
use jiff::Timestamp;

use crate::args::{Cli, Command, command};
use crate::commands;
use crate::failure::{self, EXIT_INTERRUPTED, EXIT_USAGE, Failure};
use crate::preferences::Preferences;
use crate::session::Session;
use crate::terminal::Terminal;

/// What the process gives: nothing below reads the clock, the arguments or the environment by itself.
#[derive(Clone)]
pub struct Process {
    pub arguments: Vec<OsString>,
    pub environment: fn(&str) -> Option<String>,
    pub clock: fn() -> Timestamp,
}

/// The name under which kubectl asks for completions.
const COMPLETER: &str = "kubectl_complete-";

/// Runs one command.
pub async fn run(process: Process) -> ExitCode {
    let program = process.arguments.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(plugin) = name.strip_prefix(COMPLETER) {
        return commands::completion::answer(&format!("kubectl-{plugin}"), &process).await;
    }
    let json = wants_json(&process.arguments);
    let cli = match parse(&program, &process.arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_words(&error, json),
    };
    start_log(cli.common.verbosity);
    let (preferences, refused) = match Preferences::read(&process.environment) {
        Ok(preferences) => (preferences, None),
        Err(failure) => (Preferences::default(), Some(failure)),
    };
    let colour = cli.common.color.or(preferences.color).unwrap_or_default();
    let terminal = Terminal::detect(colour, &process.environment);
    let outcome = match (refused, Session::new(&cli, terminal, &process, &preferences)) {
        (Some(failure), _) => Err(failure.into()),
        (None, Ok(session)) => tokio::select! {
            // The command first: what it minds is known before an interrupt is looked at.
            biased;
            outcome = Box::pin(dispatch(cli.command, &session)) => outcome,
            () = session.unminded() => Ok(EXIT_INTERRUPTED),
        },
        (None, Err(error)) => Err(error),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => report(&error, json, terminal),
    }
}

fn parse(program: &str, arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = command(program);
    let matches = command.try_get_matches_from_mut(arguments)?;
    refuse_lost(&mut command, &matches)?;
    Cli::from_arg_matches(&matches)
}

/// What stands before a verb belongs to the command without one: only flags that every command has reach the verb, and others would be lost.
fn refuse_lost(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((verb, below)) = matches.subcommand() else { return Ok(()) };
    let is_typed = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let lost = command.get_arguments().filter(|arg| !arg.is_global_set()).find(is_typed).map(ToString::to_string);
    if let Some(lost) = lost {
        let message = format!("the subcommand '{verb}' cannot be used with '{lost}' before it");
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }
    command.find_subcommand_mut(verb).map_or(Ok(()), |command| refuse_lost(command, below))
}

async fn dispatch(command: Command, session: &Session) -> anyhow::Result<u8> {
    match command {
        Command::Status(args) => commands::status::run(session, &args).await,
        Command::Backups(args) => commands::backups::run(session, &args).await,
        Command::Binlogs(args) => commands::binlogs::run(session, &args).await,
        Command::Timeline(args) => commands::timeline::run(session, &args).await,
        Command::Backup(args) => commands::backup::run(session, &args).await,
        Command::Restore(args) => commands::restore::run(session, &args).await,
        Command::Restores(args) => commands::restores::run(session, &args).await,
        Command::Inject(args) => commands::inject::run(session, &args).await,
        Command::Uninject(args) => commands::uninject::run(session, &args).await,
        Command::Attach(args) => commands::attach::attach(session, &args).await,
        Command::Detach(args) => commands::attach::detach(session, &args).await,
        Command::Config(args) => commands::config::run(session, &args).await,
        Command::Check(args) => commands::check::run(session, &args).await,
        Command::Verify(args) => commands::verify::run(session, &args).await,
        Command::Drill(args) => commands::drill::run(session, &args).await,
        Command::Prune(args) => commands::prune::run(session, &args).await,
        Command::SupportBundle(args) => commands::bundle::run(session, &args).await,
        Command::Logs(args) => commands::logs::run(session, &args).await,
        Command::Explain(args) => commands::explain::run(session, &args).await,
        Command::Completion(args) => commands::completion::run(session, &args),
        Command::Version(args) => commands::version::run(session, &args).await,
        Command::Man(args) => commands::man::run(session, &args),
    }
}

/// Whether errors are documents too. It is asked before the arguments are known to make sense.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
    words.iter().any(|w| matches!(w.as_ref(), "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|w| matches!(w[0].as_ref(), "-o" | "--output") && w[1] == "json")
}

fn refuse_words(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        // Help and version are answers; a reader that went away is no error.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if json {
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
        eprintln!("{}", Failure::usage(message).document());
    } else {
        let _ = error.print();
    }
    ExitCode::from(EXIT_USAGE)
}

fn report(error: &anyhow::Error, json: bool, terminal: Terminal) -> ExitCode {
    let failure = failure::of(error);
    if json {
        eprintln!("{}", failure.document());
    } else {
        eprint!("{}", terminal.plain_signs(&failure.text()));
    }
    ExitCode::from(failure.exit())
}

/// Log lines go to stderr, and only when asked for.
fn start_log(verbosity: u8) {
    let level = match verbosity {
        0 => return,
        1..=3 => "kubectl_pitr=info,pitr_archive=info",
        4..=5 => "kubectl_pitr=debug,pitr_archive=debug,kube=info",
        6..=7 => "debug,h2=info,hyper=info,rustls=info,tower=info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_every_command_may_stand_before_a_verb_and_no_others() {
        let kind = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            parse("kubectl-pitr", &words).err().map(|error| error.kind())
        };
        for line in [
            "kubectl-pitr restores -n shop describe x",
            "kubectl-pitr -n shop restores list -A",
            "kubectl-pitr backups --context c -o json pin mysql bb-1",
            "kubectl-pitr config -n shop view mysql",
            "kubectl-pitr backups mysql -n shop --sort-by .id",
        ] {
            assert_eq!(kind(line), None, "{line}");
        }
        for line in [
            "kubectl-pitr restores -A describe x",
            "kubectl-pitr restores --sort-by .name list",
            "kubectl-pitr backups mysql pin mysql bb-1",
            "kubectl-pitr backups --via exec unpin mysql bb-1",
        ] {
            assert_eq!(kind(line), Some(ErrorKind::ArgumentConflict), "{line}");
        }
    }

    #[test]
    fn json_is_seen_before_the_words_are_understood() {
        let words = |w: &[&str]| w.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&words(&["kubectl-pitr", "nonsense", "-o", "json"])));
        assert!(wants_json(&words(&["kubectl-pitr", "status", "--output=json"])));
        assert!(!wants_json(&words(&["kubectl-pitr", "status", "-o", "yaml", "json"])));
    }
}
