//! What `timeline` and `binlogs` print, word for word.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use kubectl_pitr::question::Question;
use kubectl_pitr::render::{TimelineShown, Zone, binlogs_table, segments_table, timeline_html, timeline_text};
use kubectl_pitr::state::{Binlogs, Timeline};
use pitr_archive::{Matching, Point, Sought};
use serde_json::{Value, json};
use support::golden;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn transaction(at: &str, number: u64, what: &str, bytes: u64) -> Value {
    json!({"committedAt": at, "gtid": format!("{UUID}:{number}"), "binlog": "binlog.000413", "source": UUID,
        "stream": "st-9c1d", "start": 4096, "end": 4096 + bytes, "ddl": false, "what": what, "changes": [], "whole": true})
}

/// A failover that lost a tail, a gap, and the accident of the contract.
fn timeline() -> Timeline {
    serde_json::from_value(json!({
        "branches": [
            {"id": "br-3fa0", "live": true, "streams": ["st-2b77", "st-9c1d"], "lastAt": "2026-11-21T07:30:18.402117Z"},
            {"id": "br-c2d9", "live": false, "streams": ["st-2b77"], "lastAt": "2026-11-19T14:00:00Z",
             "forksFrom": "br-3fa0", "forksAt": "2026-11-19T11:20:31Z", "ownTransactions": 12}],
        "streams": [
            {"id": "st-2b77", "source": "77d0c2e1", "firstAt": "2026-11-14T02:00:12Z", "lastAt": "2026-11-19T11:20:31Z"},
            {"id": "st-9c1d", "source": UUID, "firstAt": "2026-11-19T11:20:35Z", "lastAt": "2026-11-21T07:30:18.402117Z"}],
        "windows": [
            {"branch": "br-3fa0", "live": true, "from": "2026-11-14T02:00:12Z", "to": "2026-11-17T03:10:44.902310Z", "endsAt": "gap-7f2a"},
            {"branch": "br-3fa0", "live": true, "from": "2026-11-18T02:00:10Z", "to": "2026-11-21T07:30:18.402117Z"},
            {"branch": "br-c2d9", "live": false, "from": "2026-11-18T02:00:10Z", "to": "2026-11-19T14:00:00Z"}],
        "gaps": [{"id": "gap-7f2a", "branch": "br-3fa0", "state": "closed", "from": "2026-11-17T03:10:44.902310Z",
            "to": "2026-11-18T02:00:10Z", "transactions": 335, "reason": "purged-before-archive",
            "text": "binlog.000301 is not archived", "closedBy": "bb-20261118-020009-b07e"}],
        "backups": [
            {"id": "bb-20261118-020009-b07e", "usable": true, "reachesFrom": "2026-11-18T02:00:10Z"},
            {"id": "bb-20261114-020009-4c1d", "usable": true, "reachesFrom": "2026-11-14T02:00:12Z"}],
        "problems": [],
        "branch": "br-3fa0",
        "transactions": [
            transaction("2026-11-21T07:14:02.918112Z", 84910221, "UPDATE shop.orders, 3 rows", 1126),
            transaction("2026-11-21T07:14:03.004551Z", 84910222, "DROP TABLE `shop`.`invoices`", 160),
            transaction("2026-11-21T07:14:03.100000Z", 84910223, "INSERT shop.\u{1b}[31mx, 1 row", 300)],
        "before": 1, "undescribed": 0, "next": null, "searchedTo": null,
    }))
    .unwrap()
}

fn shown<'a>(question: &'a Question, wide: bool) -> TimelineShown<'a> {
    let since: jiff::Timestamp = "2026-11-14T07:30:20Z".parse().unwrap();
    TimelineShown { question, since: since.as_microsecond(), place: "mysql -n shop", wide }
}

fn around(text: &str) -> Question {
    let at: jiff::Timestamp = text.parse().unwrap();
    Question { branch: None, sought: Sought::Around(Point::Time(at.as_microsecond()), 2) }
}

fn search() -> Question {
    let matching = Matching {
        text: Some("drop".into()),
        ddl: false,
        since_us: 1_763_105_420_000_000,
        until_us: i64::MAX,
        limit: 20,
        below: None,
    };
    Question { branch: None, sought: Sought::Matching(matching) }
}

#[test]
fn around_an_instant() {
    let question = around("2026-11-21T07:14:03Z");
    golden("timeline/around.txt", &timeline_text(&timeline(), &shown(&question, false), &Zone::UTC));
    let own = around("2026-11-21T07:14:03.004551Z");
    let dropped = Timeline { before: 2, ..timeline() };
    golden("timeline/around-own.txt", &timeline_text(&dropped, &shown(&own, false), &Zone::UTC));
    let paris = Zone::named("Europe/Paris").unwrap();
    golden("timeline/around-wide.txt", &timeline_text(&timeline(), &shown(&question, true), &paris));
}

#[test]
fn a_search_that_found_something() {
    let mut timeline = timeline();
    timeline.transactions.drain(..1);
    timeline.transactions.pop();
    timeline.before = 0;
    timeline.undescribed = 2;
    timeline.next = Some("s/1-0:9".into());
    timeline.searched_to = Some("2026-11-20T00:00:00Z".parse().unwrap());
    golden("timeline/search.txt", &timeline_text(&timeline, &shown(&search(), false), &Zone::UTC));
}

#[test]
fn a_search_that_found_nothing() {
    let nothing = Timeline { transactions: Vec::new(), before: 0, ..timeline() };
    golden("timeline/nothing.txt", &timeline_text(&nothing, &shown(&search(), false), &Zone::UTC));
}

#[test]
fn an_empty_archive() {
    let question = around("2026-11-21T07:14:03Z");
    let text = timeline_text(&Timeline::default(), &shown(&question, false), &Zone::UTC);
    assert_eq!(text, "nothing is archived yet\n");
}

#[test]
fn archived_binlogs() {
    let list: Binlogs = serde_json::from_value(json!({"items": [
        {"binlog": "binlog.000412", "source": UUID, "stream": "st-9c1d", "firstAt": "2026-11-21T05:58:02Z",
         "lastAt": "2026-11-21T06:58:41Z", "transactions": 244917, "archivedTo": 395627520, "storedBytes": 94581555,
         "state": "rotated", "segments": [{"key": "binlogs/a", "start": 0, "end": 395627520, "storedBytes": 94581555, "tail": false}]},
        {"binlog": "binlog.000413", "source": UUID, "stream": "st-9c1d", "firstAt": "2026-11-21T06:58:41Z",
         "lastAt": "2026-11-21T07:30:18Z", "transactions": 30352, "archivedTo": 48118450, "storedBytes": 12687769,
         "state": "open", "segments": [
            {"key": "binlogs/b", "start": 0, "end": 33554432, "storedBytes": 9000000, "tail": false},
            {"key": "tail/c", "start": 33554432, "end": 48118450, "storedBytes": 3687769, "tail": true}]}]}))
    .unwrap();
    let text = binlogs_table(&list, true, false)
        + "\n"
        + &binlogs_table(&list, false, true)
        + "\n"
        + &segments_table(&list, true);
    golden("timeline/binlogs.txt", &text);
}

/// Every element is closed in its order, every value quoted, and every `&` begins a reference: what XML asks.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").unwrap();
    while let Some((text, tail)) = rest.split_once('<') {
        for part in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|entity| part.starts_with(entity)), "&{part}");
        }
        let (tag, after) = tail.split_once('>').unwrap();
        rest = after;
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}>"),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split_whitespace().next().unwrap()),
        }
    }
    assert!(open.is_empty() && !rest.contains('>'), "{open:?}");
}

#[test]
fn a_page_says_all_that_the_text_does_and_loads_nothing() {
    let question = around("2026-11-21T07:14:03Z");
    let made = "2026-11-21T07:30:20Z".parse().unwrap();
    let mut hostile = timeline();
    hostile.transactions[2].what = Some("INSERT shop.</td><script src=\"//x\">&amp;\u{1b}[31m, 1 row".into());
    let paris = Zone::named("Europe/Paris").unwrap();
    let page = timeline_html(&hostile, &shown(&question, false), &paris, made);
    assert_well_formed(&page);
    golden("timeline/page.html", &page);
    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["<script", "http:", "https:", "url(http", "@import", "src=", "<link"] {
        assert!(!without_namespace.replace("src=&quot;", "").contains(outside), "{outside}");
    }
    for told in [
        "br-3fa0",
        "br-c2d9",
        "gap-7f2a",
        "335 transactions",
        "DROP TABLE",
        "a restore --to 2026-11-21T07:14:03Z stops here",
        "--before-gtid 3e11fa47-71ca-11e1-9e33-c80aa9429562:84910222",
        "prefers-color-scheme:dark",
        "role=\"img\"",
        "<desc",
    ] {
        assert!(page.contains(told), "{told} is missing");
    }
    let empty = timeline_html(&Timeline::default(), &shown(&question, false), &Zone::UTC, made);
    assert_well_formed(&empty);
    assert!(empty.contains("Nothing is archived yet") && !empty.contains("<svg"), "{empty}");
    let nothing = Timeline { transactions: Vec::new(), before: 0, ..timeline() };
    assert_well_formed(&timeline_html(&nothing, &shown(&search(), false), &Zone::UTC, made));
}
