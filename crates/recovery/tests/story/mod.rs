//! Random histories of up to three servers: who wrote what, what is archived of it, and which base backups were taken.

use std::collections::BTreeSet;

use pitr_binlog::{Flavour, Gtid, GtidSet, GtidSource, TransactionFlags, Uuid};
use pitr_recovery::{Closed, RangeKind};
use proptest::prelude::*;

use crate::world::{File, SIZE, Span, Tx, World, backup, boundary, file_id, name};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A server commits a transaction of its own, some time later.
    Write {
        server: usize,
        tenths: u8,
    },
    /// A server applies what it lacks of another's log: the first such transaction, or the second.
    Replicate {
        to: usize,
        from: usize,
        second: bool,
    },
    Rotate {
        server: usize,
    },
    /// A server loses its last transactions and begins a new binlog.
    Crash {
        server: usize,
        lost: usize,
    },
    /// RESET BINARY LOGS AND GTIDS.
    Reset {
        server: usize,
    },
    Backup {
        server: usize,
    },
    /// The clock of all servers is set back.
    StepBack {
        tenths: u8,
    },
    /// A server is restored to a beginning of another's history, under a new identity.
    Rebuild {
        server: usize,
        from: usize,
        behind: usize,
        /// As real servers do it: heads leave out for ever what it began with.
        silent: bool,
    },
}

/// What may happen in a history besides writing, replicating, rotating and backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    Calm,
    Crashing,
    Resetting,
    Stepping,
    Rebuilding,
    Cloning,
}

/// A random history before it is told.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) servers: usize,
    pub(crate) reorders: bool,
    /// Only a server writes that has all that any has: two histories that a silent clone has merged cannot be told from one
    /// (docs/decisions/0007).
    pub(crate) one_writer: bool,
    pub(crate) events: Vec<Event>,
    /// How each file is cut and what of it is archived; used round and round.
    pub(crate) cuts: Vec<u8>,
}

/// A history as it happened, with the truth that no archive tells.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) world: World,
    /// For each file of the world: everything its server had executed before it, in that server's order.
    pub(crate) before: Vec<Vec<Tx>>,
    /// For each file: how many of its transactions its server kept.
    pub(crate) kept: Vec<usize>,
    /// For each file: the one in which its server went on.
    pub(crate) next: Vec<Option<usize>>,
    /// Heads leave out what some server began with: only base backups tell it.
    pub(crate) silent: bool,
    /// For each base backup: everything in it.
    pub(crate) bases: Vec<Vec<Tx>>,
}

struct Server {
    source: String,
    uuid: Uuid,
    executed: Vec<Tx>,
    /// What its heads leave out.
    unlogged: GtidSet,
    file: usize,
    number: u64,
    epoch: u64,
}

pub(crate) fn scripts() -> impl Strategy<Value = Script> {
    let temper = prop_oneof![
        Just(Temper::Calm),
        Just(Temper::Crashing),
        Just(Temper::Resetting),
        Just(Temper::Stepping),
        Just(Temper::Rebuilding),
        Just(Temper::Cloning)
    ];
    (1..=3_usize, temper, proptest::bool::weighted(0.25)).prop_flat_map(|(servers, temper, reorders)| {
        let events = proptest::collection::vec(event(servers, temper), 4..30);
        let cuts = proptest::collection::vec(any::<u8>(), 1..24);
        let one_writer = temper == Temper::Cloning;
        (events, cuts).prop_map(move |(events, cuts)| Script { servers, reorders, one_writer, events, cuts })
    })
}

fn event(servers: usize, temper: Temper) -> impl Strategy<Value = Event> {
    let server = move || (0..servers, 0..4_usize).prop_map(|(server, luck)| if luck < 2 { 0 } else { server });
    let write = (server(), 0..25_u8).prop_map(|(server, tenths)| Event::Write { server, tenths });
    let replicate =
        (0..servers, 0..servers, any::<bool>()).prop_map(|(to, from, second)| Event::Replicate { to, from, second });
    let rotate = (0..servers).prop_map(|server| Event::Rotate { server });
    let base = (0..servers).prop_map(|server| Event::Backup { server });
    let special = match temper {
        Temper::Calm => (0..servers).prop_map(|server| Event::Rotate { server }).boxed(),
        Temper::Crashing => (0..servers, 0..3_usize).prop_map(|(server, lost)| Event::Crash { server, lost }).boxed(),
        Temper::Resetting => (0..servers).prop_map(|server| Event::Reset { server }).boxed(),
        Temper::Stepping => (1..40_u8).prop_map(|tenths| Event::StepBack { tenths }).boxed(),
        Temper::Rebuilding | Temper::Cloning => (0..servers, 0..servers, 0..4_usize)
            .prop_map(move |(server, from, behind)| Event::Rebuild {
                server,
                from,
                behind,
                silent: temper == Temper::Cloning,
            })
            .boxed(),
    };
    prop_oneof![8 => write, 8 => replicate, 3 => rotate, 2 => base, 1 => special]
}

pub(crate) fn gtids(of: &[Tx]) -> GtidSet {
    of.iter().filter_map(|tx| tx.gtid).collect()
}

pub(crate) fn ids(of: &[Tx]) -> BTreeSet<u32> {
    of.iter().map(|tx| tx.id).collect()
}

/// Two histories can replicate from each other only while a GTID means the same in both.
fn agree(a: &[Tx], b: &[Tx]) -> bool {
    a.iter().all(|x| b.iter().all(|y| x.gtid != y.gtid || x.id == y.id))
}

struct Teller {
    story: Story,
    servers: Vec<Server>,
    letters: u8,
    clock_us: i64,
    next_id: u32,
    reorders: bool,
    one_writer: bool,
}

/// Lets a script happen.
pub(crate) fn tell(script: &Script) -> Story {
    let world = World { flavour: Flavour::MySql, files: Vec::new(), backups: Vec::new(), running: None };
    let story =
        Story { world, before: Vec::new(), kept: Vec::new(), next: Vec::new(), silent: false, bases: Vec::new() };
    let mut teller = Teller {
        story,
        servers: Vec::new(),
        letters: 0,
        clock_us: 1_000_000_000,
        next_id: 0,
        reorders: script.reorders,
        one_writer: script.one_writer,
    };
    for _ in 0..script.servers {
        let server = teller.new_server(Vec::new(), false);
        teller.servers.push(server);
    }
    for event in &script.events {
        teller.happen(*event);
    }
    teller.archive(&script.cuts);
    teller.story
}

impl Teller {
    fn new_server(&mut self, executed: Vec<Tx>, silent: bool) -> Server {
        let letter = char::from(b"abcdef0123456789"[usize::from(self.letters % 16)]);
        self.letters += 1;
        let digits = |count: usize| letter.to_string().repeat(count);
        let source = format!("{}-{}-{}-{}-{}", digits(8), digits(4), digits(4), digits(4), digits(12));
        let uuid = source.parse().unwrap();
        let unlogged = if silent { gtids(&executed) } else { GtidSet::new() };
        let mut server = Server { source, uuid, executed, unlogged, file: 0, number: 0, epoch: 0 };
        self.begin_file(&mut server);
        server
    }

    fn begin_file(&mut self, server: &mut Server) {
        server.number += 1;
        server.file = self.story.world.files.len();
        self.story.world.files.push(File {
            id: file_id(&server.source, server.number, server.epoch),
            previous: gtids(&server.executed).subtract(&server.unlogged),
            txs: Vec::new(),
            closed: Closed::Open,
            damage: None,
            archived: Vec::new(),
            lost: Vec::new(),
        });
        self.story.before.push(server.executed.clone());
        self.story.kept.push(0);
        self.story.next.push(None);
    }

    fn log(&mut self, server: usize, mut tx: Tx) {
        tx.here_us = self.clock_us;
        let server = &mut self.servers[server];
        self.story.world.files[server.file].txs.push(tx.clone());
        self.story.kept[server.file] += 1;
        server.executed.push(tx);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Write { server, tenths } => self.write(server, tenths),
            Event::Replicate { to, from, second } => self.replicate(to, from, second && self.reorders),
            Event::Rotate { server } => self.rotate(server, true),
            Event::Crash { server, lost } => {
                let file = self.servers[server].file;
                let lost = lost.min(self.story.kept[file]);
                self.story.kept[file] -= lost;
                let executed = &mut self.servers[server].executed;
                executed.truncate(executed.len() - lost);
                self.clock_us += 1;
                self.rotate(server, true);
            }
            Event::Reset { server } => {
                self.servers[server].executed.clear();
                self.servers[server].unlogged = GtidSet::new();
                self.servers[server].number = 0;
                self.servers[server].epoch += 1;
                self.clock_us += 1;
                self.rotate(server, false);
            }
            Event::Backup { server } => {
                let executed = self.servers[server].executed.clone();
                let id = format!("bb-{}", self.story.bases.len());
                let file = &self.story.world.files[self.servers[server].file];
                let mut base = backup(&id, &self.servers[server].source, gtids(&executed), self.clock_us);
                base.position = Some((name(file.id.number), boundary(self.story.kept[self.servers[server].file])));
                base.settings.insert("log_replica_updates".to_owned(), "ON".to_owned());
                self.story.world.backups.push(base);
                self.story.bases.push(executed);
            }
            Event::StepBack { tenths } => self.clock_us -= i64::from(tenths) * 100_000,
            Event::Rebuild { server, from, behind, silent } => {
                let of = &self.servers[from].executed;
                let state = of[..of.len().saturating_sub(behind)].to_vec();
                if self.letters < 16 {
                    self.story.silent |= silent;
                    self.servers[server] = self.new_server(state, silent);
                }
            }
        }
    }

    fn rotate(&mut self, server: usize, goes_on: bool) {
        let new = Server {
            source: self.servers[server].source.clone(),
            executed: self.servers[server].executed.clone(),
            unlogged: self.servers[server].unlogged.clone(),
            ..self.servers[server]
        };
        let mut new = new;
        let old = new.file;
        self.begin_file(&mut new);
        if goes_on {
            self.story.next[old] = Some(new.file);
        }
        self.servers[server] = new;
    }

    fn write(&mut self, server: usize, tenths: u8) {
        let has = ids(&self.servers[server].executed);
        if self.one_writer && self.servers.iter().any(|other| !ids(&other.executed).is_subset(&has)) {
            return;
        }
        // Often in one microsecond, often within a second, sometimes later.
        self.clock_us += match tenths {
            0..3 => 0,
            3..9 => i64::from(tenths),
            tenths => i64::from(tenths) * 100_000,
        };
        let of = &self.servers[server];
        let source = GtidSource::MySql { uuid: of.uuid, tag: None };
        let number = gtids(&of.executed).last(&source).unwrap_or(0) + 1;
        let gtid = Some(Gtid { source, number });
        let tx = Tx {
            id: self.next_id,
            gtid,
            us: self.clock_us,
            here_us: self.clock_us,
            flags: TransactionFlags::NONE,
            whole_second: false,
        };
        self.next_id += 1;
        self.log(server, tx);
    }

    fn replicate(&mut self, to: usize, from: usize, second: bool) {
        let (target, origin) = (&self.servers[to].executed, &self.servers[from].executed);
        if to == from || !agree(target, origin) {
            return;
        }
        // A clone goes on replicating from servers that have what it was cloned from. If it merged another history with that
        // one, nothing in any log would tell.
        if !self.servers[to].unlogged.is_subset_of(&gtids(origin)) {
            return;
        }
        let has = ids(target);
        // A server does not take its own transactions back from others.
        let own = GtidSource::MySql { uuid: self.servers[to].uuid, tag: None };
        let is_foreign = |tx: &&Tx| tx.gtid.is_some_and(|gtid| gtid.source != own);
        let mut lacking = origin.iter().filter(|tx| !has.contains(&tx.id)).filter(is_foreign);
        let (first, other) = (lacking.next().cloned(), lacking.next().cloned());
        if let Some(tx) = if second { other.or(first) } else { first } {
            self.log(to, tx);
        }
    }

    fn archive(&mut self, cuts: &[u8]) {
        let mut cuts = cuts.iter().copied().cycle();
        for place in 0..self.story.world.files.len() {
            let kept = self.story.kept[place];
            let file = &mut self.story.world.files[place];
            archive_file(file, kept, &mut cuts);
            let end = boundary(kept);
            let ends_catalogued =
                file.archived.iter().any(|span| span.end == end && span.kind == RangeKind::Catalogued);
            let crashed = file.txs.len() > kept;
            // Some servers were shut down where others began the next file, and some are down at the end.
            let shut_down = cuts.next().unwrap_or_default() % 4 == 0;
            file.closed = match (ends_catalogued, self.story.next[place]) {
                (true, Some(_)) if crashed => Closed::Crashed,
                (true, _) if shut_down && !crashed => Closed::Stopped,
                (true, Some(_)) => Closed::Rotated { next: name(file.id.number + 1) },
                (true, None) | (false, _) => Closed::Open,
            };
        }
    }
}

fn archive_file(file: &mut File, kept: usize, cuts: &mut impl Iterator<Item = u8>) {
    let mut at = 0;
    let end = boundary(kept);
    while at < end {
        let luck = cuts.next().unwrap_or_default();
        let inside = if luck >= 224 { SIZE / 2 } else { 0 };
        let next = (boundary(usize::from(luck % 3) + 1) + at / SIZE * SIZE - inside).min(end);
        let next = if next == at || kept == 0 { end } else { next };
        let kinds: &[RangeKind] = match luck / 3 % 16 {
            0 | 1 => &[],
            2 | 3 => &[RangeKind::Tail],
            4 => &[RangeKind::Catalogued, RangeKind::Tail],
            _ => &[RangeKind::Catalogued],
        };
        // The tail is cut at the ends of transactions only.
        let whole = (at == 0 || at.is_multiple_of(SIZE)) && next.is_multiple_of(SIZE);
        let stored = kinds.iter().filter(|kind| whole || **kind == RangeKind::Catalogued);
        file.archived.extend(stored.map(|kind| Span { start: at, end: next, kind: *kind }));
        at = next;
    }
    let luck = cuts.next().unwrap_or_default();
    let all = boundary(file.txs.len());
    // The tail saw some bytes that were stored again since, or that the server lost.
    if luck.is_multiple_of(4) && !file.txs.is_empty() {
        let first = usize::from(luck / 4) % file.txs.len();
        let start = if first == 0 { 0 } else { boundary(first) };
        let tail = Span { start, end: all, kind: RangeKind::Tail };
        if !file.archived.iter().any(|span| (span.start, span.end) == (tail.start, tail.end)) {
            file.archived.push(tail);
        }
    } else if all > end && luck % 2 == 1 {
        file.archived.push(Span { start: end, end: all, kind: RangeKind::Tail });
    }
}
