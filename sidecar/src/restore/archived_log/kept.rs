//! Ranges of the log that were fetched last, on the volume: a run after a kill finds there what the killed one had fetched and its server
//! had not applied. Nothing rests on them: a file that is not what it was written as is not read, and one that cannot be written is not
//! kept.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use pitr_recovery::PlannedRange;
use sha2::{Digest as _, Sha256};

/// Bytes of the hash that each file ends with.
const HASH_BYTES: usize = 32;

/// The folder, and what is in it.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    bytes_max: u64,
    /// Names and lengths, oldest first.
    files: Mutex<VecDeque<(String, u64)>>,
}

impl Kept {
    /// What an earlier run has left. There will never be more than so many bytes.
    pub(super) fn open(folder: PathBuf, bytes_max: u64) -> Self {
        let files = Mutex::new(left_in(&folder));
        Self { folder, bytes_max, files }
    }

    /// A range's bytes, if they are there and whole.
    pub(super) async fn read(&self, range: &PlannedRange) -> Option<Bytes> {
        let name = name_of(range);
        if !self.names().iter().any(|(kept, _)| *kept == name) {
            return None;
        }
        let path = self.folder.join(name);
        let length = range.end - range.start;
        let read = tokio::task::spawn_blocking(move || whole(fs::read(path).ok()?, length)).await;
        read.ok().flatten()
    }

    /// Keeps a range's bytes, and lets go of the oldest.
    pub(super) async fn keep(&self, range: &PlannedRange, bytes: Bytes) {
        let (name, length) = (name_of(range), bytes.len() as u64);
        if length > self.bytes_max {
            return;
        }
        let folder = self.folder.clone();
        let old = self.make_room(&name, length);
        let written = {
            let name = name.clone();
            tokio::task::spawn_blocking(move || {
                old.iter().for_each(|old| drop(fs::remove_file(folder.join(old))));
                write(&folder, &name, &bytes)
            })
        };
        match written.await {
            Ok(Ok(())) => self.names().push_back((name, length)),
            Ok(Err(error)) => tracing::debug!(event = "not-kept", %error, "a range of the log is not kept"),
            Err(_) => {}
        }
    }

    /// The oldest files that must go for a new one of so many bytes.
    fn make_room(&self, name: &str, length: u64) -> Vec<String> {
        let mut files = self.names();
        files.retain(|(kept, _)| kept != name);
        let mut total: u64 = files.iter().map(|(_, length)| length).sum();
        let mut old = Vec::new();
        while total + length > self.bytes_max {
            let Some((name, length)) = files.pop_front() else { break };
            total -= length;
            old.push(name);
        }
        old
    }

    fn names(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, u64)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(range: &PlannedRange) -> String {
    format!("{}-{}-{}", range.start, range.end, hex::encode(range.raw_sha256))
}

/// The files of a folder, the oldest first. What was not written to its end goes.
fn left_in(folder: &Path) -> VecDeque<(String, u64)> {
    let mut found: Vec<(SystemTime, String, u64)> = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, Ok(metadata)) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata()) else {
            continue;
        };
        if Path::new(&name).extension().is_some() {
            drop(fs::remove_file(entry.path()));
            continue;
        }
        let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        found.push((written, name, metadata.len().saturating_sub(HASH_BYTES as u64)));
    }
    found.sort();
    found.into_iter().map(|(_, name, length)| (name, length)).collect()
}

/// For its owner alone. Not synced: after a crash of the machine the hash tells, and the range is fetched again.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    // The archive may be encrypted, and this is not.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = folder.join(name).with_extension("part");
    let written = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.write_all(&Sha256::digest(bytes))?;
        fs::rename(&part, folder.join(name))
    };
    written().inspect_err(|_| drop(fs::remove_file(&part)))
}

/// The bytes of a file without the hash that it ends with, if that is theirs.
fn whole(file: Vec<u8>, length: u64) -> Option<Bytes> {
    let file = Bytes::from(file);
    let at = file.len().checked_sub(HASH_BYTES).filter(|at| *at as u64 == length)?;
    (Sha256::digest(&file[..at])[..] == file[at..]).then(|| file.slice(..at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PlannedRange {
        PlannedRange { start, end, raw_sha256: [7; 32], objects: Vec::new() }
    }

    fn bytes(range: &PlannedRange) -> Bytes {
        vec![range.start as u8; (range.end - range.start) as usize].into()
    }

    #[tokio::test]
    async fn a_later_run_finds_what_was_fetched_last_and_nothing_that_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("fetched");
        let kept = Kept::open(place.clone(), 250);
        let ranges = [range(0, 100), range(100, 200), range(200, 300), range(300, 600)];
        for range in &ranges {
            assert_eq!(kept.read(range).await, None);
            kept.keep(range, bytes(range)).await;
        }
        // The oldest went for the third, and the last is larger than all that is kept.
        std::fs::write(place.join("x.part"), "cut short").unwrap();
        let later = Kept::open(place.clone(), 250);
        for (range, is_there) in ranges.iter().zip([false, true, true, false]) {
            assert_eq!(later.read(range).await, is_there.then(|| bytes(range)), "{range:?}");
        }
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 2);

        let file = place.join(name_of(&ranges[1]));
        let whole = std::fs::read(&file).unwrap();
        for damaged in [vec![0; whole.len()], whole[..99].to_vec(), Vec::new()] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(later.read(&ranges[1]).await, None);
        }
        // Kept again by the run that found it damaged.
        later.keep(&ranges[1], bytes(&ranges[1])).await;
        assert_eq!(later.read(&ranges[1]).await, Some(bytes(&ranges[1])));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("fetched");
        std::fs::write(&place, "a file").unwrap();
        let kept = Kept::open(place, 250);
        kept.keep(&range(0, 100), bytes(&range(0, 100))).await;
        assert_eq!(kept.read(&range(0, 100)).await, None);
    }
}
