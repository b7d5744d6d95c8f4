//! YAML with places: which bytes each node comes from, so that a manifest can be edited without being written anew.

use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, Span, StructureStyle};

/// One document of a stream.
#[derive(Debug)]
pub struct Document {
    /// Its bytes in the stream, from its `---` (or the start of the stream) to the next document.
    pub range: std::ops::Range<usize>,
    pub value: Value,
    pub root: Node,
}

/// A node and the bytes it stands in.
#[derive(Debug)]
pub struct Node {
    pub kind: Kind,
    pub start: usize,
    /// Just after its last byte; comments and blank lines that follow do not belong to it.
    pub end: usize,
    /// Written in brackets: no lines can be put between its children.
    pub flow: bool,
}

#[derive(Debug)]
pub enum Kind {
    Scalar(String),
    Alias,
    Mapping(Vec<(Node, Node)>),
    Sequence(Vec<Node>),
}

impl Node {
    /// The entry of a mapping: its index, key and value.
    pub fn entry(&self, key: &str) -> Option<(usize, &Node, &Node)> {
        let Kind::Mapping(entries) = &self.kind else { return None };
        let is = |node: &Node| matches!(&node.kind, Kind::Scalar(text) if text == key);
        entries.iter().enumerate().find(|(_, (k, _))| is(k)).map(|(i, (k, v))| (i, k, v))
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, _, value)| value)
    }

    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::Sequence(items) => items,
            Kind::Scalar(_) | Kind::Alias | Kind::Mapping(_) => &[],
        }
    }

    /// How many children it has.
    pub fn children(&self) -> usize {
        match &self.kind {
            Kind::Sequence(items) => items.len(),
            Kind::Mapping(entries) => entries.len(),
            Kind::Scalar(_) | Kind::Alias => 0,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text) => Some(text),
            Kind::Alias | Kind::Mapping(_) | Kind::Sequence(_) => None,
        }
    }
}

/// All documents of a stream that hold something. Empty documents keep their bytes by being part of no other's edit.
pub fn parse(text: &str) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    let mut starts = Vec::new();
    let mut roots = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.context("parse YAML")?;
        let (start, end) = bytes(&span)?;
        match event {
            Event::DocumentStart(explicit, _) => starts.push(if explicit { start } else { 0 }),
            Event::DocumentEnd => roots.push(builder.root.take()),
            other => builder.take(&other, start, trimmed_end(text, start, end))?,
        }
    }
    for (index, root) in roots.into_iter().enumerate() {
        let from = starts[index];
        let to = starts.get(index + 1).copied().unwrap_or(text.len());
        let Some(root) = root else { continue };
        let value: Value = serde_saphyr::from_str(&text[from..to]).context("parse YAML")?;
        if !value.is_null() {
            documents.push(Document { range: from..to, value, root });
        }
    }
    Ok(documents)
}

/// A value in our own layout: what names a thing stands first, the rest by alphabet.
pub fn emit(value: &Value) -> Result<String> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.folded_wrap_chars = usize::MAX;
    serde_saphyr::to_string_with_options(&Ordered(value), options).context("write YAML")
}

/// A value whose mappings are written in the order that people expect.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Keys that come first, in this order.
        const FIRST: [&str; 5] = ["apiVersion", "kind", "metadata", "name", "image"];
        match self.0 {
            Value::Object(entries) => {
                let rank = |key: &str| FIRST.iter().position(|f| *f == key).unwrap_or(FIRST.len());
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| rank(key));
                serializer.collect_map(entries.into_iter().map(|(key, value)| (key, Ordered(value))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            other => other.serialize(serializer),
        }
    }
}

fn bytes(span: &Span) -> Result<(usize, usize)> {
    match (span.start.byte_offset(), span.end.byte_offset()) {
        (Some(start), Some(end)) => Ok((start, end)),
        _ => bail!("the YAML parser gave no byte offsets"),
    }
}

/// Block scalars and the like end where the next token starts: what is blank before it belongs to nobody.
fn trimmed_end(text: &str, start: usize, end: usize) -> usize {
    start + text[start..end.max(start)].trim_end().len()
}

/// Builds the tree of the document at hand from events.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
}

struct Open {
    children: Vec<Node>,
    mapping: bool,
    start: usize,
    flow: bool,
}

impl Builder {
    fn take(&mut self, event: &Event<'_>, start: usize, end: usize) -> Result<()> {
        let open = |mapping, style: StructureStyle| Open {
            children: Vec::new(),
            mapping,
            start,
            flow: style == StructureStyle::Flow,
        };
        match event {
            Event::Scalar(text, ..) => self.put(Node { kind: Kind::Scalar(text.to_string()), start, end, flow: false }),
            Event::Alias(_) => self.put(Node { kind: Kind::Alias, start, end, flow: false }),
            Event::MappingStart(style, ..) => self.open.push(open(true, *style)),
            Event::SequenceStart(style, ..) => self.open.push(open(false, *style)),
            Event::MappingEnd | Event::SequenceEnd => self.close(end)?,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<()> {
        let Some(Open { children, mapping, start, flow }) = self.open.pop() else { bail!("unbalanced YAML events") };
        let last = children.iter().map(|c| c.end).max().unwrap_or(start);
        let end = if flow { end } else { last };
        let kind = if mapping { Kind::Mapping(pairs(children)) } else { Kind::Sequence(children) };
        self.put(Node { kind, start, end, flow });
        Ok(())
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.root = Some(node),
        }
    }
}

fn pairs(children: Vec<Node>) -> Vec<(Node, Node)> {
    let mut pairs = Vec::with_capacity(children.len() / 2);
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        pairs.push((key, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_bytes() {
        let text = "# head\na: 1\nb:\n  - x: |\n      one\n      two\n\n  - y: {z: 2}\n# tail\n---\nc: 3\n";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(&text[documents[1].range.clone()], "---\nc: 3\n");
        let items = documents[0].root.get("b").unwrap().items();
        assert_eq!(&text[items[0].start..items[0].end], "x: |\n      one\n      two");
        assert_eq!(&text[items[1].start..items[1].end], "y: {z: 2}");
        assert_eq!(documents[0].value["b"][1]["y"]["z"], 2);
    }

    #[test]
    fn empty_documents_are_no_documents() {
        assert_eq!(parse("---\n---\na: 1\n---\n").unwrap().len(), 1);
        assert_eq!(parse("").unwrap().len(), 0);
        assert_eq!(parse("# nothing\n").unwrap().len(), 0);
    }

    #[test]
    fn what_we_write_reads_back_the_same() {
        let value = serde_json::json!({"a": "12e5", "b": "yes", "c": "0444", "d": ["x: y", ""], "e": {}, "f": "a\nb\n",
            "g": "s3://b/p", "h": null, "i": 1.5, "j": true, "k": "on", "l": "~", "m": " lead", "n": "#no", "o": "1_000"});
        let text = emit(&value).unwrap();
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
        for quoted in ["a: 12e5", "b: yes\n", "c: 0444", "k: on\n", "o: 1_000\n"] {
            assert!(!text.contains(quoted), "kubectl would not read this as text: {quoted}");
        }
    }
}
