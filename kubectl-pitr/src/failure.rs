//! Errors as users see them: `error[PITR0301]: message`, then what it means here, then something to paste.
//!
//! Commands return `anyhow::Error`. Where a code of the table applies, a [`Failure`] is in the chain; everything else is an error
//! without a code, and exits with 1.

use std::fmt;

use pitr_recovery::code::{self, Code};
use serde_json::{Value, json};

/// The wait was broken off by Ctrl-C; the Job runs on.
pub const EXIT_INTERRUPTED: u8 = 130;
/// Words on the command line that do not fit together.
pub const EXIT_USAGE: u8 = 2;

/// Something that ends the command and has a name in the table of codes.
#[derive(Debug, Clone)]
pub struct Failure(Box<Facts>);

#[derive(Debug, Clone)]
struct Facts {
    code: Option<Code>,
    exit: u8,
    message: String,
    points: Vec<Point>,
    hints: Vec<String>,
    fixes: Vec<String>,
}

/// One of several reasons that are reported together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub what: String,
    pub fix: Option<String>,
}

impl Failure {
    /// A failure with a code of the table; the message is lower case, names in double quotes, no full stop.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::with(Some(code), code.exit, message.into())
    }

    /// Words on the command line that do not fit together, for which there is no code.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::without_code(EXIT_USAGE, message)
    }

    /// A failure that only has an exit code.
    pub fn without_code(exit: u8, message: impl Into<String>) -> Self {
        Self::with(None, exit, message.into())
    }

    fn with(code: Option<Code>, exit: u8, message: String) -> Self {
        Self(Box::new(Facts { code, exit, message, points: Vec::new(), hints: Vec::new(), fixes: Vec::new() }))
    }

    /// A failure as the sidecar or a Job tells it: a code of a newer version keeps its text and ends with exit 1.
    pub fn told(code: Option<&str>, exit: Option<u8>, message: impl Into<String>) -> Self {
        let known = code.and_then(parse_code).and_then(code::find).copied();
        let exit = known.map(|c| c.exit).or(exit).unwrap_or(1);
        let message = match (known, code) {
            (None, Some(code)) => format!("{code}: {}", message.into()),
            _ => message.into(),
        };
        Self::with(known, exit, message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fixes.push(fix.into());
        self
    }

    pub fn point(mut self, what: impl Into<String>, fix: Option<String>) -> Self {
        self.0.points.push(Point { what: what.into(), fix });
        self
    }

    /// The same failure where it ends something that has an exit code of its own.
    pub fn with_exit(mut self, exit: u8) -> Self {
        self.0.exit = exit;
        self
    }

    pub fn exit(&self) -> u8 {
        self.0.exit
    }

    pub fn number(&self) -> Option<u16> {
        self.0.code.map(|c| c.number)
    }

    /// What helps first; or what it means, where nothing is known to help.
    pub fn way_out(&self) -> Option<String> {
        self.0.fixes.first().or(self.0.hints.first()).cloned()
    }

    /// Text for stderr; every line ends with a line break.
    pub fn text(&self) -> String {
        let mut text = match self.0.code {
            Some(code) => format!("error[PITR{:04}]: {}\n", code.number, self.0.message),
            None => format!("error: {}\n", self.0.message),
        };
        for point in &self.0.points {
            text.push_str(&format!("  × {}\n", point.what));
            if let Some(fix) = &point.fix {
                text.push_str(&format!("    fix: {fix}\n"));
            }
        }
        for hint in &self.0.hints {
            text.push_str(&format!("  hint: {hint}\n"));
        }
        for fix in &self.0.fixes {
            text.push_str(&format!("  fix:  {fix}\n"));
        }
        text
    }

    /// The `kind: Error` document for `-o json`.
    pub fn document(&self) -> Value {
        let points = self.0.points.iter().map(|p| json!({"what": p.what, "fix": p.fix}));
        let mut document = json!({
            "apiVersion": "kubectl-pitr/v1",
            "kind": "Error",
            "code": self.0.code.map(|c| format!("PITR{:04}", c.number)),
            "exitCode": self.0.exit,
            "message": self.0.message,
            "hints": self.0.hints,
            "fixes": self.0.fixes,
        });
        if !self.0.points.is_empty() {
            document["points"] = points.collect();
        }
        document
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Failure {}

/// The failure in an error's chain; an error without one becomes a failure with the whole chain as its message.
pub fn of(error: &anyhow::Error) -> Failure {
    match error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) {
        Some(failure) => failure.clone(),
        None => Failure::without_code(1, chain(error)),
    }
}

/// All causes in one line. Libraries that repeat their source in their own text are cut short.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

/// `PITR0301` or `0301`.
pub fn parse_code(text: &str) -> Option<u16> {
    let digits = match text.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("pitr") => &text[4..],
        _ => text,
    };
    (digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}
