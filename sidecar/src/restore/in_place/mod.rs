//! Restoring into the data directory of a workload that stands still: the old data stays where it is until the restored data is
//! verified, then the two are exchanged by renames, and the old data is kept until the user is done with it.
//!
//! ```text
//! DATADIR/.pitr/beside-ID/     the restored data, until it is verified
//! DATADIR/.pitr/aside-ID/      the old data, from the exchange until `finish`
//! DATADIR/.pitr/withdrawn-ID/  the restored data, once it was in use and `abort` put the old data back; until `finish`
//!
//! beside ─▶ leaving ─▶ entering ─▶ exchanged ─▶ finishing ─▶ (nothing of ours)
//!    │          │           └──────────┴─▶ withdrawing ─┐
//!    └──────────┴──────────────────────────────────▶ returning ─▶ returned ─▶ finishing
//! ```
//! Each arrow is written to the journal before the next thing is moved, and each move may be done again: whoever is killed anywhere
//! goes on with the same command, or turns back with `abort`. Every move is a rename on one file system.

mod disk;
mod elsewhere;
mod ending;
mod entries;
mod exchange;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pitr_recovery::code;
use serde::{Deserialize, Serialize};

use self::disk::Hand;
use super::RestoreArgs;
use super::journal::{Journal, Phase};
use super::volume::{OURS, Volume};
use crate::error::Failure;
use crate::server::{DatadirLocks, RunAs};

pub(super) use self::elsewhere::refuse as refuse_data_elsewhere;
pub(crate) use self::ending::{FinishArgs, VolumeArgs, abort, finish};
pub(super) use self::exchange::run as exchange;

/// Characters of a plan's hash that tell two restores on one volume apart.
const ID_CHARACTERS: usize = 12;

/// What the journal says of a restore in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct InPlace {
    /// Ends the names of its directories.
    pub(crate) id: String,
    /// Where old and restored data are.
    pub(crate) standing: Standing,
    /// Its name with whoever drives it, if it has one: two restores may have one plan.
    #[serde(default)]
    pub(crate) restore_id: Option<String>,
    /// The restored data was in the workload's place whole, so somebody may have written to it.
    #[serde(default)]
    pub(crate) may_be_used: bool,
}

/// Where old and restored data are, and which way they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// The old data is in its place, untouched.
    Beside,
    /// The old data goes aside.
    Leaving,
    /// The old data is aside, the restored data goes to its place.
    Entering,
    /// The restored data is in place, the old data aside.
    Exchanged,
    /// `abort`: the restored data leaves again.
    Withdrawing,
    /// `abort`: the old data goes back to its place.
    Returning,
    /// `abort` is done, and what may have been used of the restored data is kept.
    Returned,
    /// What was kept is being deleted.
    Finishing,
}

impl InPlace {
    /// A restore by the plan with this hash, of which nothing is done yet.
    pub(super) fn of_plan(hash: &str, restore_id: Option<&str>) -> Self {
        let hex = hash.rsplit(':').next().unwrap_or(hash);
        Self {
            id: hex.chars().take(ID_CHARACTERS).collect(),
            standing: Standing::Beside,
            restore_id: restore_id.map(str::to_owned),
            may_be_used: false,
        }
    }

    /// Whether it is the restore of that name. Whoever gives none means the one that is there.
    fn is(&self, restore_id: Option<&str>) -> bool {
        restore_id.is_none_or(|asked| self.restore_id.as_deref() == Some(asked))
    }
}

/// The directories of one restore in place.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The data directory of the workload.
    root: PathBuf,
    id: String,
}

impl Places {
    pub(super) fn new(root: &Path, in_place: &InPlace) -> Self {
        Self { root: root.to_owned(), id: in_place.id.clone() }
    }

    fn ours(&self) -> PathBuf {
        self.root.join(OURS)
    }

    /// The restored data until it is verified.
    pub(super) fn beside(&self) -> PathBuf {
        self.ours().join(format!("beside-{}", self.id))
    }

    /// The old data, from the exchange on.
    pub(super) fn aside(&self) -> PathBuf {
        self.ours().join(format!("aside-{}", self.id))
    }

    fn withdrawn(&self) -> PathBuf {
        self.ours().join(format!("withdrawn-{}", self.id))
    }

    /// What a server left that could not start while data was exchanged.
    fn strays(&self) -> PathBuf {
        self.ours().join(format!("strays-{}", self.id))
    }

    fn journal(&self) -> PathBuf {
        self.ours().join("journal.json")
    }
}

/// Whether the directory's last restore is history: handed over, on a volume that was its own then.
fn is_history(journal: &Journal) -> bool {
    journal.in_place.is_none() && journal.has_done(Phase::HandOver)
}

/// The journal of the restore that goes on here, if one does. Records of one that is history make room, and what must not go on is refused.
pub(super) fn going_on(args: &RestoreArgs, volume: &Volume) -> anyhow::Result<Option<Journal>> {
    match Journal::read(&volume.journal()).context("read the journal")? {
        // Looked at again under the lock: another run may have begun since.
        Some(journal) if args.in_place && is_history(&journal) => put_history_away(volume, &journal).map(|()| None),
        Some(journal) => {
            admit(args, &journal)?;
            Ok(Some(journal))
        }
        None => Ok(None),
    }
}

/// Whether a restore in place begins anew here, whatever an earlier one left.
pub(super) fn is_fresh(datadir: &Path) -> anyhow::Result<bool> {
    let journal = Journal::read(&datadir.join(OURS).join("journal.json")).context("read the journal")?;
    Ok(journal.is_none_or(|journal| is_history(&journal)))
}

/// The records of a restore that is history make room: they are kept in a directory that has its date.
fn put_history_away(volume: &Volume, journal: &Journal) -> anyhow::Result<()> {
    let stamp = journal.begun_at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let kept = volume.ours().join(format!("earlier-{stamp}"));
    entries::put_away(&volume.ours(), &kept, &mut disk::Disk).context("put the records of an earlier restore away")
}

/// Refuses what does not go on here: another kind of restore, or one that was told to turn back.
fn admit(args: &RestoreArgs, journal: &Journal) -> Result<(), Failure> {
    let datadir = args.datadir.display();
    let Some(in_place) = &journal.in_place else {
        if !args.in_place {
            return Ok(());
        }
        let message = format!("\"{datadir}\" holds a restore of its own that has not ended");
        return Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message)
            .hint("it was begun on an empty volume, so no workload's data is there to be kept")
            .fix("the same command without --in-place goes on with it"));
    };
    if !in_place.is(args.restore_id.as_deref()) {
        let message = format!("\"{datadir}\" holds another restore in place by the same plan");
        return Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message)
            .hint("it may have ended long ago, and its data be in use since; nothing was changed")
            .fix("finish or abort that one first"));
    }
    let (state, fix) = match in_place.standing {
        Standing::Beside | Standing::Leaving | Standing::Entering | Standing::Exchanged => return Ok(()),
        Standing::Withdrawing | Standing::Returning => ("its old data is being put back", "abort again"),
        Standing::Returned => ("its old data was put back, what was restored is kept", "finish, then restore anew"),
        Standing::Finishing => ("what was kept of it is being deleted", "finish again"),
    };
    Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, format!("the restore on \"{datadir}\" does not go on: {state}"))
        .fix(fix))
}

/// Refuses data that a server runs on, and keeps every server from starting on it as long as the value lives.
pub(super) fn hold(root: &Path) -> anyhow::Result<DatadirLocks> {
    DatadirLocks::take(root)?.ok_or_else(|| {
        let message = format!("refusing --in-place: a server is running on \"{}\"", root.display());
        Failure::new(&code::IN_PLACE_REFUSED, message)
            .hint("its data is exchanged only while it stands still; nothing was moved")
            .fix("scale the workload to 0, then the same again")
            .into()
    })
}

/// The journal and the disk, while something is moved.
struct Work<'a> {
    places: Places,
    journal: &'a mut Journal,
    hand: &'a mut dyn Hand,
}

impl<'a> Work<'a> {
    /// `None` for a restore that has a volume of its own.
    fn new(root: &Path, journal: &'a mut Journal, hand: &'a mut dyn Hand) -> Option<Self> {
        let places = Places::new(root, journal.in_place.as_ref()?);
        Some(Self { places, journal, hand })
    }

    fn standing(&self) -> Standing {
        self.journal.in_place.as_ref().map_or(Standing::Beside, |in_place| in_place.standing)
    }

    /// Notes which way it goes, on the disk, before it goes.
    fn set(&mut self, standing: Standing) -> anyhow::Result<()> {
        if let Some(in_place) = &mut self.journal.in_place {
            in_place.may_be_used |= in_place.standing == Standing::Exchanged;
            in_place.standing = standing;
        }
        let text = self.journal.text()?;
        self.hand.write(&self.places.journal(), &text).context("write the journal")
    }
}

/// Where the old data lies once it was exchanged.
pub(super) fn aside(volume: &Volume, journal: &Journal) -> Option<PathBuf> {
    journal.in_place.as_ref().map(|in_place| Places::new(volume.root(), in_place).aside())
}

/// What the user of the restored data should know of the old.
pub(super) fn note(aside: &Path) -> String {
    format!(
        "the old data, its binary logs, its identity and everything else that lay with it are in {}: \"finish\" deletes them, \"abort\" brings them back; certificates that a server made for itself are made again",
        aside.display()
    )
}

/// Lets the restore work where its data is: beside the old data until the exchange. `hash` is that of the plan of a new restore.
pub(super) fn take_place(
    volume: &mut Volume,
    run_as: RunAs,
    (journal, hash, args): (Option<&Journal>, Option<&str>, &RestoreArgs),
) -> anyhow::Result<()> {
    let in_place = match (journal, hash) {
        (Some(journal), _) if journal.has_done(Phase::SafetyCopy) => None,
        (Some(journal), _) => journal.in_place.clone(),
        (None, hash) => hash.filter(|_| args.in_place).map(|hash| InPlace::of_plan(hash, args.restore_id.as_deref())),
    };
    let Some(in_place) = in_place else { return Ok(()) };
    let places = Places::new(volume.root(), &in_place);
    let beside = places.beside();
    if in_place.standing == Standing::Beside {
        for place in [places.ours(), beside.clone()] {
            fs::create_dir_all(&place).and_then(|()| run_as.own(&place)).context("make a place beside the old data")?;
        }
    }
    volume.stands_beside(beside);
    Ok(())
}
