//! Timelines and plans as text pictures: each file in `pictures/` draws an archive (the notation is described in
//! `picture/mod.rs`), asks for plans, and says below a line of dashes what is expected. `PITR_BLESS=1` writes that part anew.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod picture;
mod world;

use std::fs;
use std::path::PathBuf;

const LINE: &str = "----\n";

fn folder() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/pictures")
}

fn check(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let (drawing, expected) = text.split_once(LINE).unwrap_or((&text, ""));
    let picture = picture::read(drawing);
    let timeline = picture.world.timeline();
    let found = format!("{}{}", picture::draw(&timeline), picture::answer(&picture, &timeline));
    if std::env::var_os("PITR_BLESS").is_some() {
        fs::write(&path, format!("{drawing}{LINE}{found}")).unwrap();
        return;
    }
    assert_eq!(found, expected, "\n{drawing}\nfound:\n{found}\nexpected:\n{expected}");
}

macro_rules! pictures {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn each_picture_is_looked_at() {
            let mut found: Vec<String> = fs::read_dir(folder())
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            found.sort();
            let mut named = [$(stringify!($name)),*];
            named.sort_unstable();
            assert_eq!(found, named);
        }
    };
}

pictures! {
    ahead_branch
    anonymous
    base_alone
    base_from_before_a_reset
    base_inside_a_binlog
    clock_stepping_back
    cloned_replica
    collision
    crash_end
    damaged_binlog
    divergence
    divergence_unread
    errant_transactions
    executed_without_a_log
    failover_with_lost_tail
    fork_after_restore
    gap
    hole_filled_twice
    hole_in_a_binlog
    incident
    lost_anonymous
    lost_beginning
    lost_binlog_of_a_replica
    lost_end
    lost_in_the_archive
    mariadb_domains
    no_base_backup
    plain_chain
    position
    purged_holes
    renamed_log
    replica_fills_a_hole
    reset
    restore_turned_back
    restore_turned_back_idle
    restored_server
    restored_server_without_backup
    returned_numbers_and_replicas
    returned_numbers_three_times
    skip_gtid
    tagged_gtids
    tail_overlaps
    two_backups
    two_clocks
    two_live_servers
    two_servers_one_shut_down
    two_servers_restarted_in_turn
    whole_seconds
    xa
}
