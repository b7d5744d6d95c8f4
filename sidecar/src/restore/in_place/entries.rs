//! Entries of a data directory on their way from one directory to another.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatxFlags, access, statx};

use super::super::volume::{FILE_SYSTEM_S_OWN, OURS};
use super::Places;
use super::disk::Hand;

/// Lies in the data directory while data is exchanged: a server initialises an empty directory without being asked, and its image's
/// entry point asks it to. With a file in it, it does not.
pub(super) const GUARD: &str = "RESTORE-IN-PROGRESS";
/// What the guard says to whoever finds it.
pub(super) const GUARD_TEXT: &str = "kubectl pitr is exchanging the data in this directory, or was killed while it did.\n\
No new database is made here meanwhile. Go on:    kubectl pitr restores resume NAME\nor turn back:    kubectl pitr restores abort NAME\n\
After an abort that was killed, only abort goes on.\n";

/// No server starts without these: they are the first to leave the data directory and the last to enter it, so that a server which
/// somebody starts meanwhile ends at once instead of running on half of the data.
const NEEDED: [&str; 3] = ["mysql.ibd", "#innodb_redo", "ibdata1"];

/// Which way entries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Out of the data directory.
    Out,
    /// Into the data directory.
    In,
}

/// Moves everything, in an order in which no server starts on a part of it. What is in the way in the data directory was left there
/// by a server that could not start: it goes to the strays, in the place of an earlier one of its name.
pub(super) fn transfer(places: &Places, other: &Path, way: Way, hand: &mut dyn Hand) -> io::Result<()> {
    let root = places.root.as_path();
    let (from, to) = if way == Way::Out { (root, other) } else { (other, root) };
    for name in in_order(from, way)? {
        if fs::symlink_metadata(to.join(&name)).is_ok() {
            let strays = places.strays();
            hand.make(&strays)?;
            hand.remove(&strays.join(&name))?;
            hand.rename(&root.join(&name), &strays.join(&name))?;
            if way == Way::Out {
                continue;
            }
        }
        hand.rename(&from.join(&name), &to.join(&name))?;
    }
    hand.sync(other)?;
    hand.sync(root)
}

/// The first entry of a data directory that could not be moved out of it, and why: looked for before anything is moved.
pub(super) fn unmovable(root: &Path) -> io::Result<Option<(OsString, &'static str)>> {
    let home = mount_of(root)?;
    for name in in_order(root, Way::Out)? {
        let path = root.join(&name);
        if mount_of(&path)? != home {
            return Ok(Some((name, "it is a mount of its own")));
        }
        // A directory that changes its parent is written to.
        if fs::symlink_metadata(&path)?.is_dir() && access(&path, Access::WRITE_OK).is_err() {
            return Ok(Some((name, "it may not be written to")));
        }
    }
    Ok(None)
}

/// Tells mounts apart, also two of one file system where the kernel says so.
fn mount_of(path: &Path) -> io::Result<(u32, u32, Option<u64>)> {
    let about = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
    let mount = (about.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(about.stx_mnt_id);
    Ok((about.stx_dev_major, about.stx_dev_minor, mount))
}

/// The names of what is to be moved from a directory.
fn in_order(from: &Path, way: Way) -> io::Result<Vec<OsString>> {
    let rank = |name: &OsStr| NEEDED.iter().position(|needed| name == *needed).unwrap_or(NEEDED.len());
    let mut names = names(from)?;
    if way == Way::Out {
        names.retain(|name| ![OURS, GUARD, FILE_SYSTEM_S_OWN].iter().any(|stays| name == stays));
    }
    names.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    if way == Way::In {
        names.reverse();
    }
    Ok(names)
}

/// The names in a directory; none in one that is not there.
pub(super) fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(reason) => Err(reason),
    }
}

/// Endings of the files that tables consist of, in any engine of the server.
const TABLES: [&str; 8] = ["ibd", "sdi", "MYD", "MYI", "frm", "CSV", "ARZ", "MRG"];

/// The directories in a data directory whose files, if there are any, are no tables: each with all that are in it, from the top down.
pub(super) fn without_tables(datadir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in names(datadir)? {
        let is_the_server_s_own = name == FILE_SYSTEM_S_OWN || name.as_encoded_bytes().starts_with(b"#");
        if !is_the_server_s_own && !name.as_encoded_bytes().starts_with(b".") {
            found.extend(tree_without_tables(datadir, Path::new(&name))?.unwrap_or_default());
        }
    }
    Ok(found)
}

/// `None` for what is no directory, or has a table somewhere.
fn tree_without_tables(datadir: &Path, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    if !fs::symlink_metadata(datadir.join(path))?.is_dir() {
        return Ok(None);
    }
    let mut found = vec![path.to_owned()];
    for name in names(&datadir.join(path))? {
        let inner = path.join(&name);
        if inner.extension().is_some_and(|ending| TABLES.iter().any(|table| ending == *table)) {
            return Ok(None);
        }
        if fs::symlink_metadata(datadir.join(&inner))?.is_dir() {
            let Some(more) = tree_without_tables(datadir, &inner)? else { return Ok(None) };
            found.extend(more);
        }
    }
    Ok(Some(found))
}

/// Moves the records of an earlier restore into a directory of their own; the journal, which tells that they are to be moved, last.
pub(super) fn put_away(ours: &Path, kept: &Path, hand: &mut dyn Hand) -> io::Result<()> {
    let is_journal = |name: &OsString| name == "journal.json";
    let stays = |name: &OsStr| name == "lock" || name.to_str().is_some_and(|name| name.starts_with("earlier-"));
    let mut names: Vec<OsString> = names(ours)?.into_iter().filter(|name| !stays(name)).collect();
    names.sort_by_key(is_journal);
    hand.make(kept)?;
    for name in names {
        hand.rename(&ours.join(&name), &kept.join(&name))?;
    }
    hand.sync(kept)?;
    hand.sync(ours)
}
