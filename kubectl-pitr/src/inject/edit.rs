//! Edits of YAML as text: whole lines are added and removed, and every other byte stays.
//!
//! `None` means that it cannot be done by lines (brackets, aliases): the caller then writes the document in our own layout first.

use std::ops::Range;

use super::tree::Node;

/// Text to put in the place of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) with: String,
}

/// Applies edits that do not overlap.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|e| std::cmp::Reverse(e.range.start));
    let mut text = text.to_owned();
    for edit in edits {
        text.replace_range(edit.range, &edit.with);
    }
    text
}

/// Removes the lines of an entry of a mapping.
pub(super) fn remove_entry(text: &str, mapping: &Node, key: &str) -> Option<Edit> {
    let (_, key, value) = mapping.entry(key)?;
    if mapping.flow || !text[line_start(text, key.start)..key.start].trim().is_empty() {
        return None;
    }
    Some(remove_lines(text, key.start, value.end.max(key.end)))
}

/// Removes the lines of one item of a list.
pub(super) fn remove_item(text: &str, list: &Node, index: usize) -> Option<Edit> {
    let item = &list.items()[index];
    let before = &text[line_start(text, item.start)..item.start];
    if list.flow || before.trim() != "-" {
        return None;
    }
    Some(remove_lines(text, item.start, item.end))
}

/// Puts `item` at the end of the list under `key`, which is made where it is missing.
pub(super) fn append_item(text: &str, mapping: &Node, key: &str, item: &str) -> Option<Edit> {
    let column = column_of_keys(text, mapping)?;
    let lines = |indent: usize| {
        let leads = std::iter::once("- ").chain(std::iter::repeat("  "));
        leads.zip(item.lines()).map(|(lead, line)| indented(indent, &format!("{lead}{line}"))).collect::<String>()
    };
    match mapping.get(key) {
        Some(list) => Some(insert_lines(text, list.end, &lines(column_of_dashes(text, list)?))),
        None => {
            let header = indented(column, &format!("{key}:"));
            Some(insert_lines(text, mapping.end, &format!("{header}{}", lines(column + list_indent(text, mapping)))))
        }
    }
}

/// Puts `key: value` at the end of the mapping under `parent_key`, which is made where it is missing.
pub(super) fn append_entry(text: &str, parent: &Node, parent_key: &str, entry: (&str, &str)) -> Option<Edit> {
    let line = format!("{}: {}", entry.0, entry.1);
    match parent.get(parent_key) {
        Some(mapping) => {
            let column = column_of_keys(text, mapping)?;
            Some(insert_lines(text, mapping.end, &indented(column, &line)))
        }
        None => {
            let column = column_of_keys(text, parent)?;
            let lines = format!("{}{}", indented(column, &format!("{parent_key}:")), indented(column + 2, &line));
            Some(insert_lines(text, parent.end, &lines))
        }
    }
}

fn indented(columns: usize, line: &str) -> String {
    if line.trim().is_empty() { "\n".to_owned() } else { format!("{}{line}\n", " ".repeat(columns)) }
}

/// The column of a block mapping's keys; none when it has no keys or stands in brackets.
fn column_of_keys(text: &str, mapping: &Node) -> Option<usize> {
    if mapping.flow || mapping.children() == 0 {
        return None;
    }
    Some(mapping.start - line_start(text, mapping.start))
}

/// The column of a block list's dashes.
fn column_of_dashes(text: &str, list: &Node) -> Option<usize> {
    if list.flow {
        return None;
    }
    // The parser lets a list begin at its first dash, or, where it is not indented, at its first item.
    if text[list.start..].starts_with("- ") || text[list.start..].starts_with("-\n") {
        return Some(list.start - line_start(text, list.start));
    }
    let first = list.items().first()?;
    let before = &text[line_start(text, first.start)..first.start];
    if before.trim() == "-" { before.find('-') } else { None }
}

/// How this mapping indents its lists under their keys: 0 or 2, as its other lists do.
fn list_indent(text: &str, mapping: &Node) -> usize {
    let column = mapping.start - line_start(text, mapping.start);
    let of = |key: &str| column_of_dashes(text, mapping.get(key)?).and_then(|dash| dash.checked_sub(column));
    ["containers", "initContainers", "volumes"].into_iter().find_map(of).unwrap_or(0)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |i| i + 1)
}

/// Just after the line break of the line that holds `at`, or the end of the text.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |i| at + i + 1)
}

/// The lines from the one of `start` to the one of `end`. A text without a last line break stays without one.
fn remove_lines(text: &str, start: usize, end: usize) -> Edit {
    let (from, to) = (line_start(text, start), line_end(text, end));
    let from = if to == text.len() && !text.ends_with('\n') { from.saturating_sub(1) } else { from };
    Edit { range: from..to, with: String::new() }
}

/// `lines` after the line that holds `after`, with the text's own line breaks.
fn insert_lines(text: &str, after: usize, lines: &str) -> Edit {
    let at = line_end(text, after);
    let unbroken = at == text.len() && !text.ends_with('\n');
    let mut with = if unbroken { format!("\n{}", lines.trim_end_matches('\n')) } else { lines.to_owned() };
    if text.contains("\r\n") {
        with = with.replace('\n', "\r\n");
    }
    Edit { range: at..at, with }
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn edited(text: &str, edit: impl FnOnce(&Node) -> Option<Edit>) -> Option<String> {
        let documents = tree::parse(text).unwrap();
        edit(&documents[0].root).map(|e| apply(text, vec![e]))
    }

    #[test]
    fn items_are_appended_in_the_layout_of_the_list() {
        let add = |text: &str| edited(text, |root| append_item(text, root, "l", "name: b\nx: 1\n")).unwrap();
        assert_eq!(
            add("l:\n- name: a # kept\n# kept too\nm: 1\n"),
            "l:\n- name: a # kept\n- name: b\n  x: 1\n# kept too\nm: 1\n"
        );
        assert_eq!(add("l:\n    - name: a\n"), "l:\n    - name: a\n    - name: b\n      x: 1\n");
        assert_eq!(add("m: 1"), "m: 1\nl:\n- name: b\n  x: 1");
        assert_eq!(add("m: 1\r\nl:\r\n- a: 1\r\n"), "m: 1\r\nl:\r\n- a: 1\r\n- name: b\r\n  x: 1\r\n");
        let flow = "l: [{name: a}]\n";
        assert_eq!(edited(flow, |root| append_item(flow, root, "l", "b")), None);
    }

    #[test]
    fn what_was_appended_comes_out_again() {
        for text in
            ["l:\n- name: a # kept\n# kept too\nm: 1\n", "l:\n    - |\n      a\n\n", "l: # why\n- a", "l:\n- a\n\n\n"]
        {
            let more = edited(text, |root| append_item(text, root, "l", "name: b\nx: 1\n")).unwrap();
            let less = edited(&more, |root| remove_item(&more, root.get("l").unwrap(), 1)).unwrap();
            assert_eq!(less, text);
            let more = edited(text, |root| append_item(text, root, "new", "name: b\n")).unwrap();
            assert_eq!(edited(&more, |root| remove_entry(&more, root, "new")).unwrap(), text);
            let more = edited(text, |root| append_entry(text, root, "new", ("k", "v"))).unwrap();
            assert_eq!(edited(&more, |root| remove_entry(&more, root, "new")).unwrap(), text);
        }
    }
}
