//! safety-copy: the old data goes aside and the verified data takes its place.

use std::path::Path;

use anyhow::Context as _;
use pitr_recovery::code;

use super::super::journal::Phase;
use super::super::phases::Restore;
use super::disk::Disk;
use super::entries::{GUARD, GUARD_TEXT, Way, names, transfer, unmovable, without_tables};
use super::{Standing, Work, hold};
use crate::error::Failure;
use crate::progress::Unit;

/// Exchanges the data, or goes on with it where an earlier run was killed.
pub(in super::super) fn run(restore: &mut Restore<'_>) -> anyhow::Result<()> {
    restore.enter(Phase::SafetyCopy);
    restore.progress.begin(Phase::SafetyCopy.name(), Unit::Files, 0, 1);
    let root = restore.volume.root().to_owned();
    if let Some(work) = &mut Work::new(&root, &mut restore.journal, &mut Disk) {
        work.exchange()?;
    }
    restore.volume.stands_on_root();
    restore.done(Phase::SafetyCopy)?;
    restore.progress.set(1);
    restore.progress.end();
    Ok(())
}

impl Work<'_> {
    /// Until the restored data is in place.
    pub(super) fn exchange(&mut self) -> anyhow::Result<()> {
        loop {
            match self.standing() {
                Standing::Beside => {
                    let _held = hold(&self.places.root)?;
                    self.refuse_unmovable()?;
                    self.set(Standing::Leaving)?;
                }
                Standing::Leaving => {
                    self.leave("old data", &self.places.aside(), Standing::Entering)?;
                }
                Standing::Entering => {
                    self.enter()?;
                    self.set(Standing::Exchanged)?;
                }
                Standing::Exchanged
                | Standing::Withdrawing
                | Standing::Returning
                | Standing::Returned
                | Standing::Finishing => return Ok(()),
            }
        }
    }

    /// Moves the data that is in place to where it is kept; nobody starts a server on it meanwhile.
    pub(super) fn leave(&mut self, what: &str, place: &Path, then: Standing) -> anyhow::Result<()> {
        let _held = hold(&self.places.root)?;
        self.guard()?;
        self.hand.make(place).with_context(|| format!("make a place for the {what}"))?;
        transfer(&self.places, place, Way::Out, self.hand).with_context(|| format!("move the {what} aside"))?;
        self.set(then)
    }

    fn refuse_unmovable(&self) -> anyhow::Result<()> {
        let root = &self.places.root;
        let Some((name, why)) = unmovable(root).context("look at the old data")? else { return Ok(()) };
        let message = format!("refusing --in-place: \"{}\" cannot be moved: {why}", root.join(name).display());
        Err(Failure::new(&code::IN_PLACE_REFUSED, message)
            .hint("the old data is in its place; nothing was moved")
            .fix("mend that and go on, or abort and restore onto a new volume")
            .into())
    }

    fn enter(&mut self) -> anyhow::Result<()> {
        let beside = self.places.beside();
        // Once all of it is in place a server may run on it.
        if !names(&beside).context("list the restored data")?.is_empty() {
            let _held = hold(&self.places.root)?;
            self.guard()?;
            transfer(&self.places, &beside, Way::In, self.hand).context("move the restored data to its place")?;
        }
        self.hand.remove(&beside).context("remove an empty directory")?;
        self.make_again().context("make the directories of the server's settings again")?;
        self.unguard()
    }

    /// Directories of the old data without tables may be where the server's settings lead: binlogs, logs, temporary files. It does not
    /// start where one of these is absent; an empty one it takes for nothing.
    fn make_again(&mut self) -> std::io::Result<()> {
        let (root, aside) = (self.places.root.clone(), self.places.aside());
        for path in without_tables(&aside)? {
            let made = root.join(&path);
            if !made.exists() {
                self.hand.make_like(&made, &aside.join(&path))?;
            }
        }
        Ok(())
    }

    /// Keeps servers from making new data where there is none for a moment.
    pub(super) fn guard(&mut self) -> anyhow::Result<()> {
        self.hand.write(&self.places.root.join(GUARD), GUARD_TEXT.as_bytes()).context("guard the data directory")
    }

    /// Lets servers start again.
    pub(super) fn unguard(&mut self) -> anyhow::Result<()> {
        self.hand.remove(&self.places.root.join(GUARD)).context("remove the guard of the data directory")?;
        self.hand.sync(&self.places.root).context("sync the data directory")
    }
}
