//! Dies before and after each single change of the disk, and looks at what is left: no server may start on half of the data, going on
//! must end in the exchange, and turning back in exactly the old data.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use clap::Parser as _;
use jiff::Timestamp;

use super::super::journal::{Journal, Phase, Purpose};
use super::disk::{Disk, Hand};
use super::ending::{Kept, VolumeArgs, refuse_another};
use super::entries::{GUARD, put_away, unmovable};
use super::{InPlace, Standing, Work, admit, is_history};
use crate::cli::{Cli, Verb};

const OLD: [(&str, &str); 8] = [
    ("mysql.ibd", "old"),
    ("ibdata1", "old"),
    ("#innodb_redo/#ib_redo7", "old"),
    ("auto.cnf", "old"),
    ("d/t.ibd", "old"),
    ("binlog.000007", "old"),
    ("binlog.index", "old"),
    ("logs/error.log", "old"),
];
const NEW: [(&str, &str); 6] = [
    ("mysql.ibd", "new"),
    ("ibdata1", "new"),
    ("auto.cnf", "new"),
    ("#innodb_redo/#ib_redo1", "new"),
    ("d/t.ibd", "new"),
    ("e/t.ibd", "new"),
];

/// Dies at a change of the disk: before it, or when it is done.
struct Mortal {
    left: usize,
    after: bool,
}

impl Mortal {
    fn step(&mut self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.left {
            0 => {
                if self.after {
                    change()?;
                }
                Err(io::Error::other("killed"))
            }
            _ => {
                self.left -= 1;
                change()
            }
        }
    }
}

impl Hand for Mortal {
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| Disk.rename(from, to))
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|| Disk.write(path, bytes))
    }

    fn make(&mut self, directory: &Path) -> io::Result<()> {
        self.step(|| Disk.make(directory))
    }

    fn make_like(&mut self, directory: &Path, other: &Path) -> io::Result<()> {
        self.step(|| Disk.make_like(directory, other))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        if self.left == 0 && path.is_dir() {
            // A tree is not removed at once.
            if let Some(entry) = fs::read_dir(path)?.next() {
                Disk.remove(&entry?.path())?;
            }
        }
        self.step(|| Disk.remove(path))
    }

    fn sync(&mut self, directory: &Path) -> io::Result<()> {
        self.step(|| Disk.sync(directory))
    }
}

fn put(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Every file below a directory, but for ours at its top.
fn picture(root: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name == ".pitr" => {}
                true => directories.push(path),
                false => drop(files.insert(name, fs::read_to_string(path).unwrap())),
            }
        }
    }
    files
}

fn of(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn journal() -> Journal {
    let mut journal = Journal::begin(Purpose::Plan("sha256:0123456789abcdef".into()), Timestamp::UNIX_EPOCH);
    journal.done = Some(Phase::StopServer);
    journal.in_place = Some(InPlace::of_plan("sha256:0123456789abcdef", Some("back")));
    journal
}

/// A workload's data, and verified data beside it.
fn volume() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, &OLD);
    fs::create_dir(root.join("lost+found")).unwrap();
    put(&root.join(".pitr/beside-0123456789ab"), &NEW);
    put(&root.join(".pitr"), &[("lock", ""), ("plan.json", "{}"), ("mysqld.log", "")]);
    journal().write(&root.join(".pitr/journal.json")).unwrap();
    folder
}

/// What one run does, with the journal as it is on the disk. `None`: there is no journal any more.
fn run(root: &Path, hand: &mut dyn Hand, step: fn(&mut Work<'_>) -> anyhow::Result<()>) -> Option<anyhow::Result<()>> {
    let mut journal = Journal::read(&root.join(".pitr/journal.json")).unwrap()?;
    Some(step(&mut Work::new(root, &mut journal, hand).unwrap()))
}

fn exchange(work: &mut Work<'_>) -> anyhow::Result<()> {
    work.exchange()
}

fn abort(work: &mut Work<'_>) -> anyhow::Result<()> {
    work.abort().map(drop)
}

fn finish(work: &mut Work<'_>) -> anyhow::Result<()> {
    work.finish(None).map(drop)
}

/// The exchange is journaled, and the restore handed over.
fn hand_over(root: &Path) {
    let path = root.join(".pitr/journal.json");
    let mut journal = Journal::read(&path).unwrap().unwrap();
    journal.done = Some(Phase::HandOver);
    journal.write(&path).unwrap();
    put(&root.join(".pitr"), &[("RESTORED.json", "{}")]);
}

/// A server that somebody starts now has all of the old data or all of the new, or cannot start. One that cannot leaves some files.
fn somebody_starts_a_server(root: &Path, at: &str) {
    let mut held = picture(root);
    let guarded = held.remove(GUARD).is_some();
    if held == of(&OLD) || held == of(&NEW) {
        return;
    }
    let starts = ["mysql.ibd", "ibdata1"].iter().all(|name| held.contains_key(*name));
    assert!(!starts && guarded, "{at}: a server starts on {held:#?}");
    for name in ["auto.cnf", "binlog.index"] {
        if !root.join(name).exists() {
            put(root, &[(name, "stray")]);
        }
    }
}

fn ours(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root.join(".pitr"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Every way to die on the way: how many changes before, and on which side of one.
fn deaths() -> impl Iterator<Item = Mortal> {
    (0..).flat_map(|left| [false, true].map(|after| Mortal { left, after }))
}

/// Lets `step` die in each way until it does not; `then` looks at what is left. Gives the number of deaths.
fn kill_in_each_way(
    begin: impl Fn() -> tempfile::TempDir,
    step: fn(&mut Work<'_>) -> anyhow::Result<()>,
    then: impl Fn(&Path, &str),
) -> usize {
    for (count, mut death) in deaths().enumerate() {
        let folder = begin();
        let at = format!("killed {} change {}", if death.after { "after" } else { "before" }, death.left);
        let survived = run(folder.path(), &mut death, step).is_none_or(|done| done.is_ok());
        then(folder.path(), &at);
        if survived {
            return count;
        }
    }
    unreachable!()
}

#[test]
fn an_exchange_goes_on_from_anywhere() {
    let deaths = kill_in_each_way(volume, exchange, |root, at| {
        somebody_starts_a_server(root, at);
        run(root, &mut Disk, exchange).unwrap().unwrap();
        // An empty index that such a server made is no harm where the restored data has none.
        let mut held = picture(root);
        held.retain(|name, text| !(text == "stray" && name == "binlog.index"));
        assert_eq!(held, of(&NEW), "{at}");
        assert!(root.join("lost+found").is_dir());
        let kept = picture(&root.join(".pitr/aside-0123456789ab"));
        assert_eq!(kept, of(&OLD), "{at}");
    });
    assert!(deaths > 30, "{deaths}");
}

#[test]
fn an_exchange_turns_back_from_anywhere() {
    kill_in_each_way(volume, exchange, |root, at| {
        somebody_starts_a_server(root, at);
        let mut held = picture(root);
        held.remove(GUARD);
        run(root, &mut Disk, abort).unwrap().unwrap();
        assert_eq!(picture(root), of(&OLD), "{at}");
        if held == of(&NEW) {
            // It was there whole, and a server may have run on it, also before the journal said so.
            assert_eq!(picture(&root.join(".pitr/withdrawn-0123456789ab")), of(&NEW), "{at}");
        }
        if Journal::read(&root.join(".pitr/journal.json")).unwrap().is_none() {
            assert_eq!(ours(root), ["lock"], "{at}");
        }
    });
}

#[test]
fn turning_back_goes_on_from_anywhere() {
    for changes in [0, 5, 9, 12, 16, 19, 22, 100] {
        let begin = || {
            let folder = volume();
            drop(run(folder.path(), &mut Mortal { left: changes, after: false }, exchange));
            folder
        };
        let deaths = kill_in_each_way(begin, abort, |root, at| {
            let at = format!("{changes} changes there, then {at}");
            somebody_starts_a_server(root, &at);
            let again = run(root, &mut Disk, abort);
            assert!(again.is_none_or(|done| done.is_ok()), "{at}");
            assert_eq!(picture(root), of(&OLD), "{at}");
        });
        assert!(deaths > 10, "{deaths}");
    }
}

#[test]
fn what_may_have_been_used_is_kept_until_it_is_finished() {
    let begin = || {
        let folder = volume();
        run(folder.path(), &mut Disk, exchange).unwrap().unwrap();
        hand_over(folder.path());
        put(folder.path(), &[("d/t.ibd", "written since")]);
        folder
    };
    kill_in_each_way(begin, abort, |root, at| {
        run(root, &mut Disk, abort).unwrap().unwrap();
        assert_eq!(picture(root), of(&OLD), "{at}");
        let kept = picture(&root.join(".pitr/withdrawn-0123456789ab"));
        assert_eq!(kept.get("d/t.ibd").map(String::as_str), Some("written since"), "{at}");
        assert_eq!(kept.len(), NEW.len(), "{at}");
        run(root, &mut Disk, finish).unwrap().unwrap();
        assert_eq!(picture(root), of(&OLD), "{at}");
        assert_eq!(ours(root), ["lock"], "{at}");
    });
}

#[test]
fn finishing_goes_on_from_anywhere_and_cannot_be_turned_back() {
    let begin = || {
        let folder = volume();
        run(folder.path(), &mut Disk, exchange).unwrap().unwrap();
        hand_over(folder.path());
        folder
    };
    kill_in_each_way(begin, finish, |root, at| {
        if let Some(journal) = Journal::read(&root.join(".pitr/journal.json")).unwrap()
            && journal.in_place.as_ref().unwrap().standing == Standing::Finishing
        {
            let turned = run(root, &mut Disk, abort).unwrap().unwrap_err();
            assert!(turned.to_string().contains("is being deleted"), "{turned}");
        }
        assert!(run(root, &mut Disk, finish).is_none_or(|done| done.is_ok()), "{at}");
        assert_eq!(picture(root), of(&NEW), "{at}");
        assert_eq!(ours(root), ["RESTORED.json", "lock"], "{at}");
    });
}

#[test]
fn the_old_data_is_not_deleted_while_it_is_needed() {
    let folder = volume();
    let refused = run(folder.path(), &mut Disk, finish).unwrap().unwrap_err();
    assert!(refused.to_string().contains("has not ended"), "{refused}");
    run(folder.path(), &mut Disk, exchange).unwrap().unwrap();
    // Exchanged and not handed over: the same.
    assert!(run(folder.path(), &mut Disk, finish).unwrap().is_err());
    assert_eq!(picture(&folder.path().join(".pitr/aside-0123456789ab")), of(&OLD));
}

#[test]
fn only_what_was_asked_for_is_ended() {
    let folder = volume();
    let root = folder.path();
    run(root, &mut Disk, exchange).unwrap().unwrap();
    hand_over(root);
    let mut journal = Journal::read(&root.join(".pitr/journal.json")).unwrap().unwrap();
    journal.plan_hash = Some("sha256:0123456789abcdef".to_owned());
    let with_id = |hash: Option<&str>, id: Option<&str>| VolumeArgs {
        datadir: "/d".into(),
        plan_hash: hash.map(str::to_owned),
        restore_id: id.map(str::to_owned),
        output: None,
    };
    let args = |hash: Option<&str>| with_id(hash, None);
    refuse_another(&args(None), &journal).unwrap();
    refuse_another(&args(Some("sha256:0123456789abcdef")), &journal).unwrap();
    // Longer than the name of its directories: the whole hash is compared.
    let refused = refuse_another(&args(Some("sha256:0123456789abffff")), &journal).unwrap_err();
    assert!(refused.to_string().contains("holds the restore of another plan"), "{refused}");
    refuse_another(&with_id(Some("sha256:0123456789abcdef"), Some("back")), &journal).unwrap();
    let refused = refuse_another(&with_id(Some("sha256:0123456789abcdef"), Some("later")), &journal).unwrap_err();
    assert!(refused.to_string().contains("holds another restore in place by the same plan"), "{refused}");
    let withdrawn = |work: &mut Work<'_>| work.finish(Some(Kept::Restored)).map(drop);
    let refused = run(root, &mut Disk, withdrawn).unwrap().unwrap_err();
    assert!(refused.to_string().contains("the old data is kept here"), "{refused}");
    assert_eq!(picture(&root.join(".pitr/aside-0123456789ab")), of(&OLD));
    run(root, &mut Disk, |work| work.finish(Some(Kept::Old)).map(drop)).unwrap().unwrap();
    assert_eq!(picture(root), of(&NEW));
}

/// Without them the server does not start: binlogs, logs and temporary files may have directories below the data directory.
#[test]
fn directories_without_tables_are_made_again_and_leave_with_an_abort() {
    let folder = volume();
    let root = folder.path();
    put(
        root,
        &[
            ("logs/bin/binlog.000001", "old"),
            ("later/t.ibd", "old"),
            ("mixed/sub/t.MYD", "old"),
            ("mixed/a.txt", "old"),
        ],
    );
    fs::create_dir(root.join("tmp")).unwrap();
    let before = picture(root);
    run(root, &mut Disk, exchange).unwrap().unwrap();
    assert_eq!(picture(root), of(&NEW), "only directories were made");
    for (path, expected) in [("logs/bin", true), ("tmp", true), ("later", false), ("mixed", false)] {
        assert_eq!(root.join(path).is_dir(), expected, "{path}");
    }
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions();
    assert_eq!(mode("tmp"), mode(".pitr/aside-0123456789ab/tmp"));
    run(root, &mut Disk, |work| work.abort().map(drop)).unwrap().unwrap();
    assert_eq!(picture(root), before);
}

#[test]
fn what_cannot_be_moved_is_seen_before_anything_is() {
    let folder = volume();
    assert_eq!(unmovable(folder.path()).unwrap(), None);
    // The system's own mounts stand for one in a data directory.
    assert!(unmovable(Path::new("/")).unwrap().is_some());
}

#[test]
fn records_of_an_earlier_restore_make_room() {
    let earlier = || {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join(".pitr");
        put(&ours, &[("lock", ""), ("plan.json", "1"), ("RESTORED.json", "1"), ("dump/a.sql", "1")]);
        let mut journal = journal();
        (journal.in_place, journal.done) = (None, Some(Phase::HandOver));
        assert!(is_history(&journal));
        journal.write(&ours.join("journal.json")).unwrap();
        folder
    };
    for mut death in deaths().take(20) {
        let folder = earlier();
        let (ours, kept) = (folder.path().join(".pitr"), folder.path().join(".pitr/earlier-19700101T000000Z"));
        if put_away(&ours, &kept, &mut death).is_err() && ours.join("journal.json").exists() {
            put_away(&ours, &kept, &mut Disk).unwrap();
        }
        assert_eq!(super::tests::ours(folder.path()), ["earlier-19700101T000000Z", "lock"]);
        assert_eq!(picture(&kept).len(), 4);
    }
}

#[test]
fn only_what_was_begun_goes_on() {
    let args = |more: &[&str]| {
        let all = ["pitr-sidecar", "restore", "--archive", "file:///a", "--to", "latest", "--datadir", "/d"];
        match Cli::try_parse_from(all.iter().chain(more)).unwrap().verb {
            Verb::Restore(args) => args,
            other => panic!("{other:?}"),
        }
    };
    let mut begun = journal();
    admit(&args(&["--in-place"]), &begun).unwrap();
    admit(&args(&["--in-place", "--restore-id=back"]), &begun).unwrap();
    let refused = admit(&args(&["--in-place", "--restore-id=later"]), &begun).unwrap_err();
    assert!(refused.to_string().contains("holds another restore in place by the same plan"), "{refused}");
    for standing in [Standing::Withdrawing, Standing::Returning, Standing::Returned, Standing::Finishing] {
        begun.in_place.as_mut().unwrap().standing = standing;
        assert!(admit(&args(&["--in-place"]), &begun).is_err(), "{standing:?}");
    }
    begun.in_place = None;
    admit(&args(&[]), &begun).unwrap();
    let refused = admit(&args(&["--in-place"]), &begun).unwrap_err();
    assert_eq!(refused.to_string(), "\"/d\" holds a restore of its own that has not ended");
}
