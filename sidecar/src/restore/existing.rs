//! A base that another tool restored: its GTID set is read by starting a server on it, and the plan begins there.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use pitr_binlog::{BinlogName, Flavour, GtidSet};
use pitr_recovery::BaseBackup;
use serde_json::{Map, Value};

use super::journal::{Journal, Phase, Purpose, write_durably};
use super::memory;
use super::planned::{self, PlannedRestore};
use super::preflight;
use super::volume::Volume;
use crate::mysql::LocalAccount;
use crate::server::{Mysqld, Purpose as ServerPurpose, ServerOptions};

use super::phases::{Ground, unless_interrupted};

/// The id that stands for the base in plans and reports.
pub(super) const EXISTING: &str = "existing";
/// Settings persisted on the source, in a data directory that was copied as files.
const PERSISTED: &str = "mysqld-auto.cnf";

/// The first run on such a base.
pub(super) async fn begin(ground: Ground<'_>) -> anyhow::Result<(Journal, PlannedRestore)> {
    let journal = Journal::begin(Purpose::Target(planned::asked_for(ground.args)), ground.context.clock.now());
    journal.write(&ground.volume.journal()).context("write the journal")?;
    plan(ground, journal).await
}

/// Reads what the base holds and plans from there.
pub(super) async fn plan(ground: Ground<'_>, mut journal: Journal) -> anyhow::Result<(Journal, PlannedRestore)> {
    let volume = ground.volume;
    let planned = match make(ground, &journal).await {
        Ok(planned) => planned,
        // Our account may be in the base: the journal has its name, and the same command goes on.
        Err(error) if ground.context.shutdown.is_cancelled() => return Err(error),
        Err(error) => {
            // What went wrong first is what the user must know.
            give_back(volume).with_context(|| format!("give the base back as it was, after: {error:#}"))?;
            return Err(error);
        }
    };
    journal.plan_hash = Some(planned.hash.clone());
    journal.done = Some(Phase::Prepare);
    journal.write(&volume.journal()).context("write the journal")?;
    Ok((journal, planned))
}

/// Everything up to a plan that is kept on the volume.
async fn make(ground: Ground<'_>, journal: &Journal) -> anyhow::Result<PlannedRestore> {
    let volume = ground.volume;
    set_aside(volume).context("set the base's identity and logs aside")?;
    let read = async { read(ground, journal).await.context("read what the base holds") };
    let base = unless_interrupted(&ground.context.shutdown, read).await?;
    let planned = planned::make_from(ground.args, ground.archive, Some(base)).await?;
    preflight::room(volume, &planned.plan)?;
    planned.keep(volume)?;
    Ok(planned)
}

/// A new server gets an identity of its own, settings persisted on the source must not start anything here, and its binary logs
/// must not become the beginning of this server's.
fn set_aside(volume: &Volume) -> io::Result<()> {
    fs::create_dir_all(volume.aside())?;
    // An identity that lies there already is the base's own: what is found now was made by a run of ours that was killed.
    let identity = volume.datadir().join("auto.cnf");
    if volume.aside().join("auto.cnf").exists() && identity.exists() {
        fs::remove_file(&identity)?;
    }
    let names = ["auto.cnf", PERSISTED].map(str::to_owned).into_iter().chain(logs_in(volume.datadir())?);
    for name in names {
        match fs::rename(volume.datadir().join(&name), volume.aside().join(&name)) {
            Ok(()) => {}
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => {}
            Err(reason) => return Err(reason),
        }
    }
    Ok(())
}

/// Binary and relay logs, by their index files: the logs first, so that an interrupted run finds the rest.
pub(crate) fn logs_in(datadir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(datadir)? {
        let entry = entry?;
        let Ok(index) = entry.file_name().into_string() else { continue };
        if !index.ends_with(".index") || !entry.file_type()?.is_file() {
            continue;
        }
        let text = fs::read_to_string(entry.path())?;
        let logs: Vec<&str> =
            text.lines().map(|line| line.trim().trim_start_matches("./")).filter(|line| !line.is_empty()).collect();
        // What is listed by an absolute path lies elsewhere, and is not this server's.
        if logs.iter().all(|log| log.starts_with('/') || BinlogName::parse(log).is_ok()) {
            names.extend(logs.into_iter().filter(|log| !log.starts_with('/')).map(str::to_owned));
            names.push(index);
        }
    }
    Ok(names)
}

/// A base that no restore can be made of is the user's again: its files return, and our directory goes.
fn give_back(volume: &Volume) -> io::Result<()> {
    if volume.aside().is_dir() {
        for entry in fs::read_dir(volume.aside())? {
            let entry = entry?;
            fs::rename(entry.path(), volume.datadir().join(entry.file_name()))?;
        }
    }
    fs::remove_dir_all(volume.ours())
}

async fn read(ground: Ground<'_>, journal: &Journal) -> anyhow::Result<BaseBackup> {
    let Ground { context, volume, machine, .. } = ground;
    let used = volume.used_bytes()?;
    let relay = volume.relay();
    for place in [volume.ours(), relay.clone()] {
        fs::create_dir_all(&place)?;
        machine.run_as.own(&place)?;
    }
    let options = ServerOptions {
        mysqld: machine.programs.mysqld.clone(),
        datadir: volume.datadir().to_owned(),
        pid_file: volume.pid_file(),
        log: volume.server_log(),
        run_as: machine.run_as,
        server_id: journal.server_id,
        settings: machine.settings.clone(),
        buffer_pool: memory::buffer_pool(used),
        redo_capacity: preflight::redo_capacity(volume.free_bytes()?),
    };
    let account = LocalAccount::named(journal.account.clone());
    let server =
        Mysqld::start(&options, &ServerPurpose::Replay { relay, rows_only: false }, &machine.staging, account).await?;
    let held = held(&server).await;
    // Whatever it says, and although a plan may be refused: nothing of ours must stay.
    let left = leave(&server).await;
    let stopped = server.stop().await;
    let (executed, server_version) = held?;
    left?;
    stopped?;
    Ok(base(executed, server_version, used, context.clock.now_us()))
}

async fn held(server: &Mysqld) -> anyhow::Result<(GtidSet, String)> {
    let mut connection = server.connect().await?;
    Ok((connection.executed().await?, connection.server_version().await?))
}

async fn leave(server: &Mysqld) -> anyhow::Result<()> {
    let mut connection = server.connect().await?;
    connection.set_read_only(false).await?;
    server.account().drop_from(&mut connection).await?;
    Ok(())
}

fn base(executed: GtidSet, server_version: String, bytes: u64, now_us: i64) -> BaseBackup {
    BaseBackup {
        id: EXISTING.to_owned(),
        method: "external".to_owned(),
        flavour: Flavour::MySql,
        server_version,
        // What it was taken from is not known, so it tells of no server.
        source: String::new(),
        executed,
        position: None,
        // Its set and the archive say when it was taken; a time of its own it does not have.
        snapshot_us: now_us,
        started_us: now_us,
        finished_us: now_us,
        raw_bytes: bytes,
        stored_bytes: 0,
        settings: std::collections::BTreeMap::new(),
        recipients: Vec::new(),
    }
}

/// Persisted settings that would make the restored server replicate, refuse writes, run events, or look elsewhere for its files.
fn is_left_out(name: &str) -> bool {
    let prefixes = ["replica_", "slave_", "group_replication_", "rpl_", "relay_log", "log_bin", "innodb_directories"];
    let exact = [
        "super_read_only",
        "read_only",
        "event_scheduler",
        "server_id",
        "skip_replica_start",
        "skip_slave_start",
        "datadir",
        "tmpdir",
        "socket",
        "pid_file",
        "log_error",
        "general_log_file",
        "slow_query_log_file",
        "secure_file_priv",
        "innodb_data_home_dir",
        "innodb_undo_directory",
        "innodb_log_group_home_dir",
        "innodb_temp_tablespaces_dir",
        "innodb_tmpdir",
    ];
    exact.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// What of the base's own stays aside, for the report.
pub(super) fn note_of_logs(volume: &Volume) -> anyhow::Result<Option<String>> {
    if !volume.aside().is_dir() {
        return Ok(None);
    }
    let logs = logs_in(&volume.aside()).context("list the base's own logs")?;
    Ok((!logs.is_empty()).then(|| {
        format!(
            "binary and relay logs that came with the base lie in {}: they may be removed",
            volume.aside().display()
        )
    }))
}

/// Puts the persisted settings back without those that must not return: those of the base, or of a workload whose old data lies in
/// `aside`. Gives a note for each one that stays away.
pub(super) fn give_back_persisted(volume: &Volume, aside: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let aside = aside.map_or_else(|| volume.aside(), Path::to_owned).join(PERSISTED);
    let text = match fs::read(&aside) {
        Ok(text) => text,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(reason) => return Err(reason).context("read the base's persisted settings"),
    };
    let Ok(mut settings) = serde_json::from_slice::<Value>(&text) else {
        return Ok(vec![format!(
            "persisted settings of the source are not readable and were not given back: {}",
            aside.display()
        )]);
    };
    let mut left_out = Vec::new();
    filter(&mut settings, &mut left_out);
    let text = serde_json::to_vec(&settings).context("write persisted settings")?;
    write_durably(&volume.datadir().join(PERSISTED), &text).context("write persisted settings")?;
    left_out.sort();
    left_out.dedup();
    Ok(left_out.iter().map(|name| format!("persisted setting \"{name}\" of the source was not given back")).collect())
}

/// The file is `{"Version": 2, "mysql_dynamic_variables": {"name": {...}}, ...}`, the static ones one level deeper in some versions.
fn filter(value: &mut Value, left_out: &mut Vec<String>) {
    let Value::Object(members) = value else { return };
    let kept: Map<String, Value> = std::mem::take(members)
        .into_iter()
        .filter_map(|(name, mut member)| {
            if is_left_out(&name) {
                left_out.push(name);
                return None;
            }
            filter(&mut member, left_out);
            Some((name, member))
        })
        .collect();
    *members = kept;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::filter;

    #[test]
    fn settings_that_would_start_something_do_not_come_back() {
        let mut settings = json!({
            "Version": 2,
            "mysql_dynamic_variables": {"super_read_only": {"Value": "ON"}, "max_connections": {"Value": "512"}},
            "mysql_static_variables": {"group_replication_start_on_boot": {"Value": "ON"}, "back_log": {"Value": "80"}},
        });
        let mut left_out = Vec::new();
        filter(&mut settings, &mut left_out);
        assert_eq!(left_out, ["super_read_only", "group_replication_start_on_boot"]);
        assert_eq!(settings["mysql_dynamic_variables"], json!({"max_connections": {"Value": "512"}}));
        assert_eq!(settings["mysql_static_variables"], json!({"back_log": {"Value": "80"}}));
    }
}
