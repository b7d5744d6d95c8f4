//! The eight gates before a restore in place: functions of what was read. All are answered, and all that fail are told together.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Volume};
use pitr_recovery::code;

use crate::args::ReplicasPlan;
use crate::failure::Failure;
use crate::inject::ownership;
use crate::objects::copied;
use crate::render::{binary_size, duration};
use crate::state::{Beat, Heartbeat};

/// What was read of the workload, and what was said on the command line.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) object: StatefulSet,
    /// Every pod of the namespace.
    pub(super) pods: Vec<Pod>,
    /// The data's volume; none where it is no claim.
    pub(super) claim: Option<DataClaim>,
    /// What the server keeps outside of its data directory, in words.
    pub(super) outside: Vec<String>,
    /// What scales the workload by itself, or why that is not known.
    pub(super) autoscalers: Result<Vec<String>, String>,
    /// Pods of the workload that have no sidecar.
    pub(super) unwatched: Vec<String>,
    pub(super) now: Timestamp,
    /// What the sidecar of each pod said, or why it said nothing.
    pub(super) heartbeats: Vec<(String, Result<Heartbeat, String>)>,
    /// Image of the server that will use the data, and the version that made the base.
    pub(super) image: String,
    pub(super) base_version: String,
    /// Bytes that the restored data needs beside the old.
    pub(super) needed_bytes: u64,
    pub(super) replicas_plan: Option<ReplicasPlan>,
    pub(super) allow_drift: bool,
    pub(super) confirmed: Confirmed,
}

/// The claim of the data, and the pod that mounts it.
#[derive(Debug, Clone)]
pub(super) struct DataClaim {
    pub(super) name: String,
    pub(super) pod: String,
    /// The nodes that its volume is attached to, or why that is not known.
    pub(super) attached: Result<Vec<String>, String>,
}

/// Whether the workload's name was given once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Confirmed {
    Given,
    /// At the terminal, once the other gates are passed.
    AskedLater,
    /// What is wrong.
    No(String),
}

/// One gate, answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    Passed(String),
    Failed { what: String, fix: String },
}

fn passed(what: impl Into<String>) -> Gate {
    Gate::Passed(what.into())
}

fn failed(what: impl Into<String>, fix: impl Into<String>) -> Gate {
    Gate::Failed { what: what.into(), fix: fix.into() }
}

impl Gate {
    pub(super) fn is_passed(&self) -> bool {
        matches!(self, Self::Passed(_))
    }
}

/// All eight, in their order.
pub(super) fn gates(ground: &Ground) -> [Gate; 8] {
    [
        nobody_else_scales(ground),
        scaling_keeps_volumes(ground),
        volume_is_free(ground),
        room(ground),
        replicas(ground),
        nothing_is_unarchived(ground),
        server_runs_the_base(ground),
        confirmed(ground),
    ]
}

fn nobody_else_scales(ground: &Ground) -> Gate {
    let found = who_scales(ground);
    match found.first() {
        None => passed("nothing else scales it: no operator, no GitOps, no autoscaler"),
        Some((what, _)) if ground.allow_drift => passed(format!("{what}: allowed by --allow-drift")),
        Some((what, fix)) => failed(what, fix),
    }
}

fn who_scales(ground: &Ground) -> Vec<(String, String)> {
    let (name, drift) = (&ground.name, "or --allow-drift");
    let mut found = Vec::new();
    if let Some(owner) = ownership::operator(&ground.object) {
        found.push((
            format!("{owner} owns it: it would scale {name} up during the restore"),
            format!("pause the operator, {drift}"),
        ));
    }
    if let Some(owner) = ownership::reconciler(&ground.object) {
        let (what, fix) =
            (format!("{owner} may scale {name} up during the restore"), format!("suspend its sync, {drift}"));
        found.push((what, fix));
    }
    match &ground.autoscalers {
        Err(reason) => found.push((
            format!("whether an autoscaler scales {name} is not known: {reason}"),
            format!("bind manifests/rbac/restorer-in-place.yaml, {drift}"),
        )),
        Ok(scalers) => found.extend(scalers.first().map(|scaler| {
            (format!("{scaler} scales {name}"), format!("delete or pause it until the restore is done, {drift}"))
        })),
    }
    found
}

fn scaling_keeps_volumes(ground: &Ground) -> Gate {
    let policy = ground.object.spec.as_ref().and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    if policy.and_then(|policy| policy.when_scaled.as_deref()) != Some("Delete") {
        return passed("scaling to 0 keeps the data volumes");
    }
    failed(
        "persistentVolumeClaimRetentionPolicy.whenScaled=Delete: scaling to 0 deletes the data volumes",
        format!(
            "kubectl patch statefulset {} -n {} --type merge -p \
             '{{\"spec\":{{\"persistentVolumeClaimRetentionPolicy\":{{\"whenScaled\":\"Retain\"}}}}}}'",
            ground.name, ground.namespace
        ),
    )
}

fn volume_is_free(ground: &Ground) -> Gate {
    let onto_new = "restore onto a new volume: leave --in-place out";
    let Some(claim) = &ground.claim else {
        return failed(format!("the data of {} is no volume claim", ground.name), onto_new);
    };
    if let Some(outside) = ground.outside.first() {
        return failed(format!("{outside}: what lies outside of the data directory is not restored"), onto_new);
    }
    if let Some(other) = mounting(&ground.pods, &claim.name).into_iter().find(|pod| *pod != claim.pod) {
        let fix = format!("kubectl delete pod {other} -n {}", ground.namespace);
        return failed(format!("pod {other} mounts {} too", claim.name), fix);
    }
    let node = ground.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(&claim.pod)).and_then(node_of);
    match &claim.attached {
        Err(reason) => passed(format!("no other pod mounts {}; its attachments are not known: {reason}", claim.name)),
        Ok(nodes) => match nodes.iter().find(|attached| node.is_some_and(|node| node != attached.as_str())) {
            Some(other) => failed(
                format!("the volume of {} is attached to node {other}, where its pod does not run", claim.name),
                "wait until it is detached: kubectl get volumeattachments",
            ),
            None => passed(format!("nothing else holds {}", claim.name)),
        },
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The pods that mount a claim and have not ended.
pub(super) fn mounting<'a>(pods: &'a [Pod], claim: &str) -> Vec<&'a str> {
    let ended = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    let is_claim = |volume: &Volume| volume.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == claim);
    let mounts = |pod: &&Pod| pod.spec.as_ref().is_some_and(|s| s.volumes.iter().flatten().any(is_claim));
    let found = pods.iter().filter(|pod| !ended(pod)).filter(mounts);
    found.filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

fn room(ground: &Ground) -> Gate {
    let fix = "a larger volume (kubectl patch pvc), or restore onto a new one: leave --in-place out";
    let Some(claim) = &ground.claim else { return failed("how much room the volume has is not known", fix) };
    let beat = ground.heartbeats.iter().find(|(pod, _)| *pod == claim.pod).and_then(|(_, beat)| beat.as_ref().ok());
    let needed = binary_size(ground.needed_bytes);
    match beat.and_then(|beat| beat.volume_free_bytes) {
        None => {
            failed(format!("how much room volume {} has is not known: {} does not say", claim.name, claim.pod), fix)
        }
        Some(free) if free < ground.needed_bytes => failed(
            format!(
                "volume {} has {} free, the restored data beside the old needs {needed}",
                claim.name,
                binary_size(free)
            ),
            fix,
        ),
        Some(free) => passed(format!("volume {} has {} free of {needed} that it needs", claim.name, binary_size(free))),
    }
}

fn replicas(ground: &Ground) -> Gate {
    let count = ground.object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    match (count, ground.replicas_plan) {
        (0, _) => failed(
            format!("{} has no replica, so nothing says how its data stands", ground.name),
            format!("kubectl scale statefulset {} -n {} --replicas=1", ground.name, ground.namespace),
        ),
        (1, _) => passed("it has one replica"),
        (count, Some(ReplicasPlan::Reclone)) => {
            passed(format!("it has {count} replicas and comes back with 1; the others are made anew by hand"))
        }
        (count, Some(ReplicasPlan::Keep)) => failed(
            format!("it has {count} replicas, and --replicas-plan=keep is not built yet"),
            "--replicas-plan=reclone",
        ),
        (count, None) => failed(
            format!("it has {count} replicas, which would hold another history than the restored one"),
            "--replicas-plan=reclone: it comes back with 1 replica",
        ),
    }
}

/// What is committed between now and the end of the server is uploaded while its pod ends, and its binlogs are kept with the old data.
fn nothing_is_unarchived(ground: &Ground) -> Gate {
    let fix = |pod: &str| format!("kubectl pitr logs {} -n {} (pod {pod})", ground.name, ground.namespace);
    if ground.heartbeats.is_empty() {
        return failed("no sidecar runs, so nobody says what is archived", fix("none"));
    }
    if let Some(pod) = ground.unwatched.first() {
        return failed(format!("pod {pod} has no sidecar, so nobody says what it has archived"), fix(pod));
    }
    for (pod, beat) in &ground.heartbeats {
        let beat = match beat {
            Ok(beat) => beat,
            Err(reason) => return failed(format!("what {pod} has archived is not known: {reason}"), fix(pod)),
        };
        if let Some(what) = unarchived(pod, beat, ground.now) {
            return failed(what, fix(pod));
        }
    }
    passed("nothing is unarchived: the present stays restorable")
}

/// What a pod holds that the archive does not, or may not: what its sidecar does not say now is not known.
fn unarchived(pod: &str, beat: &Heartbeat, now: Timestamp) -> Option<String> {
    let age = Beat::at(beat.clone(), now);
    if !age.is_fresh() {
        let old =
            age.age_seconds.map_or_else(|| "at an unknown time".to_owned(), |age| format!("{} ago", duration(age)));
        return Some(format!("what {pod} has archived is not known: its sidecar spoke last {old}"));
    }
    let (Some(closed), Some(lag), Some(limit)) = (beat.unarchived_binlogs, beat.lag_seconds, beat.expected_lag_seconds)
    else {
        return Some(format!("what {pod} has archived is not known: its sidecar does not say"));
    };
    if closed > 0 {
        return Some(format!("{closed} binlogs of {pod} are not archived: the present could not be restored"));
    }
    (lag > limit).then(|| {
        let seconds = duration(lag as u64);
        format!("the archive is {seconds} behind {pod}: the present could not be restored")
    })
}

fn server_runs_the_base(ground: &Ground) -> Gate {
    match copied::refuse_unfit_server(&ground.image, &ground.base_version) {
        Ok(()) if copied::tagged_version(&ground.image).is_none() => passed(format!(
            "whether image \"{}\" runs the base, MySQL {}, its tag does not say: the Job asks the server itself",
            ground.image, ground.base_version
        )),
        Ok(()) => passed(format!("image \"{}\" runs the base, MySQL {}", ground.image, ground.base_version)),
        Err(failure) => failed(failure.to_string(), "the image of the base's series, in the workload"),
    }
}

fn confirmed(ground: &Ground) -> Gate {
    match &ground.confirmed {
        Confirmed::Given => passed("the name is confirmed"),
        Confirmed::AskedLater => passed("the name is asked for before anything is touched"),
        Confirmed::No(what) => failed(what.clone(), format!("--confirm {}", ground.name)),
    }
}

/// All gates as lines of a plan.
pub(super) fn text(gates: &[Gate]) -> String {
    let line = |(index, gate): (usize, &Gate)| {
        let key = if index == 0 { "Gates" } else { "" };
        match gate {
            Gate::Passed(what) => format!("{key:<12}√ {what}\n"),
            Gate::Failed { what, fix } => format!("{key:<12}× {what}\n{:<14}fix: {fix}\n", ""),
        }
    };
    gates.iter().enumerate().map(line).collect()
}

/// The refusal, if any gate failed.
pub(super) fn refusal(gates: &[Gate]) -> Option<Failure> {
    let failed = gates.iter().filter(|gate| !gate.is_passed()).count();
    if failed == 0 {
        return None;
    }
    let message = format!("refusing --in-place: {failed} of {} gates failed", gates.len());
    let failure = Failure::new(code::IN_PLACE_REFUSED, message).hint("nothing was touched");
    Some(gates.iter().fold(failure, |failure, gate| match gate {
        Gate::Passed(_) => failure,
        Gate::Failed { what, fix } => failure.point(what.clone(), Some(fix.clone())),
    }))
}
