//! Completion, as kubectl does it for plugins: kubectl runs `kubectl_complete-pitr` with the words after `pitr` and reads one
//! candidate a line, then `:N`. Whatever goes wrong, the answer is `:4` and success: anything else spoils the user's line.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap_complete::engine::complete;

use crate::args::{ClientArgs, CompletionArgs, command};
use crate::cluster;
use crate::program::Process;
use crate::session::Session;

/// Cobra's directive: no file names.
const NO_FILES: &str = ":4";
/// A look-up in the cluster may take this long while someone waits for a tab.
const LOOK_UP: Duration = Duration::from_millis(400);
/// Commands whose first word is a workload.
const TAKE_WORKLOAD: [&str; 15] = [
    "detach",
    "drill",
    "verify",
    "prune",
    "check",
    "support-bundle",
    "logs",
    "status",
    "backups",
    "binlogs",
    "timeline",
    "backup",
    "restore",
    "inject",
    "uninject",
];

pub fn run(session: &Session, args: &CompletionArgs) -> Result<u8> {
    if args.install {
        let called = std::env::args_os().next().unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let (place, in_path) = match found_in(&path, &called) {
            Some(place) => (place, true),
            None => (std::env::current_exe().context("find this program")?, false),
        };
        let link = link_beside(&place);
        install(&place, &link)?;
        session.tell(&format!("{} -> {}", link.display(), place.display()));
        if !in_path {
            session.tell("warning: kubectl finds it only in a directory of PATH, and this one is none");
        }
        return Ok(0);
    }
    if let Some(shell) = args.shell {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command("kubectl-pitr"), "kubectl-pitr", &mut script);
        session.print(&String::from_utf8_lossy(&script))?;
    }
    Ok(0)
}

/// Where kubectl finds this program: the first of its name in PATH, which may be a link to it. kubectl looks for the completion by the
/// same way, so that the directory behind such a link would not do.
fn found_in(path: &OsStr, called: &OsStr) -> Option<PathBuf> {
    let name = Path::new(called).file_name()?;
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|p| p.is_file())
}

/// `kubectl_complete-pitr` beside `kubectl-pitr`, `kubectl_complete-mysql_pitr` beside `kubectl-mysql_pitr`.
fn link_beside(own: &Path) -> PathBuf {
    let name = own.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("kubectl-")).unwrap_or("pitr");
    own.with_file_name(format!("kubectl_complete-{name}"))
}

fn install(own: &Path, link: &Path) -> Result<()> {
    if std::fs::read_link(link).is_ok() {
        std::fs::remove_file(link).with_context(|| format!("replace {}", link.display()))?;
    }
    std::os::unix::fs::symlink(own, link).with_context(|| format!("make the link {}", link.display()))
}

/// Answers kubectl.
pub async fn answer(program: &str, process: &Process) -> ExitCode {
    let words: Vec<String> = process.arguments.iter().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let mut lines = candidates(program, &words).unwrap_or_default();
    if wants_workload(&words) {
        let found = tokio::time::timeout(LOOK_UP, workloads(&words)).await.ok().flatten().unwrap_or_default();
        let typed = words.last().map_or("", String::as_str);
        lines.extend(found.into_iter().filter(|n| n.starts_with(typed)));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // Whoever asked may have gone away: nobody is left to tell.
    let _ = std::io::stdout().lock().write_all(format!("{text}{NO_FILES}\n").as_bytes());
    ExitCode::SUCCESS
}

/// `value<TAB>description` of everything that can stand in the place of the last word.
pub fn candidates(program: &str, words: &[String]) -> Option<Vec<String>> {
    let mut args: Vec<OsString> = vec![program.into()];
    args.extend(words.iter().map(OsString::from));
    if words.is_empty() {
        args.push(OsString::new());
    }
    let index = args.len() - 1;
    let found = complete(&mut command(program), args, index, None).ok()?;
    let shown = found.iter().filter(|c| !c.is_hide_set()).map(|c| {
        let help = c.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        let value = c.get_value().to_string_lossy();
        if help.is_empty() { value.into_owned() } else { format!("{value}\t{help}") }
    });
    Some(shown.collect())
}

/// Whether the last word stands where a workload is wanted: the first word after the command that is no flag.
pub fn wants_workload(words: &[String]) -> bool {
    // For "logs" it is short for --follow, for all others it takes a file.
    let of_logs = words.iter().any(|word| word == "logs");
    let words: Vec<String> = words.iter().filter(|word| !(of_logs && *word == "-f")).cloned().collect();
    let Some((last, before)) = words.split_last() else { return false };
    let plain: Vec<_> = without_flags(before);
    !last.starts_with('-')
        && !before.last().is_some_and(|w| takes_value(w))
        && plain.len() == 1
        && TAKE_WORKLOAD.contains(&plain[0].as_str())
}

/// The words that are neither flags nor values of flags.
fn without_flags(words: &[String]) -> Vec<&String> {
    let mut plain = Vec::new();
    let mut value = false;
    for word in words {
        if !value && !word.starts_with('-') {
            plain.push(word);
        }
        value = !value && takes_value(word);
    }
    plain
}

/// Flags without a value of their own; all others take the next word, unless it is joined by "=".
const ALONE: [&str; 24] = [
    "--server-logs",
    "--follow",
    "-w",
    "--watch",
    "--heartbeats",
    "--raw",
    "--ddl",
    "--segments",
    "-A",
    "--all-namespaces",
    "--no-headers",
    "--plan",
    "--live",
    "--exit-code",
    "--show-gaps",
    "--allow-drift",
    "--force-conflicts",
    "--keep-config",
    "--delete-wedged-pods",
    "--restart",
    "--pre",
    "--no-redact",
    "--insecure-skip-tls-verify",
    "--disable-compression",
];

fn takes_value(word: &str) -> bool {
    let short_joined = word.starts_with('-') && !word.starts_with("--") && word.len() > 2;
    word.starts_with('-') && !word.contains('=') && !short_joined && !ALONE.contains(&word)
}

async fn workloads(words: &[String]) -> Option<Vec<String>> {
    let cluster = cluster::connect(&client_args(words)).await.ok()?;
    let injecting = words.iter().any(|w| w == "inject");
    let names = cluster.stateful_set_names(injecting).await.ok()?;
    Some(names.iter().flat_map(|n| [n.clone(), format!("sts/{n}")]).collect())
}

/// The few flags that decide which cluster is meant, from a line that is not finished.
fn client_args(words: &[String]) -> ClientArgs {
    let value = |long: &str, short: Option<&str>| {
        words.iter().enumerate().find_map(|(i, w)| {
            if w == long || Some(w.as_str()) == short {
                return words.get(i + 1).cloned();
            }
            let joined = w.strip_prefix(long).and_then(|r| r.strip_prefix('='));
            joined.or_else(|| short.and_then(|s| w.strip_prefix(s)).filter(|r| !r.is_empty())).map(str::to_owned)
        })
    };
    ClientArgs {
        namespace: value("--namespace", Some("-n")),
        context: value("--context", None),
        cluster: value("--cluster", None),
        user: value("--user", None),
        kubeconfig: value("--kubeconfig", None).map(Into::into),
        ..ClientArgs::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn commands_and_flags_are_offered() {
        let found = candidates("kubectl-pitr", &words("rest")).unwrap();
        assert!(found.iter().any(|l| l.starts_with("restore\t")), "{found:?}");
        assert!(found.iter().any(|l| l.starts_with("restores\t")), "{found:?}");
        let found = candidates("kubectl-pitr", &words("restore mysql --before-g")).unwrap();
        assert!(found.iter().any(|l| l.starts_with("--before-gtid")), "{found:?}");
    }

    #[test]
    fn the_link_is_made_where_kubectl_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (bin, store) = (folder.path().join("bin"), folder.path().join("store"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(store.join("program"), "").unwrap();
        std::os::unix::fs::symlink(store.join("program"), bin.join("kubectl-mysql_pitr")).unwrap();
        let path = std::env::join_paths([folder.path().join("none"), bin.clone()]).unwrap();
        let found = found_in(&path, OsStr::new("kubectl-mysql_pitr")).unwrap();
        assert_eq!(found, bin.join("kubectl-mysql_pitr"));
        assert_eq!(link_beside(&found), bin.join("kubectl_complete-mysql_pitr"));
        assert_eq!(link_beside(Path::new("/x/kubectl-pitr")), Path::new("/x/kubectl_complete-pitr"));
        assert_eq!(found_in(&path, OsStr::new("/elsewhere/kubectl-other")), None);
    }

    #[test]
    fn a_workload_is_wanted_only_in_its_place() {
        for line in ["status ", "restore my", "-n shop status ", "backup --method clone ", "logs -f my"] {
            assert!(wants_workload(&words(line)), "{line}");
        }
        for line in ["", "inject -f x", "status mysql ", "status -n ", "explain ", "restore --", "sta"] {
            assert!(!wants_workload(&words(line)), "{line}");
        }
    }

    #[test]
    fn the_cluster_is_known_from_an_unfinished_line() {
        let args = client_args(&words("status -nshop --context=prod "));
        assert_eq!((args.namespace.as_deref(), args.context.as_deref()), (Some("shop"), Some("prod")));
    }
}
