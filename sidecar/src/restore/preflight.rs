//! What is checked before the first byte is fetched.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use pitr_archive::Archive;
use pitr_archive::backup::BackupReader;
use pitr_recovery::{BaseBackup, RestorePlan, code};

use super::archived_log::KEPT_BYTES;
use super::volume::{Volume, free_bytes};
use super::{BatchSize, Engine, RestoreArgs};
use crate::error::Failure;
use crate::mysql::OptionFile;
use crate::server::{MatchedSettings, Programs, ServerVersion};

/// Relay logs, the private server's temporary tables, our journal.
const ROOM_EXTRA: u64 = 128 << 20;
/// What fails if a volume does not say how large it is.
const ASK_ROOM: &str = "ask how much room the volume has";
/// Smallest and largest redo log of a restoring server.
const REDO: (u64, u64) = (64 << 20, 1 << 30);
/// The first release whose statements and options are those we use.
const OLDEST: (u32, u32, u32) = (8, 0, 26);

/// The server program.
pub(super) fn programs(args: &RestoreArgs) -> anyhow::Result<Programs> {
    Programs::find(args.mysqld.as_deref()).ok_or_else(|| {
        let message = match &args.mysqld {
            Some(path) => format!("\"{}\" is not a server program", path.display()),
            None => "no mysqld at hand".to_owned(),
        };
        Failure::new(&code::SERVER_TOO_OLD, message)
            .hint("a restore runs the workload's own server on the restored data")
            .fix("--mysqld PATH")
            .into()
    })
}

/// The programs of `--engine pipe`, and nothing that it cannot do.
pub(super) fn engine(args: &RestoreArgs, programs: &Programs) -> anyhow::Result<()> {
    if args.engine != Engine::Pipe {
        return Ok(());
    }
    if matches!(args.batch, BatchSize::AtMost(size) if size.get() > 1) {
        return Err(Failure::new(&code::TIME_UNREADABLE, "--engine pipe applies each transaction as it was written")
            .hint("only replication puts transactions together")
            .fix("leave out --batch or --engine")
            .into());
    }
    match ["mysqlbinlog", "mysql"].iter().find(|name| programs.companion(name).is_none()) {
        Some(missing) => Err(Failure::new(&code::SERVER_TOO_OLD, format!("no {missing} beside mysqld or in PATH"))
            .hint("--engine pipe runs mysqlbinlog and mysql of the server's installation; nothing was created")
            .fix("leave out --engine, or an image that has both")
            .into()),
        None => Ok(()),
    }
}

/// The identities at hand must open everything that the plan needs: an archive that cannot be read is no reason to touch anything.
pub(super) async fn identities(archive: &Arc<Archive>, plan: &RestorePlan) -> anyhow::Result<()> {
    let base = BackupReader::open(Arc::clone(archive), &plan.base().id).await?;
    Ok(archive.check_identities(plan, Some(&base)).await?)
}

/// The server must be able to open the base, which never goes back a version, and the server that will use the data must want it as it is.
pub(super) async fn server_fits(args: &RestoreArgs, programs: &Programs, base: &BaseBackup) -> anyhow::Result<()> {
    let ours = ServerVersion::of_program(&programs.mysqld).await?;
    let (major, minor, patch) = OLDEST;
    if !ours.at_least(major, minor, patch) {
        let message = format!("the server program is MySQL {ours}, restores need {major}.{minor}.{patch} or later");
        return Err(Failure::new(&code::SERVER_TOO_OLD, message).fix("--mysqld PATH").into());
    }
    // A base that another tool restored has no version on record; the server itself refuses what it cannot open.
    if let Ok(version) = ServerVersion::parse(&base.server_version)
        && !ours.can_open(version)
    {
        let message = format!("base {} is MySQL {version}, the server program is {ours}", base.id);
        return Err(Failure::new(&code::SERVER_TOO_OLD, message)
            .hint("a data directory is opened by its own series only, and never by an earlier release")
            .fix(format!("--mysqld of MySQL {version}"))
            .into());
    }
    settings(&configured(args)?, base).map(drop)
}

/// What the option file of the future server says.
pub(super) fn configured(args: &RestoreArgs) -> anyhow::Result<MatchedSettings> {
    let Some(path) = &args.mysqld_config else { return Ok(MatchedSettings::default()) };
    let file = OptionFile::read(path).context("read the server's configuration")?;
    Ok(MatchedSettings::from_options(|name| file.get("mysqld", name).map(str::to_owned)))
}

/// The base's settings, completed by the configured ones; a contradiction is refused.
pub(super) fn settings(configured: &MatchedSettings, base: &BaseBackup) -> anyhow::Result<MatchedSettings> {
    let recorded = MatchedSettings::from_recorded(&base.settings);
    if let Some((name, base_value, configured_value)) = recorded.conflict(configured) {
        let message =
            format!("base {} has {name} = {base_value}, the server's configuration says {configured_value}", base.id);
        return Err(Failure::new(&code::SERVER_TOO_OLD, message)
            .hint("this setting is fixed when a data directory is made")
            .fix(format!("{name} = {base_value} in the configuration"))
            .into());
    }
    Ok(recorded.or(configured))
}

/// Bytes of the base's data when it lies on the volume.
pub(super) fn data_bytes(base: &BaseBackup) -> u64 {
    let recorded = base.settings.get("data_bytes").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    match base.method.as_str() {
        // A dump is text without indexes.
        "dump" => recorded.max(base.raw_bytes.saturating_mul(2)),
        _ => recorded.max(base.raw_bytes),
    }
}

/// Redo log for a volume with so much room.
pub(super) fn redo_capacity(free: u64) -> u64 {
    (free / 16).clamp(REDO.0, REDO.1)
}

/// Room on a volume that no restore has written to; its directory may not even exist. In place, the old data keeps its own.
pub(super) fn room_for_a_new_restore(args: &RestoreArgs, plan: &RestorePlan) -> anyhow::Result<()> {
    let existing = args.datadir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let free = free_bytes(existing).context(ASK_ROOM)?;
    if args.in_place && free < needed(free, plan) {
        let message =
            format!("{} are free beside the old data, the plan needs {}", size(free), size(needed(free, plan)));
        let failure = Failure::new(&code::VOLUME_TOO_SMALL, message);
        return Err(failure
            .hint("old and restored data lie on one volume; nothing was changed")
            .fix("a larger volume")
            .into());
    }
    enough(free, 0, plan)
}

/// The volume must hold the base, what replay may add, and what the server needs meanwhile.
pub(super) fn room(volume: &Volume, plan: &RestorePlan) -> anyhow::Result<()> {
    enough(volume.free_bytes().context(ASK_ROOM)?, volume.used_bytes().context(ASK_ROOM)?, plan)
}

fn enough(free: u64, used: u64, plan: &RestorePlan) -> anyhow::Result<()> {
    let (data, needed) = (data_bytes(plan.base()), needed(free, plan));
    if free.saturating_add(used) >= needed {
        return Ok(());
    }
    let message = format!("{} is too small, the plan needs {}", size(free.saturating_add(used)), size(needed));
    let hint = format!("data {}, binlogs {}, redo and relay logs", size(data), size(plan.parts().bytes));
    Err(Failure::new(&code::VOLUME_TOO_SMALL, message).hint(hint).fix(format!("a volume of {}", size(needed))).into())
}

fn needed(free: u64, plan: &RestorePlan) -> u64 {
    let data = data_bytes(plan.base());
    let log = plan.parts().bytes;
    // What was last fetched of the log lies beside what it adds.
    data + data / 20 + log + log.min(KEPT_BYTES) + redo_capacity(free) + ROOM_EXTRA
}

fn size(bytes: u64) -> String {
    let mib = bytes.div_ceil(1 << 20);
    if mib < 10 * 1024 { format!("{mib} MiB") } else { format!("{} GiB", mib.div_ceil(1024)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pitr_binlog::{Flavour, GtidSet};
    use pitr_recovery::BaseBackup;

    use super::{data_bytes, redo_capacity, settings, size};
    use crate::error::Rendered;
    use crate::server::MatchedSettings;

    fn base(method: &str, recorded: &[(&str, &str)]) -> BaseBackup {
        BaseBackup {
            id: "bb-1".into(),
            method: method.into(),
            flavour: Flavour::MySql,
            server_version: "9.7.4".into(),
            source: "s".into(),
            executed: GtidSet::new(),
            position: None,
            snapshot_us: 0,
            started_us: 0,
            finished_us: 0,
            raw_bytes: 100,
            stored_bytes: 10,
            settings: recorded
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect::<BTreeMap<_, _>>(),
            recipients: Vec::new(),
        }
    }

    #[test]
    fn another_page_size_is_refused_by_name() {
        let configured = MatchedSettings::from_options(|name| (name == "innodb_page_size").then(|| "8k".to_owned()));
        let error = settings(&configured, &base("clone", &[("innodb_page_size", "16384")])).unwrap_err();
        let rendered = Rendered::of(&error);
        assert_eq!((rendered.code.as_deref(), rendered.exit), (Some("PITR0309"), 4));
        assert!(error.to_string().contains("innodb_page_size = 16384"), "{error}");
    }

    #[test]
    fn a_dump_takes_more_room_than_its_text() {
        assert_eq!(data_bytes(&base("clone", &[])), 100);
        assert_eq!(data_bytes(&base("dump", &[])), 200);
        assert_eq!(data_bytes(&base("dump", &[("data_bytes", "5000")])), 5000);
        assert_eq!((redo_capacity(0), redo_capacity(1 << 40)), (64 << 20, 1 << 30));
        assert_eq!((size(1), size(20 << 30)), ("1 MiB".to_owned(), "20 GiB".to_owned()));
    }
}
