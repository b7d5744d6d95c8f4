//! One picture of a workload out of what its pods, or its archive, say.

use jiff::Timestamp;

use super::{Backups, Gap, Heartbeat, Verify, WindowRow, Windows};

/// A heartbeat older than this says nothing about now.
const FRESH_SECONDS: i64 = 60;

/// A heartbeat and its age.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    pub heartbeat: Heartbeat,
    /// `None` when it does not say when it was written.
    pub age_seconds: Option<u64>,
}

impl Beat {
    /// A heartbeat as it stands at `now`. One from the future is one from now: clocks differ a little.
    pub fn at(heartbeat: Heartbeat, now: Timestamp) -> Self {
        let age = heartbeat.ts.map(|ts| u64::try_from(now.as_second() - ts.as_second()).unwrap_or(0));
        Self { heartbeat, age_seconds: age }
    }

    pub fn is_fresh(&self) -> bool {
        self.age_seconds.is_some_and(|age| age <= FRESH_SECONDS.unsigned_abs())
    }
}

/// A pod, and what its sidecar said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pod {
    pub name: String,
    /// Whether this very pod, not only the template, carries the sidecar.
    pub carries_sidecar: bool,
    pub beat: Option<Beat>,
    /// Each way that gave no answer: `log: forbidden`.
    pub silences: Vec<String>,
}

/// Everything known of one workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkloadState {
    pub namespace: String,
    pub name: String,
    /// From the archive alone: there are no pods, and nobody proves what happened since.
    pub offline: bool,
    /// The archive was to be read, and could not be: nothing is known.
    pub unread: bool,
    pub replicas: u32,
    pub pods: Vec<Pod>,
    pub server: Option<(String, String)>,
    pub archive_url: Option<String>,
    /// The flags that lead to the archive, where it was read from here.
    pub archive_flags: String,
    /// Newest first.
    pub windows: Vec<WindowRow>,
    /// The grain of commit times.
    pub resolution_seconds: Option<f64>,
    pub gaps: Vec<Gap>,
    pub gaps_total: u64,
    /// Base backups, newest first, where the list is known.
    pub backups: Option<Backups>,
    /// What verification and restore drills have proven.
    pub verify: Verify,
}

impl WorkloadState {
    pub fn fresh(&self) -> impl Iterator<Item = (&Pod, &Heartbeat)> {
        self.pods
            .iter()
            .filter_map(|p| Some((p, p.beat.as_ref().filter(|b| b.is_fresh())?)))
            .map(|(pod, beat)| (pod, &beat.heartbeat))
    }

    /// The pod whose server takes the writes, as far as that is known.
    pub fn primary(&self) -> Option<(&Pod, &Heartbeat)> {
        let mut fresh = self.fresh();
        match fresh.by_ref().find(|(_, h)| h.server.role.as_deref() == Some("primary")) {
            Some(found) => Some(found),
            None if self.replicas <= 1 => self.fresh().next(),
            None => None,
        }
    }

    /// The pod whose words about archiving are shown: the primary, else whoever has the least to do.
    pub fn leading(&self) -> Option<(&Pod, &Heartbeat)> {
        let lag = |h: &Heartbeat| h.lag_seconds.unwrap_or(f64::MAX);
        self.primary().or_else(|| self.fresh().min_by(|a, b| lag(a.1).total_cmp(&lag(b.1))))
    }

    /// Pods whose sidecar is at work.
    pub fn archiving(&self) -> u32 {
        u32::try_from(self.fresh().filter(|(_, h)| h.archives()).count()).unwrap_or(u32::MAX)
    }

    /// The newest instant that can be restored.
    pub fn end(&self) -> Option<Timestamp> {
        self.windows.iter().filter_map(|w| w.to).max()
    }

    /// How many base backups can be used.
    pub fn usable_backups(&self) -> Option<u64> {
        match &self.backups {
            Some(backups) => Some(backups.items.iter().filter(|b| b.usable).count() as u64),
            None => self.fresh().filter_map(|(_, h)| h.base_backups.usable).max(),
        }
    }

    /// The newest base backup that can be used: its id and when it was consistent.
    pub fn newest_backup(&self) -> Option<(String, Option<Timestamp>)> {
        match &self.backups {
            Some(backups) => backups.items.iter().find(|b| b.usable).map(|b| (b.id.clone(), b.consistent_at)),
            None => {
                let newest = self.fresh().max_by_key(|(_, h)| h.base_backups.newest_at)?.1;
                Some((newest.base_backups.newest_id.clone()?, newest.base_backups.newest_at))
            }
        }
    }
}

/// The picture from heartbeats, and from the lists of windows and base backups where they could be had.
pub fn merge(mut state: WorkloadState, windows: Option<Windows>, backups: Option<Backups>) -> WorkloadState {
    let newest =
        state.fresh().max_by_key(|(_, h)| h.window.as_ref().and_then(super::Window::end)).map(|(_, h)| h.clone());
    let Some(newest) = newest else { return state };
    let leading = state.leading().map_or_else(|| newest.clone(), |(_, h)| h.clone());
    state.server = leading.server.flavour.clone().zip(leading.server.version.clone());
    state.archive_url = leading.archive.url.clone().or(state.archive_url);
    state.verify = leading.verify.clone();
    state.resolution_seconds = newest.window.as_ref().and_then(|w| w.resolution_seconds);
    state.gaps_total = newest.gaps_total.unwrap_or(newest.gaps.len() as u64);
    state.gaps = newest.gaps.clone();
    let told = newest.window.as_ref().map(|w| WindowRow {
        branch: newest.archive.branch.clone(),
        live: true,
        from: w.from,
        to: w.end(),
        ..WindowRow::default()
    });
    state.windows = match windows {
        None => told.into_iter().collect(),
        Some(list) => {
            state.gaps_total = list.gaps.len() as u64;
            state.gaps = list.gaps.clone();
            with_proof(live_windows(&list), told.as_ref())
        }
    };
    state.backups = backups;
    state
}

/// The picture from the archive alone.
pub fn from_archive(mut state: WorkloadState, windows: &Windows, backups: Backups, verify: Verify) -> WorkloadState {
    (state.offline, state.verify) = (true, verify);
    state.gaps_total = windows.gaps.len() as u64;
    state.gaps.clone_from(&windows.gaps);
    state.windows = live_windows(windows);
    state.backups = Some(backups);
    state
}

/// Windows of the live branch, or of every branch where none is known to be live; newest first.
fn live_windows(list: &Windows) -> Vec<WindowRow> {
    let any_live = list.items.iter().any(|w| w.live);
    let mut rows: Vec<_> = list.items.iter().filter(|w| w.live || !any_live).cloned().collect();
    rows.sort_by_key(|w| std::cmp::Reverse((w.to, w.from)));
    rows
}

/// The newest window goes as far as the heartbeat says: what is proven is not in the archive, and the list may be older.
fn with_proof(mut rows: Vec<WindowRow>, told: Option<&WindowRow>) -> Vec<WindowRow> {
    let Some(told) = told else { return rows };
    match rows.first_mut() {
        Some(first) if first.ends_at.is_none() && first.from <= told.to && first.to >= told.from => {
            first.to = first.to.max(told.to);
        }
        Some(_) => {}
        None => rows.push(told.clone()),
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn beat(role: &str, to: &str, proven: &str) -> Option<Beat> {
        let heartbeat = Heartbeat::read(&json!({"ts": "2026-11-21T07:30:20Z", "server": {"role": role},
            "window": {"from": "2026-11-18T02:00:09.118204Z", "to": to, "provenTo": proven},
            "active": {"binlog": "b.1", "positionBytes": 9, "shippedBytes": 9}, "future": {"unknown": 1}}));
        Some(Beat::at(heartbeat.unwrap(), at("2026-11-21T07:30:22Z")))
    }

    fn pod(name: &str, beat: Option<Beat>) -> Pod {
        Pod { name: name.into(), carries_sidecar: true, beat, silences: Vec::new() }
    }

    #[test]
    fn the_end_is_the_latest_that_any_pod_proves() {
        let pods = vec![
            pod("m-0", beat("replica", "2026-11-21T07:30:10Z", "")),
            pod("m-1", beat("primary", "2026-11-21T07:29:00Z", "2026-11-21T07:30:18.402117Z")),
            pod("m-2", None),
        ];
        let state = merge(WorkloadState { replicas: 3, pods, ..WorkloadState::default() }, None, None);
        assert_eq!(state.end(), Some(at("2026-11-21T07:30:18.402117Z")));
        assert_eq!(state.primary().unwrap().0.name, "m-1");
        assert_eq!(state.archiving(), 2);
    }

    #[test]
    fn an_old_heartbeat_says_nothing_about_now() {
        let mut old = beat("primary", "2026-11-21T07:30:10Z", "").unwrap();
        old.age_seconds = Some(61);
        let state = merge(
            WorkloadState { replicas: 1, pods: vec![pod("m-0", Some(old))], ..WorkloadState::default() },
            None,
            None,
        );
        assert_eq!((state.end(), state.archiving()), (None, 0));
    }

    #[test]
    fn the_list_of_windows_is_drawn_out_by_what_is_proven() {
        let windows: Windows = serde_json::from_value(json!({"items": [
            {"live": false, "from": "2026-11-01T00:00:00Z", "to": "2026-11-30T00:00:00Z"},
            {"live": true, "from": "2026-11-14T02:00:12Z", "to": "2026-11-17T03:10:44.902310Z", "endsAt": "gap-7f2a"},
            {"live": true, "from": "2026-11-18T02:00:09Z", "to": "2026-11-21T07:29:00Z"}], "gaps": []}))
        .unwrap();
        let pods = vec![pod("m-0", beat("primary", "2026-11-21T07:29:00Z", "2026-11-21T07:30:18Z"))];
        let state = merge(WorkloadState { replicas: 1, pods, ..WorkloadState::default() }, Some(windows), None);
        let ends: Vec<_> = state.windows.iter().map(|w| w.to.unwrap()).collect();
        assert_eq!(ends, [at("2026-11-21T07:30:18Z"), at("2026-11-17T03:10:44.902310Z")]);
    }
}
