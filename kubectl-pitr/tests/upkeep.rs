//! What verify and prune say, word for word.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use kubectl_pitr::render::{prune_refusal, prune_text, verify_failure, verify_text};
use pitr_archive::document::{PruneDocument, VerifyDocument};
use pitr_recovery::code;
use serde_json::{Value, json};
use support::golden;

const SOURCE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn verify(quarantined: &Value) -> VerifyDocument {
    serde_json::from_value(json!({
        "apiVersion": "kubectl-pitr/v1", "kind": "Verify", "archive": "s3://backups/shop/mysql", "at": "2026-11-21T07:30:00Z",
        "segments": 2013, "segmentsRead": 101, "chunks": 702, "chunksRead": 35, "bytesRead": 812_646_400, "parts": 100, "partsOfRun": 5,
        "partsRead": 20, "completeSince": null, "ok": quarantined.as_array().unwrap().is_empty(), "quarantined": quarantined,
        "recorded": true, "rebuilt": {"segments": 2013, "pages": 3, "replaced": 41, "unusable": []}, "later": 1,
    }))
    .unwrap()
}

#[test]
fn a_verification_says_what_was_read_and_what_is_wrong() {
    let sound = verify(&json!([]));
    assert!(verify_failure(&sound, "mysql -n shop").is_none());
    let damaged = verify(&json!([
        {"kind": "Damaged", "what": "binlogs/x/0000000409-0.zst", "reason": "its SHA-256 is another one"},
        {"kind": "Missing", "what": "catalog/x/1.json", "reason": "it is not there"},
    ]));
    let failure = verify_failure(&damaged, "mysql -n shop").unwrap();
    assert_eq!((failure.exit(), failure.number()), (3, Some(606)));
    let whole = verify(&json!([{"kind": "Damaged", "what": "chunks/ab", "reason": "it holds 7 bytes, not 9"}]));
    let base = verify_failure(&whole, "mysql -n shop").unwrap();
    golden(
        "upkeep/verify.txt",
        &[verify_text(&sound), verify_text(&damaged) + &failure.text(), base.text()].join("---\n"),
    );
}

fn binlog(number: u32, verdict: &str, reason: &str) -> Value {
    json!({"kind": "Binlog", "id": format!("{SOURCE}/{number:010}-0102030405060708"), "verdict": verdict, "reasons": [reason],
        "last": "2026-11-07T01:00:00.000000Z", "storedBytes": 1_048_576, "marked": false})
}

fn prune(more: &Value) -> PruneDocument {
    let mut document = json!({
        "apiVersion": "kubectl-pitr/v1", "kind": "Prune", "archive": "s3://backups/shop/mysql", "now": "2026-11-21T07:30:00.000000Z",
        "keepsFrom": "2026-11-07T07:30:00.000000Z", "windowSeconds": 1_209_600, "keepLast": 1, "graceSeconds": 86_400,
        "shrinks": [], "hindrances": [], "items": [
            {"kind": "BaseBackup", "id": "bb-20261101-020009-4c1d", "verdict": "expire", "reasons": ["bb-20261107-020009-07d3 is older than the window, too, and serves all of it"],
                "last": "2026-11-01T02:00:10.000000Z", "storedBytes": 1, "marked": true},
            {"kind": "BaseBackup", "id": "bb-20261107-020009-07d3", "verdict": "keep", "reasons": ["pinned", "the window of br-3fa0 begins with it"],
                "last": "2026-11-07T02:00:10.000000Z", "storedBytes": 1, "marked": false},
            binlog(301, "expire", "older than the window, and no base backup that stays needs it"),
            binlog(302, "expire", "older than the window, and no base backup that stays needs it"),
            binlog(303, "keep", "bb-20261107-020009-07d3 needs it"),
        ],
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(document).unwrap()
}

#[test]
fn a_plan_of_retention_gives_a_reason_for_each_item() {
    let plan = prune(&json!({}));
    assert!(prune_refusal(&plan, false, "mysql -n shop").is_none());
    let done = prune(
        &json!({"done": {"refused": false, "marked": [SOURCE], "rescued": ["bb-9"], "broken": [], "finished": [],
        "deletedObjects": 12, "deletedBytes": 4_194_304, "undeletable": ["chunks/ab"], "sweptDuplicates": 0, "sweptAdopted": 1,
        "sweptTailObjects": 3, "sweptBackupRuns": 0, "sweptChunks": 2, "sweptBytes": 2048, "unusable": []}}),
    );
    let nothing = prune(&json!({"items": [], "lacksBase": true}));
    golden("upkeep/prune.txt", &[prune_text(&plan), prune_text(&done), prune_text(&nothing)].join("---\n"));
}

#[test]
fn what_would_break_a_promise_is_refused_by_name() {
    let span = |from: &str, to: &str| json!({"branch": "br-3fa0", "from": from, "to": to});
    let one = prune(&json!({"shrinks": [span("2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z")]}));
    let refused = prune_refusal(&one, false, "mysql -n shop").unwrap();
    assert_eq!((refused.number(), refused.exit()), (Some(901), 4));
    assert!(prune_refusal(&one, true, "mysql -n shop").is_none(), "--force is for that");
    let two = prune(
        &json!({"shrinks": [span("2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z"), span("2026-11-04T00:00:00Z", "2026-11-05T00:00:00Z")]}),
    );
    let unreadable = prune(&json!({"hindrances": [{"key": "catalog/x/1.json", "reason": "not JSON"}]}));
    let hindered = prune_refusal(&unreadable, true, "mysql -n shop").unwrap();
    let pinned = prune_refusal(&prune(&json!({"unknownPins": ["bb-9"]})), false, "mysql -n shop").unwrap();
    assert_eq!(pinned.number(), Some(code::UNKNOWN_PIN.number));
    let two = prune_refusal(&two, false, "mysql -n shop").unwrap();
    golden("upkeep/refusals.txt", &[refused, two, hindered, pinned].map(|failure| failure.text()).join("---\n"));
}
