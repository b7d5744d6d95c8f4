//! kubectl's JSONPath: `{.items[*].workload}`, `{range .items[*]}{.workload}{"\t"}{.state}{"\n"}{end}`,
//! `{.items[?(@.state=="OK")].workload}`. What it does not understand is refused, never passed over.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

/// A template that was read whole.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Each,
    /// Elements whose field is, or is not, a text or a number.
    Where(Vec<Step>, bool, Value),
}

impl JsonPath {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.chars().peekable() };
        let nodes = reader.nodes(false)?;
        Ok(Self(nodes))
    }

    /// Reads one path, with or without its braces: `.endAgeSeconds`, `{.workload}`.
    pub fn path(text: &str) -> Result<Self, String> {
        let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
        Self::parse(&format!("{{{inner}}}"))
    }

    /// The template with a document's values in it. What is not there is nothing.
    pub fn text(&self, document: &Value) -> String {
        let mut out = String::new();
        write(&self.0, document, &mut out);
        out
    }

    /// Sorts rows by what the path finds in their documents: numbers by value, all else as text; what has no such field goes last.
    pub fn sort<T>(&self, rows: &mut [T], document: impl Fn(&T) -> Value) {
        rows.sort_by_cached_key(|row| match self.first(&document(row)) {
            Some(Value::Number(number)) => (0, (number.as_f64().unwrap_or(0.0) * 1e6) as i128, String::new()),
            Some(Value::String(text)) => (1, 0, text.clone()),
            Some(Value::Null) | None => (3, 0, String::new()),
            Some(other) => (2, 0, other.to_string()),
        });
    }

    /// The first value of the first path.
    pub fn first<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        let steps = self.0.iter().find_map(|node| match node {
            Node::Path(steps) => Some(steps),
            Node::Text(_) | Node::Range(..) => None,
        })?;
        found(steps, document).into_iter().next()
    }
}

fn write(nodes: &[Node], here: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(steps) => {
                let words: Vec<String> = found(steps, here).into_iter().map(shown).collect();
                out.push_str(&words.join(" "));
            }
            Node::Range(steps, inner) => {
                found(steps, here).into_iter().for_each(|item| write(inner, item, out));
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn found<'a>(steps: &[Step], from: &'a Value) -> Vec<&'a Value> {
    steps.iter().fold(vec![from], |values, step| values.into_iter().flat_map(|value| step.of(value)).collect())
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let place = if *index < 0 { length + index } else { *index };
                usize::try_from(place).ok().and_then(|place| items.get(place)).into_iter().collect()
            }
            (Self::Each, Value::Array(items)) => items.iter().collect(),
            (Self::Each, Value::Object(fields)) => fields.values().collect(),
            (Self::Where(steps, equal, wanted), Value::Array(items)) => {
                items.iter().filter(|item| found(steps, item).contains(&wanted) == *equal).collect()
            }
            _ => Vec::new(),
        }
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    /// Up to the end, or inside a range up to `{end}`.
    fn nodes(&mut self, in_range: bool) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        let mut text = String::new();
        while let Some(c) = self.rest.next() {
            if c != '{' {
                text.push(c);
                continue;
            }
            if !text.is_empty() {
                nodes.push(Node::Text(std::mem::take(&mut text)));
            }
            let inside = self.inside()?;
            match inside.trim() {
                "end" if in_range => return Ok(nodes),
                "end" => return Err("{end} without {range}".to_owned()),
                quoted if quoted.starts_with(['"', '\'']) => nodes.push(Node::Text(literal(quoted)?)),
                range if range.starts_with("range ") => {
                    let steps = steps(range.trim_start_matches("range ").trim())?;
                    nodes.push(Node::Range(steps, self.nodes(true)?));
                }
                path => nodes.push(Node::Path(steps(path)?)),
            }
        }
        if in_range {
            return Err("{range} without {end}".to_owned());
        }
        if !text.is_empty() {
            nodes.push(Node::Text(text));
        }
        Ok(nodes)
    }

    /// What stands between two braces.
    fn inside(&mut self) -> Result<String, String> {
        let mut inside = String::new();
        let mut quote = None;
        for c in self.rest.by_ref() {
            match (quote, c) {
                (None, '}') => return Ok(inside),
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                _ => {}
            }
            inside.push(c);
        }
        Err(format!("\"{{{inside}\" does not end"))
    }
}

/// `"\n"`, `'x'`
fn literal(text: &str) -> Result<String, String> {
    let inner =
        text.get(1..text.len().saturating_sub(1)).filter(|_| text.len() > 1 && text[..1] == text[text.len() - 1..]);
    let inner = inner.ok_or_else(|| format!("{text} is no text in quotes"))?;
    Ok(inner.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\""))
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let bad = |what: &str| format!("\"{path}\" is no path that is understood here: {what}");
    let mut steps = Vec::new();
    let mut rest = path.trim_start_matches(['$', '@']);
    while !rest.is_empty() {
        if let Some(field) = rest.strip_prefix('.') {
            let end = field.find(['.', '[']).unwrap_or(field.len());
            let (name, tail) = field.split_at(end);
            rest = tail;
            match name {
                "*" => steps.push(Step::Each),
                "" if tail.starts_with('[') || (tail.is_empty() && steps.is_empty()) => {}
                "" => return Err(bad("a name is missing")),
                name => steps.push(Step::Field(name.to_owned())),
            }
        } else if let Some(tail) = rest.strip_prefix('[') {
            let end = closing(tail).ok_or_else(|| bad("a \"]\" is missing"))?;
            steps.push(bracket(&tail[..end]).ok_or_else(|| bad(&tail[..end]))?);
            rest = &tail[end + 1..];
        } else {
            return Err(bad("it begins with \".\""));
        }
    }
    Ok(steps)
}

/// The place of the bracket that closes, outside quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (place, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(place),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Each);
    }
    if text.starts_with(['"', '\'']) {
        return literal(text).ok().map(Step::Field);
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (path, equal, wanted) = match (condition.split_once("=="), condition.split_once("!=")) {
            (Some((path, wanted)), _) => (path, true, wanted),
            (None, Some((path, wanted))) => (path, false, wanted),
            (None, None) => return None,
        };
        let wanted = wanted.trim();
        let wanted = match literal(wanted) {
            Ok(text) if wanted.starts_with(['"', '\'']) => Value::String(text),
            _ => serde_json::from_str(wanted).ok()?,
        };
        return Some(Step::Where(steps(path.trim()).ok()?, equal, wanted));
    }
    text.parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(template: &str, expected: &str) {
        let document = json!({"kind": "StatusList", "items": [
            {"workload": "mysql", "state": "OK", "endAgeSeconds": 2, "a.b": true, "gaps": []},
            {"workload": "db", "state": "DEGRADED", "endAgeSeconds": 1920, "gaps": [{"id": "gap-7f2a"}]}]});
        assert_eq!(JsonPath::parse(template).unwrap().text(&document), expected, "{template}");
    }

    #[test]
    fn paths_are_read_as_kubectl_reads_them() {
        check("{.kind}", "StatusList");
        check("{$.items[0].workload}", "mysql");
        check("{.items[-1].workload}", "db");
        check("{.items[*].workload}", "mysql db");
        check("{.items[*].gaps[*].id}", "gap-7f2a");
        check("{.items[0]['a.b']}", "true");
        check("{.items[?(@.state==\"OK\")].workload}", "mysql");
        check("{.items[?(@.state!='OK')].workload}", "db");
        check("{.items[?(@.endAgeSeconds==2)].workload}", "mysql");
        check("{range .items[*]}{.workload}{\"\\t\"}{.endAgeSeconds}{\"\\n\"}{end}", "mysql\t2\ndb\t1920\n");
        check("kind: {.kind}, none: {.nothing.at.all}", "kind: StatusList, none: ");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "{.items[}",
            "{items}",
            "{.items",
            "{end}",
            "{range .items[*]}x",
            "{.items[?(@.a>1)]}",
            "{..a}",
            "{.a[1:2]}",
        ] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_path_needs_no_braces() {
        let document = json!({"endAgeSeconds": 7});
        for text in [".endAgeSeconds", "{.endAgeSeconds}"] {
            assert_eq!(JsonPath::path(text).unwrap().first(&document), Some(&json!(7)));
        }
    }
}
