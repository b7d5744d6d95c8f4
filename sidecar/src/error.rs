//! Errors as users see them: `error[PITRffnn]: message`, then `hint:` and `fix:` lines, and an exit code.
//!
//! Below `main` everything is `anyhow` with bare verb phrases as context. Where a code of the table applies, a [`Failure`] is in the
//! chain; the outermost one decides code, hint, fix and exit.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use pitr_recovery::code::Code;
use serde_json::json;

/// A failure that has a name: it carries what the user can do about it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    code: &'static Code,
    exit: u8,
    message: String,
    hints: Vec<String>,
    fixes: Vec<String>,
}

impl Failure {
    /// A failure with a code of the table and a message in lower case without a full stop.
    pub(crate) fn new(code: &'static Code, message: impl Into<String>) -> Self {
        Self { code, exit: code.exit, message: message.into(), hints: Vec::new(), fixes: Vec::new() }
    }

    /// The code of the table.
    pub(crate) fn code(&self) -> &'static Code {
        self.code
    }

    /// Adds what it means here.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds something to do or to paste.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }

    /// Replaces the exit code: Jobs have codes of their own.
    pub(crate) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints the error on standard error and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let rendered = Rendered::of(error);
    // A closed standard error must not turn an exit code into a panic's.
    let _nobody_listens = std::io::stderr().write_all(rendered.text().as_bytes());
    ExitCode::from(rendered.exit)
}

/// An error taken apart for printing.
pub(crate) struct Rendered {
    /// `PITRffnn`, if the chain holds a named failure.
    pub(crate) code: Option<String>,
    /// Exit code of the command that it ends.
    pub(crate) exit: u8,
    message: String,
    hints: Vec<String>,
    fixes: Vec<String>,
}

impl Rendered {
    /// Finds the named failure in the chain; what stands above it is context, what stands below it is its cause.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        let Some(failure) = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) else {
            return Self { code: None, exit: 1, message: chain.join(": "), hints: Vec::new(), fixes: Vec::new() };
        };
        Self {
            code: Some(failure.code.to_string()),
            exit: failure.exit,
            message: chain.join(": "),
            hints: failure.hints.clone(),
            fixes: failure.fixes.clone(),
        }
    }

    /// `error[PITR0301]: message`, then hints and fixes, each on its line.
    pub(crate) fn text(&self) -> String {
        let mut text = match &self.code {
            Some(code) => format!("error[{code}]: {}\n", self.message),
            None => format!("error: {}\n", self.message),
        };
        for hint in &self.hints {
            text.push_str(&format!("  hint: {hint}\n"));
        }
        for fix in &self.fixes {
            text.push_str(&format!("  fix:  {fix}\n"));
        }
        text
    }

    /// The `kind: Error` document.
    pub(crate) fn document(&self) -> serde_json::Value {
        json!({
            "apiVersion": "kubectl-pitr/v1",
            "kind": "Error",
            "code": self.code,
            "exit": self.exit,
            "message": self.message,
            "hint": joined(&self.hints),
            "fix": joined(&self.fixes),
        })
    }
}

fn joined(lines: &[String]) -> Option<String> {
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use pitr_recovery::code;

    use super::{Failure, Rendered};

    #[test]
    fn a_named_failure_prints_code_hint_and_fix() {
        let failure = Failure::new(&code::FOREIGN_ARCHIVE, "file:///a holds the archive of \"billing/db\"")
            .hint("two histories never share a prefix")
            .fix("--archive file:///a/mysql");
        let error = Err::<(), _>(failure).context("claim the archive").unwrap_err();
        let rendered = Rendered::of(&error);
        assert_eq!(rendered.exit, 4);
        assert_eq!(
            rendered.text(),
            "error[PITR0207]: claim the archive: file:///a holds the archive of \"billing/db\"\n  \
             hint: two histories never share a prefix\n  fix:  --archive file:///a/mysql\n"
        );
    }

    #[test]
    fn an_unnamed_error_is_its_chain() {
        let error = anyhow::anyhow!("no such file").context("read configuration");
        let rendered = Rendered::of(&error);
        assert_eq!((rendered.exit, rendered.text().as_str()), (1, "error: read configuration: no such file\n"));
    }
}
