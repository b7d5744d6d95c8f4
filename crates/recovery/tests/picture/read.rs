//! From a picture to a world.

use std::collections::BTreeMap;

use pitr_binlog::{Flavour, Gtid, GtidSet, GtidSource, Tag, TransactionFlags};
use pitr_recovery::{Closed, Damage, RangeKind, SECOND_US};

use crate::world::{File, Span, Tx, World, backup, boundary, file_id, name};

/// A picture that has been read.
pub(crate) struct Picture {
    pub(crate) world: World,
    /// What is asked about it, one a line.
    pub(crate) questions: Vec<String>,
}

/// Reads a picture and the questions below it.
pub(crate) fn read(text: &str) -> Picture {
    let world = World { flavour: Flavour::MySql, files: Vec::new(), backups: Vec::new(), running: None };
    let mut reader = Reader { world, states: BTreeMap::new(), next_id: 0, questions: Vec::new() };
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        if !line.is_empty() {
            reader.line(line);
        }
    }
    Picture { world: reader.world, questions: reader.questions }
}

struct Reader {
    world: World,
    /// What each server had executed at the end of its last file.
    states: BTreeMap<String, GtidSet>,
    next_id: u32,
    questions: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "?" => self.questions.push(rest.to_owned()),
            "running" => self.world.running = Some(source_of(rest)),
            "flavour" => self.world.flavour = rest.parse().unwrap(),
            "backup" => self.backup(rest),
            "tail" => {
                let (file, from, to) = span(rest);
                let start = if from == 0 { 0 } else { boundary(from) };
                let end = boundary(to + 1);
                self.file(file).archived.push(Span { start, end, kind: RangeKind::Tail });
            }
            "lost" => {
                let (file, from, to) = span(rest);
                let start = if from == 0 { 0 } else { boundary(from) };
                let file = self.file(file);
                let lost = file.archived.iter().filter(|span| {
                    span.kind == RangeKind::Catalogued && span.start >= start && span.end <= boundary(to + 1)
                });
                let lost: Vec<_> = lost.copied().collect();
                assert!(!lost.is_empty(), "{rest} loses nothing");
                file.lost.extend(lost);
            }
            "damage" => {
                let (file, at) = rest.split_once(' ').unwrap();
                let offset = boundary(at.parse().unwrap());
                let damage = Damage { offset, reason: "the event's checksum is wrong".to_owned() };
                self.file(file).damage = Some(damage);
            }
            file => self.binlog(file, rest),
        }
    }

    fn file(&mut self, named: &str) -> &mut File {
        let id = binlog_id(named);
        self.world.files.iter_mut().find(|file| file.id == id).expect("a file of the picture")
    }

    fn backup(&mut self, line: &str) {
        let (id, rest) = line.split_once(" {").unwrap();
        let (set, rest) = rest.split_once("} at ").unwrap();
        let (at, source) = rest.split_once(" from ").unwrap();
        // `A.2 3`: at its server's position behind the third transaction of that file.
        let (source, position) = source.split_once(" behind ").unwrap_or((source, ""));
        let mut base = backup(id, &source_of(source), set_of(set), seconds(at));
        base.flavour = self.world.flavour;
        if let Some((file, count)) = position.split_once(' ') {
            base.position = Some((name(binlog_id(file).number), boundary(count.parse().unwrap())));
            base.settings.insert("log_replica_updates".to_owned(), "ON".to_owned());
        }
        self.world.backups.push(base);
    }

    fn binlog(&mut self, named: &str, line: &str) {
        let id = binlog_id(named);
        let (given, line) = match line.strip_prefix('{').map(|rest| rest.split_once('}').unwrap()) {
            Some((set, rest)) => (Some(set_of(set)), rest),
            None => (None, line),
        };
        let previous = given.unwrap_or_else(|| self.states.get(&id.source).cloned().unwrap_or_default());
        let mut parts = Parts::default();
        for token in spaced(line).split_whitespace() {
            let tx = parts.token(token, self.next_id);
            self.next_id += u32::from(tx);
        }
        let mut state = previous.clone();
        parts.txs[..parts.kept.unwrap_or(parts.txs.len())]
            .iter()
            .filter_map(|tx| tx.gtid)
            .for_each(|gtid| execute(&mut state, gtid));
        self.states.insert(id.source.clone(), state);
        let number = id.number;
        let closed = match parts.end.as_str() {
            "rotate" => Closed::Rotated { next: name(number + 1) },
            "stop" => Closed::Stopped,
            "crash" => Closed::Crashed,
            _ => Closed::Open,
        };
        let (txs, archived) = (parts.txs, parts.archived);
        self.world.files.push(File { id, previous, txs, closed, damage: None, archived, lost: Vec::new() });
    }
}

/// The parts of a binlog's line.
#[derive(Default)]
struct Parts {
    txs: Vec<Tx>,
    kept: Option<usize>,
    archived: Vec<Span>,
    open: usize,
    end: String,
}

impl Parts {
    /// Takes one token; says whether it was a transaction.
    fn token(&mut self, token: &str, id: u32) -> bool {
        match token {
            "[" | "(" => self.open = self.txs.len(),
            "]" | ")" => {
                let start = if self.open == 0 { 0 } else { boundary(self.open) };
                let kind = if token == "]" { RangeKind::Catalogued } else { RangeKind::Tail };
                self.archived.push(Span { start, end: boundary(self.txs.len()), kind });
            }
            "|" => self.kept = Some(self.txs.len()),
            "rotate" | "stop" | "crash" => self.end = token.to_owned(),
            transaction => {
                self.txs.push(tx(transaction, id));
                return true;
            }
        }
        false
    }
}

fn spaced(line: &str) -> String {
    let mut text = String::new();
    for letter in line.chars() {
        if "[]()|".contains(letter) {
            text.extend([' ', letter, ' ']);
        } else {
            text.push(letter);
        }
    }
    text
}

fn tx(token: &str, id: u32) -> Tx {
    let (gtid, rest) = token.split_once(':').unwrap_or_else(|| panic!("{token:?} is no transaction"));
    let times = rest.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let (time, here) = times.split_once('@').unwrap_or((times, times));
    let mut flags = TransactionFlags::NONE;
    let mut whole_second = false;
    for letter in rest[times.len()..].chars() {
        flags = flags.union(match letter {
            'p' => TransactionFlags::XA_PREPARE,
            'c' => TransactionFlags::XA_COMMIT,
            's' => TransactionFlags::STATEMENT,
            'n' => TransactionFlags::NON_TRANSACTIONAL,
            'i' => TransactionFlags::INCIDENT,
            'w' => {
                whole_second = true;
                TransactionFlags::NONE
            }
            other => panic!("{token:?} has an unknown letter {other:?}"),
        });
    }
    let gtid = (gtid != "-").then(|| gtid_of(gtid));
    Tx { id, gtid, us: seconds(time), here_us: seconds(here), flags, whole_second }
}

/// `A.2 1..3`: the file and its transactions from and to, both included.
fn span(text: &str) -> (&str, usize, usize) {
    let (file, range) = text.split_once(' ').unwrap();
    let (from, to) = range.split_once("..").unwrap();
    (file, from.parse().unwrap(), to.parse().unwrap())
}

fn binlog_id(named: &str) -> pitr_recovery::BinlogId {
    let (server, number) = named.split_once('.').unwrap_or_else(|| panic!("{named:?} is no binlog"));
    let epoch = number.matches('\'').count() as u64;
    file_id(&source_of(server), number.trim_end_matches('\'').parse().unwrap(), epoch)
}

/// The identity of a server that a letter stands for.
pub(crate) fn source_of(letter: &str) -> String {
    let digits = |count: usize| letter.to_lowercase().repeat(count);
    format!("{}-{}-{}-{}-{}", digits(8), digits(4), digits(4), digits(4), digits(12))
}

pub(crate) fn seconds(text: &str) -> i64 {
    let seconds: f64 = text.parse().unwrap_or_else(|_| panic!("{text:?} is no number of seconds"));
    (seconds * SECOND_US as f64).round() as i64
}

/// `a7`, `a/red7` or `0-1-7`.
pub(crate) fn gtid_of(text: &str) -> Gtid {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text.parse().unwrap();
    }
    let digits = text.len() - text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (source, number) = text.split_at(digits);
    let (letter, tag) = source.split_once('/').map_or((source, None), |(letter, tag)| (letter, Some(tag)));
    let uuid = source_of(letter).parse().unwrap();
    let tag = tag.map(|tag| Tag::parse(tag).unwrap());
    Gtid { source: GtidSource::MySql { uuid, tag }, number: number.parse().unwrap() }
}

/// `a1-5 b7 0-1-9`: GTIDs and, for MySQL, ranges of them. MariaDB's stand for all up to that number.
pub(crate) fn set_of(text: &str) -> GtidSet {
    let mut set = GtidSet::new();
    for item in text.split_whitespace() {
        if item.starts_with(|first: char| first.is_ascii_digit()) {
            execute(&mut set, gtid_of(item));
            continue;
        }
        let (first, last) = item.split_once('-').unwrap_or((item, ""));
        let first = gtid_of(first);
        let last = if last.is_empty() { first.number } else { last.parse().unwrap() };
        set.insert_range(&first.source, first.number..=last);
    }
    set
}

/// Adds executed transactions to a state as a server of that flavour tells it: MariaDB only knows the last number.
fn execute(state: &mut GtidSet, gtid: Gtid) {
    match gtid.source {
        GtidSource::MySql { .. } => state.insert(&gtid),
        GtidSource::MariaDb { .. } => state.insert_range(&gtid.source, 1..=gtid.number),
    }
}
