//! The plan that is carried out: made once, kept on the volume with its hash, never made again.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use pitr_archive::Archive;
use pitr_archive::document::{PlanDocument, plan_hash};
use pitr_recovery::{BaseBackup, RecoveryTarget, RestorePlan, code, format_time};

use super::existing::EXISTING;
use super::journal::{Journal, Purpose, write_durably};
use super::volume::Volume;
use super::{BaseOrigin, RestoreArgs};
use crate::error::Failure;
use crate::planning;

/// A plan file is never larger than this when it is unpacked.
const PLAN_BYTES_MAX: u64 = 256 << 20;

/// A plan, the bytes that say it, and their hash.
pub(super) struct PlannedRestore {
    pub(super) plan: RestorePlan,
    pub(super) hash: String,
    bytes: Vec<u8>,
}

impl PlannedRestore {
    fn of_bytes(bytes: Vec<u8>, from: &Path) -> anyhow::Result<Self> {
        let plan = PlanDocument::decode(&bytes).with_context(|| format!("read the plan in \"{}\"", from.display()))?;
        Ok(Self { plan, hash: plan_hash(&bytes), bytes })
    }

    /// Puts the plan on the volume.
    pub(super) fn keep(&self, volume: &Volume) -> anyhow::Result<()> {
        write_durably(&volume.plan(), &self.bytes).context("keep the plan on the volume")
    }

    /// The plan that the volume is being restored by.
    pub(super) fn kept(volume: &Volume, hash: &str) -> anyhow::Result<Self> {
        let path = volume.plan();
        let kept = Self::of_bytes(fs::read(&path).context("read the plan on the volume")?, &path)?;
        if kept.hash == hash {
            return Ok(kept);
        }
        let message = format!("the plan on the volume is {}, its journal says {hash}", kept.hash);
        Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message).fix("restore into another directory").into())
    }
}

/// Reads the plan file, or makes a plan for the target.
pub(super) async fn make(args: &RestoreArgs, archive: &Archive) -> anyhow::Result<PlannedRestore> {
    match &args.plan_file {
        Some(path) => read_file(path).map_err(|error| bad_plan(&error)),
        None => make_from(args, archive, None).await,
    }
}

/// Makes a plan for the target. With `existing`, it begins at that base.
pub(super) async fn make_from(
    args: &RestoreArgs,
    archive: &Archive,
    existing: Option<BaseBackup>,
) -> anyhow::Result<PlannedRestore> {
    let mut request = planning::request(&args.target)?;
    if existing.is_some() {
        request.from_backup = Some(EXISTING.to_owned());
    }
    request.pace = archive.last_pace().await.map(|pace| pace.of_restores()).unwrap_or_default();
    let plan = planning::plan(archive, &request, existing).await?;
    let bytes = PlanDocument::encode(&plan).context("write the plan")?;
    Ok(PlannedRestore { hash: plan_hash(&bytes), plan, bytes })
}

fn read_file(path: &Path) -> anyhow::Result<PlannedRestore> {
    let file = fs::File::open(path).with_context(|| format!("read the plan in \"{}\"", path.display()))?;
    let mut bytes = Vec::new();
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    // The hash is that of the plan itself, however it travels.
    let read = if packed {
        flate2::read::GzDecoder::new(file).take(PLAN_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        file.take(PLAN_BYTES_MAX).read_to_end(&mut bytes)
    };
    read.with_context(|| format!("read the plan in \"{}\"", path.display()))?;
    PlannedRestore::of_bytes(bytes, path)
}

fn bad_plan(error: &anyhow::Error) -> anyhow::Error {
    Failure::new(&code::RESTORE_FAILED, format!("{error:#}")).fix("plan again").exit(2).into()
}

/// What the first run of a restore is for.
pub(super) fn purpose(args: &RestoreArgs, planned: &PlannedRestore) -> Purpose {
    match args.plan_file {
        Some(_) => Purpose::Plan(planned.hash.clone()),
        None => Purpose::Target(asked_for(args)),
    }
}

/// The target as it was typed, in one line.
pub(crate) fn asked_for(args: &RestoreArgs) -> String {
    let target = &args.target;
    let mut words = Vec::new();
    let options = [
        ("--to", &target.to),
        ("--before-gtid", &target.before_gtid),
        ("--through-gtid", &target.through_gtid),
        ("--to-position", &target.to_position),
        ("--source", &target.source),
        ("--from-backup", &target.from_backup),
        ("--branch", &target.branch),
        ("--allow-gap", &target.allow_gap),
        ("--clock", &target.clock),
    ];
    for (name, value) in options {
        words.extend(value.iter().map(|value| format!("{name} {value}")));
    }
    words.extend(target.skip_gtid.iter().map(|gtid| format!("--skip-gtid {gtid}")));
    for (name, given) in [("--accept-early-stop", target.accept_early_stop), ("--nearest", target.nearest)] {
        words.extend(given.then(|| name.to_owned()));
    }
    if args.base == BaseOrigin::Existing {
        words.push("--base existing".to_owned());
    }
    words.extend(args.in_place.then(|| "--in-place".to_owned()));
    words.join(" ")
}

/// One volume, one plan.
pub(super) fn same_purpose(args: &RestoreArgs, volume: &Volume, journal: &Journal) -> anyhow::Result<()> {
    let asked = match &args.plan_file {
        Some(path) => Purpose::Plan(read_file(path).map_err(|error| bad_plan(&error))?.hash),
        None => Purpose::Target(asked_for(args)),
    };
    // A plan that this volume's restore was begun with may also be named by what it was made for, and the other way round.
    let by_hash = matches!(&asked, Purpose::Plan(hash) if journal.plan_hash.as_ref() == Some(hash));
    if asked == journal.purpose || by_hash {
        return Ok(());
    }
    let held = match &journal.purpose {
        Purpose::Plan(hash) => format!("plan {hash}"),
        Purpose::Target(target) => format!("\"{target}\""),
    };
    Err(Failure::new(
        &code::VOLUME_OF_ANOTHER_PLAN,
        format!("\"{}\" holds a restore of {held}", volume.root().display()),
    )
    .hint("one volume, one plan")
    .fix(match &journal.in_place {
        Some(_) => "finish or abort that one first",
        None => "restore into another directory",
    })
    .into())
}

/// The target as flags.
pub(super) fn target_text(target: &RecoveryTarget) -> String {
    match target {
        RecoveryTarget::Time(us) => format!("--to {}", format_time(*us)),
        RecoveryTarget::Latest => "--to latest".to_owned(),
        RecoveryTarget::BeforeGtid(gtid) => format!("--before-gtid {gtid}"),
        RecoveryTarget::ThroughGtid(gtid) => format!("--through-gtid {gtid}"),
        RecoveryTarget::Position { source: None, name, pos } => format!("--to-position {name}:{pos}"),
        RecoveryTarget::Position { source: Some(source), name, pos } => {
            format!("--to-position {name}:{pos} --source {source}")
        }
    }
}
