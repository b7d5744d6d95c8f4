//! What a user prefers for every command: how times, colours and answers look. Never what a command works on.

use std::io::ErrorKind;
use std::path::PathBuf;

use serde::Deserialize;

use crate::args::ColourChoice;
use crate::failure::Failure;

/// Names the file.
const VARIABLE: &str = "PITRCONFIG";
/// Where it is otherwise, below the home directory.
const USUAL: &str = ".config/kubectl-pitr/config.yaml";

/// The file's content; what it does not say is as without it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// As `--timezone`.
    pub timezone: Option<String>,
    /// As `--color`.
    pub color: Option<ColourChoice>,
    /// As `-o`, for commands that have this format.
    pub output: Option<Answer>,
}

/// The formats that answers of many commands have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Table,
    Wide,
    Json,
    Yaml,
}

impl Answer {
    /// As it stands behind `-o`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Yaml => "yaml",
        }
    }
}

impl Preferences {
    /// Reads the file that the environment names, or the usual one if it is there.
    pub fn read(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let named = environment(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        let usual = || environment("HOME").map(|home| PathBuf::from(home).join(USUAL));
        let is_named = named.is_some();
        let Some(path) = named.or_else(usual) else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                Self::parse(&text).map_err(|reason| refused(format!("{} is not understood: {reason}", path.display())))
            }
            Err(reason) if !is_named && reason.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(reason) => Err(refused(format!("{} cannot be read: {reason}", path.display()))),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let read: Result<Self, _> = serde_saphyr::from_str(text);
        read.map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}

fn refused(message: String) -> Failure {
    Failure::usage(message)
        .hint("it holds timezone, color and output, and never a namespace, a workload or a target")
        .fix(format!("color: never, for example; {VARIABLE} names another file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_how_things_look_and_nothing_else() {
        let read = Preferences::parse("timezone: Europe/Paris\ncolor: never\noutput: wide\n").unwrap();
        assert_eq!(read.timezone.as_deref(), Some("Europe/Paris"));
        assert_eq!((read.color, read.output), (Some(ColourChoice::Never), Some(Answer::Wide)));
        assert_eq!(Preferences::parse("# nothing yet\n\n"), Ok(Preferences::default()));
        for bad in ["namespace: shop", "output: name", "color: pink", "timezone: [a]", "- x"] {
            assert!(Preferences::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_file_that_was_named_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let at_home = |name: &str| (name == "HOME").then(|| home.clone());
        assert_eq!(Preferences::read(&at_home).unwrap(), Preferences::default());
        let named = |name: &str| (name == VARIABLE).then(|| format!("{home}/not-there.yaml"));
        assert_eq!(Preferences::read(&named).unwrap_err().exit(), 2);
        std::fs::create_dir_all(folder.path().join(".config/kubectl-pitr")).unwrap();
        std::fs::write(folder.path().join(USUAL), "output: json\n").unwrap();
        assert_eq!(Preferences::read(&at_home).unwrap().output, Some(Answer::Json));
        std::fs::write(folder.path().join(USUAL), "workload: mysql\n").unwrap();
        let refused = Preferences::read(&at_home).unwrap_err();
        assert!(refused.text().contains("never a namespace, a workload or a target"), "{}", refused.text());
    }
}
