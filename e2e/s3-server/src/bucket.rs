//! One bucket: a directory in which each object is a file at the path of its key, and an index of them in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is known of an object without opening its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Facts {
    fn read(metadata: &fs::Metadata) -> io::Result<Self> {
        Ok(Self { size: metadata.len(), modified: metadata.modified()? })
    }

    /// Changes whenever the object is written; S3 promises no more for an ETag.
    pub(crate) fn etag(&self) -> String {
        let since = self.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{:x}-{:x}", since.as_nanos(), self.size)
    }
}

/// What must hold for a write to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Absent,
    Etag(String),
}

/// Why a write was not done.
#[derive(Debug)]
pub(crate) enum WriteError {
    ConditionFailed,
    /// Some part of the key is an object already, or the key is the beginning of one: files cannot be both.
    KeyIsDirectory,
    Io(io::Error),
}

#[derive(Debug)]
pub(crate) struct Bucket {
    root: PathBuf,
    index: Mutex<BTreeMap<String, Facts>>,
}

impl Bucket {
    /// Opens the bucket at `root` and reads which objects it has.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        let mut index = BTreeMap::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if metadata.is_dir() {
                    directories.push(entry.path());
                } else if let Some(key) = entry.path().strip_prefix(&root).ok().and_then(Path::to_str) {
                    index.insert(key.to_owned(), Facts::read(&metadata)?);
                }
            }
        }
        Ok(Self { root, index: Mutex::new(index) })
    }

    fn index(&self) -> MutexGuard<'_, BTreeMap<String, Facts>> {
        // The index is changed in single steps only, so that a panic elsewhere leaves it whole.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a key's object is or would be; none for keys that would lead out of the bucket or are no file's name.
    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        let plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
        let exact = Path::new(key).components().map(|part| part.as_os_str().len() + 1).sum::<usize>() == key.len() + 1;
        (plain && exact).then(|| self.root.join(key))
    }

    pub(crate) fn facts(&self, key: &str) -> Option<Facts> {
        self.index().get(key).cloned()
    }

    /// Moves `file` to the place of `key`, if `condition` holds: test and write are one step.
    pub(crate) fn publish(
        &self,
        key: &str,
        path: &Path,
        file: &Path,
        condition: &Condition,
    ) -> Result<Facts, WriteError> {
        let mut index = self.index();
        let holds = match (condition, index.get(key)) {
            (Condition::Always, _) | (Condition::Absent, None) => true,
            (Condition::Absent, Some(_)) | (Condition::Etag(_), None) => false,
            (Condition::Etag(wanted), Some(facts)) => facts.etag() == *wanted,
        };
        if !holds {
            return Err(WriteError::ConditionFailed);
        }
        place(file, path).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                WriteError::KeyIsDirectory
            }
            _ => WriteError::Io(error),
        })?;
        let facts = fs::metadata(path).and_then(|metadata| Facts::read(&metadata)).map_err(WriteError::Io)?;
        index.insert(key.to_owned(), facts.clone());
        Ok(facts)
    }

    /// Removes an object; that there was none is no error.
    pub(crate) fn remove(&self, key: &str) -> io::Result<()> {
        let mut index = self.index();
        if index.remove(key).is_none() {
            return Ok(());
        }
        let path = self.root.join(key);
        fs::remove_file(&path)?;
        // Directories go with their last object; the first one that is not empty ends it.
        for directory in path.ancestors().skip(1).take_while(|directory| *directory != self.root) {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index().is_empty()
    }

    /// Up to `limit` entries after `after` whose keys begin with `prefix`, and whether there are more. Keys that have
    /// `delimiter` after the prefix are one entry for all of them, without facts.
    pub(crate) fn list(&self, page: &Page<'_>) -> (Vec<(String, Option<Facts>)>, bool) {
        let index = self.index();
        let from = match page.after {
            Some(after) if after >= page.prefix => Bound::Excluded(after),
            _ => Bound::Included(page.prefix),
        };
        let mut entries: Vec<(String, Option<Facts>)> = Vec::new();
        for (key, facts) in index.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(page.prefix) else { break };
            let folded = page.delimiter.and_then(|delimiter| {
                let end = rest.find(delimiter)? + delimiter.len();
                Some(&key[..page.prefix.len() + end])
            });
            let name = folded.unwrap_or(key);
            let seen = entries.last().is_some_and(|(last, _)| last == name);
            if seen || page.after.is_some_and(|after| name <= after) {
                continue;
            }
            if entries.len() == page.limit {
                return (entries, true);
            }
            entries.push((name.to_owned(), folded.is_none().then(|| facts.clone())));
        }
        (entries, false)
    }
}

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) delimiter: Option<&'a str>,
    pub(crate) after: Option<&'a str>,
    pub(crate) limit: usize,
}

fn place(file: &Path, path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::rename(file, path)
}
