//! What a server keeps outside of its data directory. A restore in place exchanges that directory and nothing else: old binlogs elsewhere
//! would be taken for the restored server's own, and old undo tablespaces written to by it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pitr_recovery::code;

use super::super::RestoreArgs;
use super::entries::names;
use crate::error::Failure;
use crate::mysql::OptionFile;

/// Tells that a server's data lies here.
const DATA: &str = "mysql.ibd";
/// What lies at the top of a data directory with it, unless the server's settings lead elsewhere: one that begins like one of each.
const WITH_IT: [&[&str]; 4] = [&["ibdata"], &["undo_001"], &["undo_002"], &["#innodb_redo", "ib_logfile"]];
/// Settings that name another directory for a part of the data.
const HOMES: [&str; 3] = ["innodb_data_home_dir", "innodb_undo_directory", "innodb_log_group_home_dir"];
/// Settings that name a file, which may lie anywhere below the data directory.
const FILES: [&str; 2] = ["log_bin", "log_bin_index"];

/// Refuses a data directory that is not all of the data.
pub(in super::super) fn refuse(args: &RestoreArgs) -> anyhow::Result<()> {
    let root = std::path::absolute(&args.datadir).context("name the data directory")?;
    let led = match &args.mysqld_config {
        None => None,
        Some(path) => {
            let file = OptionFile::read(path).context("read the server's configuration")?;
            leads_out(&root, |name| file.get("mysqld", name).map(str::to_owned))
        }
    };
    let Some(what) = led.or(missing(&root).context("look at the old data")?) else { return Ok(()) };
    Err(Failure::new(&code::IN_PLACE_REFUSED, format!("refusing --in-place: {what}"))
        .hint("only the data directory is exchanged, and what lies elsewhere would stay the old server's; nothing was moved")
        .fix("restore into another directory, or onto a new volume")
        .into())
}

/// The first setting that leads out of the data directory, in words.
fn leads_out(root: &Path, option: impl Fn(&str) -> Option<String>) -> Option<String> {
    let place = |name: &str| option(name).filter(|value| !value.is_empty()).map(|value| (root.join(&value), value));
    let homes = HOMES.iter().filter_map(|name| place(name).filter(|(path, _)| !is_same(path, root)).zip(Some(name)));
    let files = FILES.iter().filter_map(|name| place(name).filter(|(path, _)| !path.starts_with(root)).zip(Some(name)));
    homes.chain(files).next().map(|((_, value), name)| format!("{name} = {value} is not \"{}\"", root.display()))
}

fn is_same(path: &Path, root: &Path) -> bool {
    path.components().collect::<PathBuf>() == root.components().collect::<PathBuf>()
}

/// The first part of the data that should be here and is not, in words.
fn missing(root: &Path) -> io::Result<Option<String>> {
    let names = names(root)?;
    if !names.iter().any(|name| name == DATA) {
        return Ok(None);
    }
    if let Some(link) = names.iter().map(|name| root.join(name)).find(|path| path.is_symlink()) {
        return Ok(Some(format!("\"{}\" is a symbolic link", link.display())));
    }
    let begins = |starts: &[&str]| {
        names.iter().filter_map(|name| name.to_str()).any(|name| starts.iter().any(|start| name.starts_with(start)))
    };
    let absent = WITH_IT.iter().find(|starts| !begins(starts)).and_then(|starts| starts.first());
    Ok(absent.map(|name| format!("\"{name}\" of the old data does not lie in \"{}\"", root.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 5] = ["mysql.ibd", "ibdata1", "undo_001", "undo_002", "#innodb_redo"];

    fn directory(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| std::fs::write(folder.path().join(name), "").unwrap());
        folder
    }

    #[test]
    fn data_that_lies_elsewhere_is_seen() {
        assert_eq!(missing(directory(&ALL).path()).unwrap(), None);
        assert_eq!(missing(directory(&["some.file"]).path()).unwrap(), None, "no server's data");
        for absent in &ALL[1..] {
            let rest: Vec<&str> = ALL.iter().filter(|name| *name != absent).copied().collect();
            let said = missing(directory(&rest).path()).unwrap().unwrap();
            assert!(said.contains("of the old data does not lie in"), "{said}");
        }
        let linked = directory(&ALL);
        std::os::unix::fs::symlink("/elsewhere", linked.path().join("binlogs")).unwrap();
        assert!(missing(linked.path()).unwrap().unwrap().contains("is a symbolic link"));
    }

    #[test]
    fn settings_that_lead_out_are_named() {
        let root = Path::new("/var/lib/mysql");
        let led = |name: &str, value: &str| leads_out(root, |asked| (asked == name).then(|| value.to_owned()));
        for (name, value) in
            [("log_bin", "/var/log/mysql/bin"), ("log_bin", "/var/lib/mysql-bin/a"), ("innodb_undo_directory", "undo")]
        {
            assert!(led(name, value).is_some_and(|said| said.contains(name)), "{name} = {value}");
        }
        for (name, value) in [
            ("log_bin", ""),
            ("log_bin", "a"),
            ("log_bin", "/var/lib/mysql/logs/a"),
            ("innodb_undo_directory", "./"),
            ("innodb_data_home_dir", "/var/lib/mysql/"),
        ] {
            assert_eq!(led(name, value), None, "{name} = {value}");
        }
    }
}
