//! The few server options that say where binlogs lie, from arguments and option files.

/// `--datadir` and `--log-bin`, and where they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerOptions {
    pub datadir: Option<String>,
    pub log_bin: Option<String>,
    pub from: String,
}

impl ServerOptions {
    /// From command-line words; a shell script as one word is searched as well.
    pub fn from_arguments<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut options = Self { from: "the container's arguments".to_owned(), ..Self::default() };
        let words: Vec<&str> = words.flat_map(str::split_whitespace).collect();
        for (index, word) in words.iter().enumerate() {
            let Some(option) = word.strip_prefix("--") else { continue };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, words.get(index + 1).copied().filter(|v| !v.starts_with('-'))),
            };
            options.set(name, value);
        }
        options
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value.map(|v| v.trim_matches(['"', '\''])).filter(|v| !v.is_empty()) else { return };
        match name.replace('_', "-").as_str() {
            "datadir" => self.datadir = Some(value.to_owned()),
            "log-bin" => self.log_bin = Some(value.to_owned()),
            _ => {}
        }
    }

    /// Fills what is still unknown.
    pub fn or(&mut self, other: Self, from: &str) {
        if self.datadir.is_none() && other.datadir.is_some() {
            from.clone_into(&mut self.from);
            self.datadir = other.datadir;
        }
        self.log_bin = self.log_bin.take().or(other.log_bin);
    }
}

/// Options of the server's groups in an option file; the last setting wins, as in the server.
pub fn parse(text: &str) -> ServerOptions {
    let mut options = ServerOptions::default();
    let mut counts = false;
    for line in text.lines().map(str::trim) {
        if let Some(group) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let group = group.trim();
            counts = ["mysqld", "server", "mariadb", "mariadbd"].contains(&group)
                || group.starts_with("mysqld-")
                || group.starts_with("mariadb-");
        } else if counts && !line.starts_with(['#', ';', '!']) {
            let (name, value) = match line.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value)),
                None => (line, None),
            };
            let value = value.map(|v| v.split(" #").next().unwrap_or(v).trim());
            options.set(name, value);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_both_forms() {
        let read = |words: &[&str]| ServerOptions::from_arguments(words.iter().copied());
        let options = read(&["mysqld", "--datadir=/data/db", "--log_bin", "/logs/binlog", "--server-id=3"]);
        assert_eq!((options.datadir.as_deref(), options.log_bin.as_deref()), (Some("/data/db"), Some("/logs/binlog")));
        let script = read(&["sh", "-c", "exec mysqld --datadir='/a b'x --log-bin --user=mysql"]);
        assert_eq!(script.log_bin, None);
    }

    #[test]
    fn option_files_count_only_in_the_servers_groups() {
        let options = parse(
            "[client]\ndatadir=/wrong\n[mysqld]\n# datadir=/old\nlog-bin = /var/log/mysql/binlog # here\n[mysqld-8.4]\ndatadir=/d\n",
        );
        assert_eq!(
            (options.datadir.as_deref(), options.log_bin.as_deref()),
            (Some("/d"), Some("/var/log/mysql/binlog"))
        );
    }
}
