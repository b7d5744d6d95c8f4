//! The report of `check`: a line each, by area.

use serde_json::{Value, json};

use crate::state::{Check, Mark};
use crate::terminal::{Terminal, Tone};

/// `server     √ MySQL 9.7.0, primary`, with hints behind what is not well.
pub fn check_text(checks: &[Check], short: bool, terminal: Terminal) -> String {
    let mut text = String::new();
    let mut last = None;
    for check in checks.iter().filter(|check| !short || check.mark != Mark::Good) {
        let area = if last == Some(check.area) { "" } else { check.area.as_str() };
        last = Some(check.area);
        let (sign, tone) = match check.mark {
            Mark::Good => ("√", Tone::Good),
            Mark::Warning => ("‼", Tone::Warning),
            Mark::Bad => ("×", Tone::Bad),
        };
        let hint = check.hint.as_ref().map_or_else(String::new, |hint| format!("   hint: {hint}"));
        let code = check.code.map_or_else(String::new, |code| format!("   [{code}]"));
        text.push_str(&format!("{area:<11}{} {}{hint}{code}\n", terminal.paint(tone, sign), check.text));
    }
    text
}

/// `kind: CheckReport`.
pub fn check_document(namespace: &str, workload: &str, checks: &[Check]) -> Value {
    json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "CheckReport",
        "namespace": namespace,
        "workload": workload,
        "worst": checks.iter().map(|check| check.mark).max().unwrap_or(Mark::Good).as_str(),
        "checks": checks.iter().map(|check| json!({
            "area": check.area.as_str(), "result": check.mark.as_str(), "text": check.text, "hint": check.hint,
            "code": check.code.map(|code| code.to_string()),
        })).collect::<Vec<_>>(),
    })
}
