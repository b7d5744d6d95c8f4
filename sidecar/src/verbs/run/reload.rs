//! A configuration that changes while the sidecar runs: a mounted ConfigMap is swapped, a file is written. A good one is taken without a
//! restart of the process; a bad one is said, and the old one goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use pitr_recovery::code;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::archiver::{Archiver, KeyChange, KeyFiles};
use crate::config::{self, Config, Settings};
use crate::error::Failure;
use crate::status::{Area, Heart};

/// How often things are done.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two looks at the file. What two of them find is taken: a file that is being written is not half a configuration.
    look: Duration,
    /// Between two attempts of a configuration that is valid but leads nowhere.
    attempt: Duration,
}

const PACE: Pace = Pace { look: Duration::from_secs(5), attempt: Duration::from_secs(60) };

/// Waits for another configuration that can be carried out. `None`: the archiver has ended.
pub(super) async fn changed(file: &Path, heart: &Heart, ended: &CancellationToken) -> Option<Config> {
    ended.run_until_cancelled(wait(file, heart, PACE)).await
}

async fn wait(file: &Path, heart: &Heart, pace: Pace) -> Config {
    let (running, board) = (heart.archiver.config(), &heart.archiver.board);
    let mut seen: Option<Values> = None;
    let mut tried: Option<(Values, Instant)> = None;
    let mut seen_keys: Option<KeyFiles> = None;
    loop {
        tokio::time::sleep(pace.look).await;
        let next = match config::load(file) {
            Ok(next) => next,
            Err(failure) => {
                seen = None;
                board.fail(Area::Configuration, stays(failure));
                continue;
            }
        };
        let (old, new) = (values(&running.settings), values(&next.settings));
        let differing = differing(&old, &new);
        if differing.is_empty() {
            (seen, tried) = (None, None);
            match look_at_keys(&heart.archiver, &mut seen_keys) {
                Ok(false) => board.heal(Area::Configuration),
                Ok(true) => match heart.archiver.try_out(&next).await {
                    Ok(()) => {
                        tracing::info!(
                            event = "configuration",
                            key = "encryption.hash_key_file",
                            "its file holds another key"
                        );
                        return next;
                    }
                    Err(failure) => board.fail(Area::Configuration, stays(failure)),
                },
                Err(failure) => board.fail(Area::Configuration, failure),
            }
            continue;
        }
        if seen.replace(new.clone()).as_ref() != Some(&new) {
            continue;
        }
        if let Some(key) = differing.iter().find(|key| config::is_taken_at_the_start(key)) {
            board.fail(Area::Configuration, only_at_the_start(key));
            continue;
        }
        if tried.as_ref().is_some_and(|(known, at)| *known == new && at.elapsed() < pace.attempt) {
            continue;
        }
        match heart.archiver.try_out(&next).await {
            Ok(()) => {
                for key in differing {
                    tracing::info!(event = "configuration", key, from = old.get(key), to = new.get(key));
                }
                return next;
            }
            Err(failure) => board.fail(Area::Configuration, stays(failure)),
        }
        tried = Some((new, Instant::now()));
    }
}

/// Whether two looks have found another key in a file of its own that is to be taken. `Err`: what may not be. Until the archive is open,
/// each attempt of the archiver reads the files anew.
fn look_at_keys(archiver: &Archiver, seen: &mut Option<KeyFiles>) -> Result<bool, Failure> {
    let Some(used) = archiver.keys() else { return Ok(false) };
    let before = seen.take();
    match used.compare(KeyFiles::read(archiver.config())) {
        KeyChange::None => Ok(false),
        KeyChange::Taken(now) => Ok(before.as_ref() == Some(&*seen.insert(now))),
        KeyChange::Refused(failure) => Err(failure),
    }
}

/// What counts of each key, wherever it comes from. None is a secret: those are in files.
type Values = BTreeMap<&'static str, String>;

/// All but the pins, which each run of retention reads by itself.
fn values(settings: &Settings) -> Values {
    let counts = settings.iter().filter(|(key, _)| **key != "retention.pins");
    counts.map(|(key, setting)| (*key, setting.value.clone())).collect()
}

fn differing(old: &Values, new: &Values) -> BTreeSet<&'static str> {
    old.keys().chain(new.keys()).copied().filter(|key| old.get(key) != new.get(key)).collect()
}

/// What is wrong with a new configuration, where an old one goes on.
fn stays(failure: Failure) -> Failure {
    failure.hint("the configuration that was read before goes on")
}

fn only_at_the_start(key: &str) -> Failure {
    let failure =
        Failure::new(&code::BAD_CONFIGURATION_KEY, format!("\"{key}\" has changed, which only a start takes"));
    stays(failure).fix("restart the pod, or put the key back")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::clock;
    use crate::status::Outlook;

    const QUICK: Pace = Pace { look: Duration::from_millis(10), attempt: Duration::from_millis(50) };

    struct Scene {
        home: tempfile::TempDir,
        heart: Heart,
    }

    impl Scene {
        /// A server's files with one binlog's name in the index, and a sidecar that was configured for them.
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let uuid = "[auto]\nserver-uuid=3e11fa47-71ca-11e1-9e33-c80aa9429562\n";
            std::fs::write(home.path().join("auto.cnf"), uuid).unwrap();
            std::fs::write(home.path().join("binlog.index"), "./binlog.000001\n").unwrap();
            std::fs::write(home.path().join("binlog.000001"), b"\xfebin").unwrap();
            let scene = Self { heart: heart(&text(&home, "")), home };
            scene.write("");
            scene
        }

        fn file(&self) -> std::path::PathBuf {
            self.home.path().join("config.yaml")
        }

        fn write(&self, more: &str) {
            std::fs::write(self.file(), text(&self.home, more)).unwrap();
        }

        fn said(&self) -> Option<String> {
            self.heart.archiver.board.read().problems.get(&Area::Configuration).map(ToString::to_string)
        }

        /// With keys in files: that of hashes, and that of the store.
        fn with_keys(&mut self) -> (PathBuf, PathBuf) {
            let [hash, customer] = ["hash", "customer"].map(|name| self.home.path().join(name));
            std::fs::write(&hash, [1; 32]).unwrap();
            std::fs::write(&customer, [2; 32]).unwrap();
            let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
            let (hash_file, customer_file) = (hash.display(), customer.display());
            let keys = format!(
                "encryption: {{age_recipients: [{recipient}], hash_key_file: {hash_file}}}\ns3: {{sse: 'c:{customer_file}'}}"
            );
            self.heart = heart(&text(&self.home, &keys));
            self.write(&keys);
            (hash, customer)
        }

        /// The archive has answered.
        async fn opened(&self) {
            // There is no binlog to archive.
            drop(self.heart.archiver.once().await);
            assert!(self.heart.archiver.keys().is_some());
        }

        async fn taken(&self) -> Config {
            wait(&self.file(), &self.heart, QUICK).await
        }

        /// Nothing is taken until a word is said, or has been looked at often enough.
        async fn refused(&self, word: &str) {
            tokio::select! {
                config = self.taken() => panic!("taken: {config:?}"),
                () = self.until_said(word) => {}
            }
        }

        async fn until_said(&self, word: &str) {
            while !self.said().is_some_and(|said| said.contains(word)) {
                tokio::time::sleep(QUICK.look).await;
            }
        }

        /// Nothing is taken, and in the end nothing is wrong.
        async fn left_alone(&self) {
            tokio::select! {
                config = self.taken() => panic!("taken: {config:?}"),
                () = tokio::time::sleep(QUICK.look * 30) => {}
            }
            assert_eq!(self.said(), None);
        }
    }

    fn text(home: &tempfile::TempDir, more: &str) -> String {
        let home = home.path().display();
        format!("workload: shop/mysql\narchive: file://{home}/archive\nsource: {{datadir: {home}}}\n{more}\n")
    }

    fn heart(text: &str) -> Heart {
        let config = config::parse(text, &std::collections::BTreeMap::new()).unwrap();
        let archiver = Archiver::new(config, clock::system(), CancellationToken::new());
        Heart { archiver, outlook: Outlook::default(), json_log: true }
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_and_the_same_is_not() {
        let scene = Scene::new();
        scene.left_alone().await;
        scene.write("# nothing but a remark");
        scene.left_alone().await;
        scene.write("schedule: {tail_interval: 700ms}");
        assert_eq!(scene.taken().await.schedule.tail_interval, Some(Duration::from_millis(700)));
        assert_eq!(scene.said(), None);
        let ended = CancellationToken::new();
        ended.cancel();
        assert!(changed(&scene.file(), &scene.heart, &ended).await.is_none());
    }

    #[tokio::test]
    async fn a_bad_file_is_said_and_the_old_one_goes_on() {
        let scene = Scene::new();
        scene.write("schedule: {tail_intervall: 700ms}");
        scene.refused("tail_intervall").await;
        std::fs::remove_file(scene.file()).unwrap();
        scene.refused("cannot be read").await;
        // As it was: nothing is wrong any more.
        scene.write("");
        scene.left_alone().await;
    }

    #[tokio::test]
    async fn what_only_a_start_takes_is_said_and_nothing_of_the_file_is_taken() {
        let scene = Scene::new();
        for (from, to, key) in [
            ("shop/mysql", "shop/other", "workload"),
            ("/archive", "/another", "archive"),
            ("datadir: ", "datadir: /nowhere", "source.datadir"),
        ] {
            let changed = text(&scene.home, "schedule: {tail_interval: 700ms}").replace(from, to);
            std::fs::write(scene.file(), changed).unwrap();
            scene.refused(&format!("\"{key}\" has changed")).await;
            let facts = scene.heart.archiver.board.read();
            assert_eq!(facts.problems[&Area::Configuration].code().to_string(), "PITR0209");
        }
        for more in
            ["listen: none", "control_listen: none", "s3: {endpoint: 'http://127.0.0.1:1'}", "pipeline: {nice: 3}"]
        {
            scene.write(more);
            let key = more.replace(": {", ".").split(": ").next().unwrap().split(':').next().unwrap().to_owned();
            scene.refused(&format!("\"{key}\" has changed")).await;
        }
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        scene.write(&format!("encryption: {{age_recipients: [{recipient}]}}"));
        scene.refused("encryption.age_recipients").await;
        scene.write("");
        scene.left_alone().await;
    }

    #[tokio::test]
    async fn another_hash_key_is_taken_and_another_key_of_the_store_is_not() {
        let mut scene = Scene::new();
        let (hash, customer) = scene.with_keys();
        scene.opened().await;
        scene.left_alone().await;
        let changing = async {
            tokio::time::sleep(QUICK.look * 5).await;
            std::fs::write(&customer, [3; 32]).unwrap();
            scene.until_said("s3.sse").await;
            std::fs::write(&customer, [2; 32]).unwrap();
            std::fs::write(&hash, "no key").unwrap();
            scene.until_said("hash key file").await;
            std::fs::write(&hash, [4; 32]).unwrap();
        };
        let (taken, ()) = tokio::join!(scene.taken(), changing);
        assert_eq!(taken.workload, "shop/mysql");
        assert_eq!(scene.said(), None, "what was wrong is right again");
    }

    #[tokio::test]
    async fn a_key_that_is_put_right_before_the_archive_has_answered_is_the_one_in_use() {
        let mut scene = Scene::new();
        let (_, customer) = scene.with_keys();
        let mending = async {
            tokio::time::sleep(QUICK.look * 5).await;
            std::fs::write(&customer, [3; 32]).unwrap();
            scene.opened().await;
            tokio::time::sleep(QUICK.look * 10).await;
        };
        tokio::select! {
            config = scene.taken() => panic!("taken: {config:?}"),
            () = mending => {}
        }
        assert_eq!(scene.said(), None);
    }

    #[tokio::test]
    async fn pins_and_what_stands_there_by_default_change_nothing() {
        let scene = Scene::new();
        scene.write("retention: {pins: [bb-1]}");
        scene.left_alone().await;
        scene.write("retention: {pins: [bb-2], window: 14d}\nlisten: '0.0.0.0:9399'");
        scene.left_alone().await;
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_for_this_workload_is_not_taken_and_none_is_claimed() {
        let scene = Scene::new();
        let archive = scene.home.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        scene.write("schedule: {tail_interval: 700ms}");
        scene.taken().await;
        assert_eq!(std::fs::read_dir(&archive).unwrap().count(), 0, "trying out wrote something");
        std::fs::write(archive.join("archive.json"), r#"{"format":1,"workload":"shop/other"}"#).unwrap();
        scene.refused("shop/other").await;
        std::fs::write(archive.join("archive.json"), r#"{"format":1,"workload":"shop/mysql"}"#).unwrap();
        scene.taken().await;
    }
}
