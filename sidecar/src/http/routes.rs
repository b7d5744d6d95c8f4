//! Which path answers what. The same routes serve a running sidecar and `get --archive`, which has no sidecar.

use std::sync::Arc;
use std::time::Duration;

use pitr_archive::document::{BackupsDocument, BinlogsDocument, PlanDocument, StoreCheckDocument, WindowsDocument};
use pitr_archive::{Archive, Estimate, Pace};
use pitr_recovery::{Timeline, code};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::Answer;
use super::refused::{GETS, POSTS};
use super::{query, refused};
use crate::amounts::{binary_size, duration};
use crate::error::Failure;
use crate::planning;
use crate::status::{Counts, Heart, StatusDocument, cycle_document, metrics, proven_to};

/// A store that takes longer is not one to archive to.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// A cycle that takes longer goes on by itself: who asked for it is told how far it came.
const CYCLE_LIMIT: Duration = Duration::from_secs(20);

/// Below it stands the id of a gap.
const GAPS: &str = "/v1/gaps/";

/// Who may ask on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Anybody in the cluster: probes and metrics.
    Everybody,
    /// This host: the control API too.
    Loopback,
}

/// Searches read whole segments: one at a time, so that many askers take no more memory than one.
static SEARCHES: Semaphore = Semaphore::const_new(1);

/// What requests are answered from.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of them in the process")]
pub(crate) enum Api {
    /// A running sidecar.
    Sidecar(Heart),
    /// An archive alone.
    Archive(Archive),
}

impl Api {
    /// The answer to a GET, or with a body to a POST. `target` is a path, and after a question mark a query.
    pub(crate) async fn respond(&self, target: &str, post: Option<&[u8]>, audience: Audience) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let answered = match (path, post) {
            ("/livez" | "/healthz", None) => return self.alive(),
            ("/readyz", None) => return self.ready(),
            ("/metrics", None) => return self.metrics().await,
            (path, _) if audience == Audience::Loopback && path.starts_with("/v1/") => {
                self.control(path, query, post).await
            }
            _ => Ok(Answer::text(404, "not found")),
        };
        answered.unwrap_or_else(|error| Answer::error(&error))
    }

    async fn control(&self, path: &str, query: &str, post: Option<&[u8]>) -> anyhow::Result<Answer> {
        match (path, post) {
            ("/v1/timeline", None) => return self.told_timeline(query).await,
            ("/v1/windows", None) => return self.windows(query).await,
            ("/v1/backups", None) => {
                let page = query::backups(query)?;
                let backups = BackupsDocument::page(&*self.timeline().await?, &page);
                return backups.map(|backups| Answer::document(&backups)).ok_or_else(query::no_cursor);
            }
            ("/v1/binlogs", None) => {
                let (filter, page) = query::binlogs(query)?;
                let binlogs = BinlogsDocument::page(&*self.timeline().await?, &filter, &page);
                return binlogs.map(|binlogs| Answer::document(&binlogs)).ok_or_else(query::no_cursor);
            }
            _ if !query.is_empty() => return Err(query::refused(path)),
            _ => {}
        }
        Ok(match (path, post) {
            ("/v1/status", None) => match self {
                Self::Sidecar(heart) => Answer::document(&heart.document().await),
                Self::Archive(archive) => {
                    let (timeline, proofs) = (self.timeline().await?, archive.proofs().await?);
                    Answer::document(&StatusDocument::new(&timeline, &proofs, archive.describe()))
                }
            },
            ("/v1/plan", Some(body)) => self.plan(body).await?,
            ("/v1/archive", Some(_)) => self.cycle().await?,
            ("/v1/check", Some(_)) => self.check().await?,
            (path, None) if path.starts_with(GAPS) => self.gap(&path[GAPS.len()..]).await?,
            (path, _) if GETS.contains(&path) || POSTS.contains(&path) => refused::wrong_method(path),
            _ => refused::no_such_path(path),
        })
    }

    /// Archives now, and waits for it: a backlog that takes longer goes on, and the answer says that it does.
    async fn cycle(&self) -> anyhow::Result<Answer> {
        let Self::Sidecar(heart) = self else { return Err(refused::needs_a_sidecar("/v1/archive").into()) };
        archive_of(heart)?;
        let begun = Instant::now();
        let ended = tokio::time::timeout(CYCLE_LIMIT, heart.archiver.cycle_now()).await.is_ok();
        let took = begun.elapsed();
        Ok(Answer::document(&cycle_document(heart.archiver.config(), &heart.look().await, (ended, took))))
    }

    /// Tests the store with the rights that this program has.
    async fn check(&self) -> anyhow::Result<Answer> {
        let archive = self.archive()?;
        // Several pods of a workload may be asked at once.
        let who = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_default();
        match tokio::time::timeout(PROBE_LIMIT, archive.probe(&who)).await {
            Ok(probe) => Ok(Answer::document(&StoreCheckDocument::new(&probe, archive.describe()))),
            Err(_) => {
                let message = format!("{} did not answer within {} s", archive.describe(), PROBE_LIMIT.as_secs());
                Err(Failure::new(&code::STORE_UNREACHABLE, message).fix("the store's network, and its endpoint").into())
            }
        }
    }

    async fn told_timeline(&self, query: &str) -> anyhow::Result<Answer> {
        let asked = query::timeline(query)?;
        let timeline = self.timeline().await?;
        let archive = self.archive()?;
        let _alone = SEARCHES.acquire().await?;
        let told = archive.tell_timeline(&timeline, asked.branch.as_deref(), asked.sought.clone()).await;
        told.map(|document| Answer::document(&document)).map_err(|error| query::no_timeline(error, &timeline, archive))
    }

    async fn windows(&self, query: &str) -> anyhow::Result<Answer> {
        let branch = query::windows(query)?;
        let timeline = self.timeline().await?;
        let windows = WindowsDocument::from(&*timeline);
        let Some(id) = branch else { return Ok(Answer::document(&windows)) };
        let mut named = timeline.branches().iter().filter(|known| known.id.starts_with(&id));
        match (named.next(), named.next()) {
            (Some(only), None) => Ok(Answer::document(&windows.of_branch(&only.id))),
            _ => Err(query::no_branch(&id, &timeline)),
        }
    }

    async fn gap(&self, id: &str) -> anyhow::Result<Answer> {
        let WindowsDocument { gaps, .. } = WindowsDocument::from(&*self.timeline().await?);
        let mut named = gaps.iter().filter(|gap| gap.id.starts_with(id));
        Ok(match (named.next(), named.next()) {
            (Some(gap), None) => Answer::document(gap),
            _ => refused::no_such_gap(id),
        })
    }

    /// The archive that is read.
    fn archive(&self) -> anyhow::Result<&Archive> {
        match self {
            Self::Sidecar(heart) => Ok(&*archive_of(heart)?.archive),
            Self::Archive(archive) => Ok(archive),
        }
    }

    /// The exact bytes of a plan: they are what is hashed and mounted.
    async fn plan(&self, body: &[u8]) -> anyhow::Result<Answer> {
        let mut request = planning::posted(body)?;
        let timeline = self.timeline().await?;
        if let Self::Sidecar(heart) = self {
            request.proven_to_us = proven_to(&heart.archiver.board.read(), &timeline);
        }
        let archive = self.archive()?;
        let pace = match self {
            Self::Sidecar(heart) => {
                heart.outlook.proofs(archive_of(heart)?).await.drills.verified.map(|drill| drill.pace)
            }
            Self::Archive(archive) => archive.last_pace().await,
        };
        request.pace = pace.as_ref().map(Pace::of_restores).unwrap_or_default();
        let plan = planning::plan_from(archive, Timeline::clone(&timeline), &request).await?;
        let stop = archive.describe_stop(timeline.inventory(), &plan).await;
        let keys = archive.plan_keys(Timeline::clone(&timeline), &request, &plan).await;
        let mut answer = Answer::json(200, PlanDocument::encode(&plan)?);
        answer.estimate = Some(Estimate::of(plan.parts(), pace.as_ref()).text(binary_size, duration));
        (answer.stop, answer.keys) = (stop, keys);
        Ok(answer)
    }

    async fn timeline(&self) -> anyhow::Result<Arc<Timeline>> {
        match self {
            Self::Archive(archive) => {
                let inventory = planning::inventory(archive).await?;
                Ok(Arc::new(planning::exact(archive, Timeline::new(inventory)).await?))
            }
            Self::Sidecar(heart) => {
                let pipeline = archive_of(heart)?;
                // A base backup that was taken a moment ago counts.
                heart.archiver.list_backups(pipeline).await;
                heart.outlook.timeline(pipeline).await.ok_or_else(|| not_yet().into())
            }
        }
    }

    fn alive(&self) -> Answer {
        let stuck = match self {
            Self::Sidecar(heart) => heart.archiver.board.watchdog.stuck(tokio::time::Instant::now()),
            Self::Archive(_) => None,
        };
        match stuck {
            Some((task, silent)) => {
                Answer::text(500, &format!("the {} task has not moved for {} s", task.as_str(), silent.as_secs()))
            }
            None => Answer::text(200, "ok"),
        }
    }

    fn ready(&self) -> Answer {
        match self {
            Self::Sidecar(heart) => {
                let facts = heart.archiver.board.read();
                match (facts.listed_us, facts.problems.values().next()) {
                    (Some(_), _) => Answer::text(200, "ok"),
                    (None, Some(failure)) => Answer::text(503, &format!("{}: {failure}", facts.stage.as_str())),
                    (None, None) => Answer::text(503, facts.stage.as_str()),
                }
            }
            Self::Archive(_) => Answer::text(200, "ok"),
        }
    }

    async fn metrics(&self) -> Answer {
        let Self::Sidecar(heart) = self else { return Answer::text(404, "only a running sidecar has metrics") };
        let store = heart.archiver.pipeline().map(|pipeline| pipeline.counts.clone()).unwrap_or_default();
        let counts = Counts { store, segments: &heart.archiver.board.segments };
        match metrics(heart.archiver.config(), &heart.look().await, &counts) {
            Ok(text) => Answer::metrics(text),
            Err(_) => Answer::text(500, "metrics cannot be written"),
        }
    }
}

/// The archive of a sidecar, once it was listed.
fn archive_of(heart: &crate::status::Heart) -> Result<&Arc<crate::archiver::Pipeline>, Failure> {
    let facts = heart.archiver.board.read();
    match heart.archiver.pipeline() {
        Some(pipeline) if facts.listed_us.is_some() => Ok(pipeline),
        Some(_) | None => Err(facts.problems.into_values().next().unwrap_or_else(not_yet)),
    }
}

fn not_yet() -> Failure {
    Failure::new(&code::STORE_UNREACHABLE, "the archive was not read yet")
        .hint("the sidecar is starting")
        .fix("ask again")
}
