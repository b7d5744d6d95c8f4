//! The spool: binlogs of a server that is not here, laid out as its data directory would be, until they are archived.
//!
//! ```text
//! auto.cnf          whose they are
//! lock              who receives into it
//! binlog.index      which there are, in the server's order; the last one is being received
//! 1/binlog.000042   the bytes; another folder after each RESET, when names return
//! ```
//! The rest of the archiver reads it as it reads a data directory. It is a cache: whatever is lost with it is asked for again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use pitr_binlog::{BinlogName, MAGIC};
use pitr_recovery::BinlogId;

use super::tape::Tape;
use crate::archiver::Pipeline;
use crate::archiver::head::identify;
use crate::discovery::BinlogFile;

/// The base name of the spool's index, whatever the server's files are called.
pub(crate) const INDEX_BASE: &str = "binlog";
/// Readable by nobody else: these bytes may be encrypted where they come from.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// One binlog in the spool.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    /// Its name.
    pub(super) name: BinlogName,
    /// Which of the server's histories it belongs to.
    round: u64,
    /// Which binlog it is, once somebody has looked.
    id: Option<BinlogId>,
}

/// The spool.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    source: String,
    entries: Vec<Spooled>,
    round: u64,
}

impl Spool {
    /// Whose binlogs a spool holds; none before its first use.
    pub(super) fn owner(folder: &Path) -> io::Result<Option<String>> {
        match fs::read_to_string(folder.join("auto.cnf")) {
            Ok(text) => Ok(text.lines().find_map(|line| line.strip_prefix("server-uuid=")).map(str::to_owned)),
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(reason),
        }
    }

    /// Takes the spool for this process, for as long as the result lives: two that receive into one would write over each other. An error
    /// of the kind `WouldBlock`: another one has it.
    pub(super) fn lock(folder: &Path) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let lock = OpenOptions::new().write(true).create(true).mode(FILE_MODE).open(folder.join("lock"))?;
        lock.try_lock()?;
        Ok(lock)
    }

    /// Makes an empty spool for the server with this UUID.
    pub(super) fn create(folder: &Path, source: &str) -> io::Result<()> {
        replace(&index_of(folder), b"")?;
        replace(&folder.join("auto.cnf"), format!("[auto]\nserver-uuid={source}\n").as_bytes())
    }

    /// Opens what an earlier process left.
    pub(super) fn open(folder: &Path, source: &str) -> io::Result<Self> {
        let text = match fs::read_to_string(index_of(folder)) {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        let entries: Vec<Spooled> = text.lines().filter_map(|line| parse(line, folder)).collect();
        let round = entries.iter().map(|entry| entry.round).max().unwrap_or(1);
        Ok(Self { folder: folder.to_owned(), source: source.to_owned(), entries, round })
    }

    /// The binlog that is being received.
    pub(super) fn last(&self) -> Option<&Spooled> {
        self.entries.last()
    }

    /// Whether a binlog of the server's present history is here.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.round == self.round && entry.name.as_str() == name)
    }

    /// Bytes that wait to be archived, but for the binlog that is being received.
    pub(super) fn waiting_bytes(&self) -> u64 {
        let closed = &self.entries[..self.entries.len().saturating_sub(1)];
        closed.iter().filter_map(|entry| fs::metadata(self.path(entry)).ok()).map(|metadata| metadata.len()).sum()
    }

    /// The length of a binlog here.
    pub(super) fn length(&self, entry: &Spooled) -> io::Result<u64> {
        fs::metadata(self.path(entry)).map(|metadata| metadata.len())
    }

    /// Where a binlog lies.
    pub(super) fn path(&self, entry: &Spooled) -> PathBuf {
        self.folder.join(entry.line())
    }

    /// Which binlog it is.
    pub(super) fn identify(&self, entry: &Spooled) -> io::Result<BinlogId> {
        let file = BinlogFile::open(&self.path(entry))?;
        let binlog = identify(&file, &entry.name, &self.source).map_err(io::Error::other)?;
        Ok(binlog.id)
    }

    /// Begins the server's next binlog: those before it are complete.
    pub(super) fn begin(&mut self, name: &BinlogName) -> io::Result<Tape> {
        let entry = Spooled { name: name.clone(), round: self.round, id: None };
        let path = self.path(&entry);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(&path)?;
        file.write_all(&MAGIC)?;
        self.entries.push(entry);
        self.write_index()?;
        Tape::new(file, name.clone(), MAGIC.len() as u64)
    }

    /// Lets the last binlog go as it is.
    pub(super) fn take_back_last(&mut self) -> io::Result<()> {
        let Some(entry) = self.entries.pop() else { return Ok(()) };
        self.write_index()?;
        remove(&self.path(&entry))
    }

    /// What follows is of another history: its names mean other files.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Removes what is archived.
    pub(super) fn clean(&mut self, pipeline: &Pipeline) -> io::Result<()> {
        let closed = self.entries.len().saturating_sub(1);
        let mut archived = Vec::new();
        for at in 0..closed {
            if self.is_archived(at, pipeline) {
                archived.push(at);
            }
        }
        if archived.is_empty() {
            return Ok(());
        }
        let gone: Vec<Spooled> = archived.iter().rev().map(|at| self.entries.remove(*at)).collect();
        self.write_index()?;
        gone.iter().try_for_each(|entry| remove(&self.path(entry)))
    }

    fn is_archived(&mut self, at: usize, pipeline: &Pipeline) -> bool {
        let path = self.path(&self.entries[at]);
        let entry = &mut self.entries[at];
        let Ok(file) = BinlogFile::open(&path) else { return false };
        if entry.id.is_none() {
            entry.id = identify(&file, &entry.name, &self.source).ok().map(|binlog| binlog.id);
        }
        let (Some(id), Ok(stat)) = (&entry.id, file.stat()) else { return false };
        pipeline.is_expired(id) || pipeline.ledger().progress(id).is_done(stat.size)
    }

    fn write_index(&self) -> io::Result<()> {
        let text: String = self.entries.iter().map(|entry| format!("{}\n", entry.line())).collect();
        replace(&index_of(&self.folder), text.as_bytes())
    }
}

impl Spooled {
    fn line(&self) -> String {
        format!("{}/{}", self.round, self.name)
    }
}

fn parse(line: &str, folder: &Path) -> Option<Spooled> {
    let (round, name) = line.split_once('/')?;
    let entry = Spooled { name: BinlogName::parse(name).ok()?, round: round.parse().ok()?, id: None };
    folder.join(line).is_file().then_some(entry)
}

fn index_of(folder: &Path) -> PathBuf {
    folder.join(format!("{INDEX_BASE}.index"))
}

/// Whoever reads the file sees the old content or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(new, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => Err(reason),
        _ => Ok(()),
    }
}

/// Reads a file from its beginning in pieces.
pub(super) fn pieces(file: &mut File, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    const PIECE: usize = 256 << 10;
    let mut buffer = vec![0; PIECE];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 || !take(&buffer[..count]) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use pitr_binlog::BinlogName;

    use super::Spool;
    use crate::config::SourceConfig;
    use crate::discovery;

    fn name(text: &str) -> BinlogName {
        BinlogName::parse(text).unwrap()
    }

    #[test]
    fn it_is_read_as_a_data_directory_and_names_may_return() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("spool");
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        assert_eq!(Spool::owner(&folder).unwrap(), None);
        let lock = Spool::lock(&folder).unwrap();
        assert_eq!(Spool::lock(&folder).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "one at a time");
        drop(lock);
        drop(Spool::lock(&folder).unwrap());
        Spool::create(&folder, uuid).unwrap();
        assert_eq!(Spool::owner(&folder).unwrap().as_deref(), Some(uuid));
        let config = SourceConfig {
            datadir: folder.clone(),
            binlog_basename: Some(super::INDEX_BASE.into()),
            ..SourceConfig::default()
        };
        assert!(discovery::look(&config).unwrap().entries.is_empty());
        let mut spool = Spool::open(&folder, uuid).unwrap();
        drop((spool.begin(&name("b.000001")).unwrap(), spool.begin(&name("b.000002")).unwrap()));
        assert_eq!(spool.waiting_bytes(), 4);
        spool.take_back_last().unwrap();
        assert!(spool.holds("b.000001"));
        spool.begin_round();
        assert!(!spool.holds("b.000001"), "a name of the history before means another file");
        drop(spool.begin(&name("b.000001")).unwrap());
        let found = discovery::look(&config).unwrap();
        let paths: Vec<_> = found.entries.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!((found.source.as_str(), paths), (uuid, vec![folder.join("1/b.000001"), folder.join("2/b.000001")]));
        let again = Spool::open(&folder, uuid).unwrap();
        assert!(again.holds("b.000001") && again.entries.len() == 2 && again.round == 2);
    }
}
