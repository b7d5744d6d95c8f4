//! What is true of a story, found by trying: which states can be reached by applying archived transactions one by one, and
//! what the bytes of a plan do to a server.

use std::collections::BTreeSet;

use pitr_binlog::GtidSet;
use pitr_recovery::{Closed, PlannedRange, RestorePlan};

use crate::story::{Story, gtids, ids};
use crate::world::{File, SIZE, Span, Tx, boundary};

/// Where a transaction lies: file and number.
type At = (usize, usize);

/// A story with what follows from it.
pub(crate) struct Truth<'a> {
    pub(crate) story: &'a Story,
    /// For each file, for each transaction: whether the archive holds it together with the knowledge of what stood before it.
    known: Vec<Vec<bool>>,
    /// Whether what any two servers share is a beginning of both their histories.
    pub(crate) orderly: bool,
    /// Whether what can be restored must be found, too: in order, and no server began anew. In these small histories sets of
    /// several epochs are often equal by chance, and then a timeline may refuse what can't be decided.
    pub(crate) decidable: bool,
    /// Whether the clock was ever set back.
    pub(crate) stepped: bool,
}

impl<'a> Truth<'a> {
    pub(crate) fn of(story: &'a Story) -> Self {
        let known = (0..story.world.files.len()).map(|file| known(story, file)).collect();
        let orderly = is_orderly(story);
        let files = &story.world.files;
        let name = |file: &File| (file.id.source.clone(), file.id.number);
        let returns = files.iter().any(|file| files.iter().any(|f| name(f) == name(file) && f.id != file.id));
        let mut by_id: Vec<&Tx> = files.iter().flat_map(|file| &file.txs).collect();
        by_id.sort_by_key(|tx| tx.id);
        let steady = by_id.is_sorted_by_key(|tx| tx.us);
        Self { story, known, orderly, decidable: orderly && !returns && !story.silent, stepped: !steady }
    }

    /// Everything executed before a point of a file, in its server's order.
    pub(crate) fn history(&self, file: usize, count: usize) -> Vec<Tx> {
        let own = &self.story.world.files[file].txs[..count];
        self.story.before[file].iter().chain(own).cloned().collect()
    }

    /// Whether the archive knows a file up to its first transactions.
    pub(crate) fn is_known_to(&self, file: usize, count: usize) -> bool {
        let of = &self.story.world.files[file];
        let end = boundary(self.story.kept[file]);
        let is_owned = |span: &&Span| span.end <= end || of.closed == Closed::Open;
        self.known[file][..count].iter().all(|known| *known)
            && of.archived.iter().filter(is_owned).any(|span| span.start == 0)
    }

    /// Whether the archive knows any transaction of a file.
    pub(crate) fn is_written(&self, file: usize) -> bool {
        self.known[file].iter().any(|known| *known)
    }

    /// The same, and its server did not lose it.
    pub(crate) fn is_kept(&self, id: u32) -> bool {
        let kept =
            |file: usize| self.story.world.files[file].txs[..self.story.kept[file]].iter().zip(&self.known[file]);
        (0..self.known.len()).any(|file| kept(file).any(|(tx, known)| *known && tx.id == id))
    }

    /// Whether a GTID means several transactions.
    pub(crate) fn has_collision(&self) -> bool {
        let all = || self.story.world.files.iter().flat_map(|file| &file.txs);
        all().any(|tx| all().any(|other| other.gtid == tx.gtid && other.id != tx.id))
    }

    /// Whether a state is that of some server at an instant, in the order of its log and as far as the archive can know.
    pub(crate) fn is_some_servers(&self, us: i64, state: &BTreeSet<u32>) -> bool {
        let later = |tx: &Tx| tx.us > us && self.is_known(tx.id);
        (0..self.known.len()).any(|file| {
            let history = self.history(file, self.story.world.files[file].txs.len());
            let inherited = self.story.before[file].len();
            let is_known_here = |at: usize| {
                if at < inherited { self.is_known(history[at].id) } else { self.known[file][at - inherited] }
            };
            (0..=history.len()).any(|count| {
                let ends = history.get(count).is_none_or(|next| next.us > us || !is_known_here(count));
                ends && !history[..count].iter().any(later) && ids(&history[..count]) == *state
            })
        })
    }

    /// Whether the archive holds a transaction and knows what stood before it.
    pub(crate) fn is_known(&self, id: u32) -> bool {
        let files = self.known.iter().zip(&self.story.world.files);
        files.into_iter().any(|(known, file)| known.iter().zip(&file.txs).any(|(known, tx)| *known && tx.id == id))
    }

    /// Whether a GTID means several transactions and the archive lacks what tells which is where: a transaction, or the head
    /// of a binlog. Then only clocks could tell, which decide nothing.
    pub(crate) fn has_hidden_collision(&self) -> bool {
        let files = &self.story.world.files;
        let all = || files.iter().flat_map(|file| &file.txs);
        let collides = |tx: &&Tx| all().any(|other| other.gtid == tx.gtid && other.id != tx.id);
        let headless = || files.iter().any(|file| !file.archived.iter().any(|span| span.start == 0));
        all().filter(collides).any(|tx| !self.is_known_at_home(tx) || headless())
    }

    /// Whether the log of the server that committed it holds a transaction: only that shows that a number has returned.
    fn is_known_at_home(&self, tx: &Tx) -> bool {
        let home = tx.gtid.map(|gtid| gtid.to_string()).unwrap_or_default();
        self.known.iter().zip(&self.story.world.files).any(|(known, file)| {
            home.starts_with(&file.id.source)
                && known.iter().zip(&file.txs).any(|(known, own)| *known && own.id == tx.id)
        })
    }

    /// What a server logged after a point: all of it, or what the archive knows to follow without a hole.
    fn later(&self, (file, number): At, only_known: bool) -> BTreeSet<u32> {
        let mut later = BTreeSet::new();
        let (mut file, mut from) = (file, number + 1);
        loop {
            let txs = &self.story.world.files[file].txs;
            let kept = self.story.kept[file];
            let end = if from > kept { txs.len() } else { kept };
            let known = &self.known[file];
            for (tx, known) in txs.iter().zip(known).take(end).skip(from) {
                if only_known && !known {
                    return later;
                }
                later.insert(tx.id);
            }
            let Some(next) = self.story.next[file].filter(|_| from <= kept) else { return later };
            (file, from) = (next, 0);
        }
    }

    /// Whether the state of a history's first `count` transactions can be reached from a base backup by applying archived
    /// transactions in the order of that history, each onto what it stood on.
    pub(crate) fn is_reachable(&self, history: &[Tx], count: usize, base: &[Tx]) -> bool {
        let goal = ids(&history[..count]);
        let mut state = ids(base);
        if !state.is_subset(&goal) {
            return false;
        }
        for tx in &history[..count] {
            if !state.contains(&tx.id) && !self.can_apply(tx, &state) {
                return false;
            }
            state.insert(tx.id);
        }
        true
    }

    /// Whether an archived log continues a state with a transaction.
    pub(crate) fn can_apply(&self, tx: &Tx, state: &BTreeSet<u32>) -> bool {
        (0..self.known.len()).any(|file| {
            let own = &self.story.world.files[file].txs;
            let places = (0..own.len()).filter(|i| own[*i].id == tx.id && self.known[file][*i]);
            let continues = |i: usize| {
                let before = ids(&self.history(file, i));
                let extra: BTreeSet<u32> = state.difference(&before).copied().collect();
                before.is_subset(state) && (extra.is_empty() || extra.is_subset(&self.later((file, i), true)))
            };
            places.into_iter().any(continues)
        })
    }

    /// Applies a plan as a server would: GTIDs that it has are passed over. Says what is executed in the end.
    pub(crate) fn replay(&self, plan: &RestorePlan) -> Result<BTreeSet<u32>, String> {
        let base = &self.story.bases[plan.base().id["bb-".len()..].parse::<usize>().unwrap()];
        let mut state = ids(base);
        let mut executed: GtidSet = gtids(base);
        for binlog in plan.files() {
            if binlog.head.start != 0 || !binlog.from.is_multiple_of(SIZE) || !binlog.to.is_multiple_of(SIZE) {
                return Err(format!("{} is cut inside a transaction or has no head", binlog.name));
            }
            covers(&binlog.ranges, binlog.from, binlog.to)?;
            for range in &binlog.ranges {
                self.story.world.file_of(&binlog.id, (range.start, range.end, range.raw_sha256));
            }
            let files = &self.story.world.files;
            let file = files.iter().position(|file| file.id == binlog.id).unwrap();
            for (number, tx) in files[file].txs.iter().enumerate() {
                if boundary(number) < binlog.from || boundary(number + 1) > binlog.to {
                    continue;
                }
                let gtid = tx.gtid.unwrap();
                if executed.contains(&gtid) {
                    if !state.contains(&tx.id) {
                        return Err(format!("{gtid} is passed over although it is another transaction"));
                    }
                    continue;
                }
                self.check_continuation(file, number, &state)?;
                state.insert(tx.id);
                executed.insert(&gtid);
            }
        }
        if executed != *plan.expected() {
            return Err(format!("replay ends at {executed}, the plan says {}", plan.expected()));
        }
        Ok(state)
    }

    /// A transaction must be applied onto what it stood on at some server, or onto more that this server has later.
    fn check_continuation(&self, file: usize, number: usize, state: &BTreeSet<u32>) -> Result<(), String> {
        let of = &self.story.world.files[file];
        let tx = &of.txs[number];
        let gtid = tx.gtid.unwrap();
        if !ids(&self.history(file, number)).is_subset(state) {
            return Err(format!("{gtid} of {} is applied over a hole", of.id));
        }
        let continues = |file: usize| {
            let count = self.story.world.files[file].txs.len();
            let history = self.history(file, count);
            let Some(at) = history.iter().position(|other| other.id == tx.id) else { return false };
            let before = ids(&history[..at]);
            let mut later = ids(&history[at..]);
            later.extend(self.later((file, count), false));
            before.is_subset(state) && state.iter().all(|id| before.contains(id) || later.contains(id))
        };
        if (0..self.known.len()).any(continues) {
            return Ok(());
        }
        Err(format!("{gtid} of {} is applied across a fork", of.id))
    }
}

fn covers(ranges: &[PlannedRange], from: u64, to: u64) -> Result<(), String> {
    let mut at = from;
    for range in ranges {
        if range.start > at {
            return Err(format!("bytes {at} to {} are in no range of the plan", range.start));
        }
        at = at.max(range.end);
    }
    if at < to { Err(format!("bytes {at} to {to} are in no range of the plan")) } else { Ok(()) }
}

fn is_orderly(story: &Story) -> bool {
    let whole = |file: usize| -> Vec<u32> {
        let own = &story.world.files[file].txs;
        story.before[file].iter().chain(own).map(|tx| tx.id).collect()
    };
    let all: Vec<Vec<u32>> = (0..story.before.len()).map(whole).collect();
    all.iter().all(|a| {
        all.iter().all(|b| {
            let shared = a.iter().zip(b).take_while(|(x, y)| x == y).count();
            a[shared..].iter().all(|id| !b[shared..].contains(id))
        })
    })
}

/// Which transactions of a file the archive holds together with what stood before them: those that follow its head without a
/// hole, and those behind its last hole when the next file's head tells and that hole ends between two transactions.
fn known(story: &Story, file: usize) -> Vec<bool> {
    let of = &story.world.files[file];
    let kept = story.kept[file];
    let end = boundary(kept);
    // What reaches over the end of a closed file is not the server's: nothing says where it begins to differ.
    let covered = |from: u64, to: u64| {
        let owned = |s: &&Span| s.end <= end || of.closed == Closed::Open;
        let mut bytes = (from..to).step_by(SIZE as usize / 2);
        bytes.all(|at| of.archived.iter().filter(owned).any(|s| s.start <= at && at < s.end))
    };
    let next_tells = of.closed != Closed::Open
        && covered(0, SIZE)
        && story.next[file].is_some_and(|next| {
            let head = |f: &File| f.archived.iter().any(|s| s.start == 0);
            let rivals = story
                .world
                .files
                .iter()
                .filter(|f| f.id.source == of.id.source && f.id.number == of.id.number + 1 && head(f));
            head(&story.world.files[next]) && rivals.count() == 1
        });
    let hole_end =
        (0..=end).rev().step_by(SIZE as usize / 2).take_while(|at| *at == end || covered(*at, *at + 1)).last();
    let behind_hole = hole_end.filter(|at| at.is_multiple_of(SIZE) && next_tells).unwrap_or(end);
    let holds = |i: usize| {
        let lost = i >= kept && of.archived.iter().any(|s| s.start <= boundary(kept) && s.end >= boundary(i + 1));
        covered(0, boundary(i.min(kept.saturating_sub(1)) + 1)) && (i < kept || lost || covered(0, boundary(i + 1)))
            || (i < kept && boundary(i) >= behind_hole)
    };
    (0..of.txs.len()).map(holds).collect()
}
