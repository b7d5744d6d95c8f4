//! A store in a directory: a local disk, or a file system that several hosts share.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::error::{Call, Operation, StoreError};
use super::{ListedObject, OBJECT_BYTES_MAX, ObjectClass, ObjectInfo, Store};

/// How long other hosts may go on seeing an old directory: NFS caches directories for up to 60 s (`acdirmax`); twice that.
const REDUNDANT_FOR: Duration = Duration::from_secs(120);

/// How often a directory is read again until two readings agree. A directory that never rests gives what both saw.
const LISTINGS_MAX: usize = 10;

/// A temporary file that nobody has written to for so long is nobody's any more.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a file is begun anew because its directory went meanwhile.
const CREATIONS_MAX: usize = 5;

/// Temporary files start with this; no key does.
const TEMPORARY: &str = ".tmp-";

/// Objects as files of one directory.
///
/// An object appears by renaming a temporary file that was synced, and its directories are synced too, so what `put`
/// has answered survives a power failure and nobody ever sees a part of an object.
#[derive(Debug, Clone)]
pub struct FileStore {
    root: PathBuf,
    redundant_for: Duration,
}

impl FileStore {
    /// A store in `root`, which is made by the first `put`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), redundant_for: REDUNDANT_FOR }
    }

    /// The same store for a directory that only this host sees: redundant objects go at once.
    #[must_use]
    pub fn only_this_host(mut self) -> Self {
        self.redundant_for = Duration::ZERO;
        self
    }

    /// Runs file operations where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let call = Call::new(operation, key);
        if !key.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0')) {
            return Err(call.fatal("not a key of an archive"));
        }
        let path = self.root.join(key);
        let joined = tokio::task::spawn_blocking(move || work(&path)).await;
        joined.map_err(|_| call.cancelled())?.map_err(|error| failure(call, &error))
    }
}

/// An I/O error by what can be done about it.
fn failure(call: Call<'_>, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound => call.not_found(),
        ErrorKind::PermissionDenied => call.denied(error.to_string()),
        ErrorKind::InvalidData => call.corrupt(error.to_string()),
        // Somebody may make room, or remount; another attempt a moment later will not.
        ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            call.fatal(error.to_string())
        }
        _ => call.transient(error.to_string()),
    }
}

#[async_trait]
impl Store for FileStore {
    async fn put(&self, key: &str, bytes: Bytes, _class: ObjectClass) -> Result<(), StoreError> {
        self.blocking(Operation::Put, key, move |path| write(path, &bytes)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.blocking(Operation::Get, key, |path| read(path, 0..u64::MAX)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.blocking(Operation::Get, key, |path| read(path, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.blocking(Operation::Head, key, |path| info(&fs::metadata(path).map_err(not_below_an_object)?)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let (root, wanted) = (self.root.clone(), prefix.to_owned());
        let listed = tokio::task::spawn_blocking(move || list_until_stable(&root, &wanted)).await;
        let call = Call::new(Operation::List, prefix);
        listed.map_err(|_| call.cancelled())?.map_err(|error| failure(call, &error))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            let root = self.root.clone();
            let gone = self.blocking(Operation::Delete, key, move |path| {
                fs::remove_file(path)?;
                clear(path, &root);
                Ok(())
            });
            match gone.await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn redundant_for(&self) -> Duration {
        self.redundant_for
    }
}

/// Writes a whole file and makes it visible at once and for good.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let temporary = directory.join(format!("{TEMPORARY}{:016x}", rand::random::<u64>()));
    let written = (|| {
        let mut file = create_in(directory, &temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // What matters is why writing failed; a left-over goes with the next object that is deleted beside it.
        drop(fs::remove_file(&temporary));
    }
    written?;
    match sync_directory(directory) {
        // Deleted already, and the directory with it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

/// A new file. A directory that is empty may go, with the last object of a binlog, between its making and this.
fn create_in(directory: &Path, path: &Path) -> io::Result<File> {
    for _ in 1..CREATIONS_MAX {
        match make_directories(directory).and_then(|()| File::create_new(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            created => return created,
        }
    }
    make_directories(directory)?;
    File::create_new(path)
}

/// Takes away what is left beside an object that was deleted: temporary files of writers that died, and directories without content.
/// Whatever does not go, stays for the next one.
fn clear(deleted: &Path, root: &Path) {
    let Some(directory) = deleted.parent() else { return };
    let is_stale = |entry: &fs::DirEntry| {
        let is_temporary = entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY));
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok().filter(|_| is_temporary);
        modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > STALE)
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().filter(is_stale) {
        drop(fs::remove_file(entry.path()));
    }
    for empty in directory.ancestors().take_while(|ancestor| ancestor.parent().is_some_and(|above| above != root)) {
        // The system refuses as long as anything is in it.
        if fs::remove_dir(empty).is_err() {
            break;
        }
    }
}

/// Makes missing directories, and syncs the parents of those it made: else a power failure loses them with all inside.
fn make_directories(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for made in missing.into_iter().rev() {
        match fs::create_dir(made) {
            // Another archiver was faster.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Some(parent) = made.parent() {
            sync_directory(parent)?;
        }
    }
    Ok(())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn read(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    let mut file = File::open(path).map_err(not_below_an_object)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let length = metadata.len();
    let (start, end) = (range.start.min(length), range.end.min(length));
    let wanted = end.saturating_sub(start);
    if wanted > OBJECT_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("{wanted} bytes are more than any object has")));
    }
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).map_err(io::Error::other)?);
    file.take(wanted).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Where a store of keys would say that there is no such object, a file system says what is in the way.
fn not_below_an_object(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::NotADirectory { ErrorKind::NotFound.into() } else { error }
}

fn info(metadata: &fs::Metadata) -> io::Result<ObjectInfo> {
    if !metadata.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let modified = Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?;
    Ok(ObjectInfo { length: metadata.len(), modified })
}

/// Lists until two listings agree: a directory read while files come and go may miss some that were there all along.
fn list_until_stable(root: &Path, prefix: &str) -> io::Result<Vec<ListedObject>> {
    let mut before = list_once(root, prefix)?;
    for _ in 1..LISTINGS_MAX {
        let now = list_once(root, prefix)?;
        let agree = before.len() == now.len() && before.iter().zip(&now).all(|(a, b)| a.key == b.key);
        if agree {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}

fn list_once(root: &Path, prefix: &str) -> io::Result<Vec<ListedObject>> {
    // "tail/ab" lists what starts with "ab" in "tail".
    let directory = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
    if directory.split('/').any(|part| part == "..") {
        return Err(io::Error::new(ErrorKind::IsADirectory, "not a prefix of an archive"));
    }
    let mut listed = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let entries = match fs::read_dir(root.join(&directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // Not ours, and unnameable as a key.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let key = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            let may_match = key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"));
            if name.starts_with(TEMPORARY) || !may_match {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => pending.push(key),
                Ok(metadata) if metadata.is_file() => {
                    let ObjectInfo { length, modified } = info(&metadata)?;
                    listed.push(ListedObject { key, length, modified });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    listed.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(store: &FileStore, key: &str) {
        store.put(key, Bytes::from_static(b"content"), ObjectClass::Content).await.unwrap();
    }

    #[tokio::test]
    async fn a_delete_takes_along_what_is_left_beside_the_object() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path());
        let (one, two) = ("binlogs/server/0000000001-aa/1-a", "binlogs/server/0000000001-aa/2-b");
        put(&store, one).await;
        put(&store, two).await;
        put(&store, "binlogs/server/0000000002-bb/1-a").await;
        let folder = directory.path().join("binlogs/server/0000000001-aa");
        let left = |age: Duration| {
            let path = folder.join(format!("{TEMPORARY}{}", age.as_secs()));
            let file = File::create_new(&path).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now.checked_sub(age).unwrap()).unwrap();
            path
        };
        let (young, old) = (left(Duration::from_secs(60)), left(2 * STALE));
        store.delete(&[one.to_owned()]).await.unwrap();
        assert_eq!((young.exists(), old.exists()), (true, false), "somebody may still write to a young one");
        fs::remove_file(young).unwrap();
        assert!(folder.exists(), "an object is in it");
        store.delete(&[two.to_owned()]).await.unwrap();
        assert!(!folder.exists() && directory.path().join("binlogs/server").exists());
        store.delete(&["binlogs/server/0000000002-bb/1-a".to_owned()]).await.unwrap();
        assert!(!directory.path().join("binlogs/server").exists() && directory.path().join("binlogs").exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn writers_and_deleters_of_one_directory_do_not_stand_in_each_others_way() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path());
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                let key = format!("tail/server/0000000001-aa/{task}");
                for _ in 0..50 {
                    put(&store, &key).await;
                    assert_eq!(store.get(&key).await.unwrap(), "content");
                    store.delete(std::slice::from_ref(&key)).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        assert!(!directory.path().join("tail/server").exists());
    }
}
