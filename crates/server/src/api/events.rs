//! Server-sent events: the state of a project, sent again whenever it changes.
//!
//! Each client has one stream, without a task. It wakes on changes of the engine's status and of rows, and periodically
//! to check whether the session still exists, because another server or a command may have ended it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderName, header},
    response::{IntoResponse, Sse, sse},
};
use futures::Stream;
use gostream_engine::{spec::ProjectId, status::ProjectStatus};
use gostream_net::connection_limiter::Permit;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use uuid::Uuid;

use super::{
    context::Ctx,
    error::Problem,
    extract::{Id, Links},
    login::Login,
    view::{Project, Viewer},
};
use crate::control::{commands::Commands, wakes::Change};

/// The shortest time between two events. Changes in between are sent together.
const PACE: Duration = Duration::from_millis(200);
/// The interval at which rows and session are read without a notification.
const RECHECK: Duration = Duration::from_secs(5);
/// A `heartbeat` event is sent after this time without another event, so that proxies do not close the connection as
/// idle, and so that a page detects within two heartbeats that a proxy buffers its events. It is an event because
/// browsers hide comments.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Headers against buffering: nginx would collect events into blocks, and compressing proxies would wait for more data
/// (RFC 9111 section 5.2.2.6: `no-transform`).
const STREAMED: [(HeaderName, &str); 2] =
    [(HeaderName::from_static("x-accel-buffering"), "no"), (header::CACHE_CONTROL, "no-store, no-transform")];

/// Follows a project. `snapshot` is sent first, `status` after every change; the data of both is a `Project` with its
/// destinations. `heartbeat` is sent after five seconds without either, with an empty object. A client that receives
/// nothing for twice as long should poll the project instead, because a proxy buffers the stream. The stream ends with
/// the session, the project or the server.
#[utoipa::path(
    get, path = "/api/projects/{id}/events", tag = "projects", operation_id = "followProject", params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "Events `snapshot`, `status` and `heartbeat`", body = Project, content_type = "text/event-stream"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`quota_exceeded`: the account has too many open event streams", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn follow(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<impl IntoResponse, Problem> {
    let permit = ctx.event_streams.enter(login.user.id)?;
    // The subscriptions start before the first read, so that no change is missed in between.
    let changes = ctx.control.changes();
    let status = ctx.engine.watch(ProjectId(id));
    let mut recheck = interval(RECHECK);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    recheck.reset();
    let (shown, next) = (None, None);
    let mut follower =
        Follower { _permit: permit, ctx, links, login, commands, id, changes, status, recheck, shown, next };
    let snapshot = follower.look().await?.ok_or_else(Problem::not_found)?;
    follower.next = Some(("snapshot", snapshot));
    follower.login.permit = None;
    let heartbeat =
        sse::KeepAlive::new().interval(HEARTBEAT).event(sse::Event::default().event("heartbeat").data("{}"));
    Ok((STREAMED, Sse::new(events(follower)).keep_alive(heartbeat)))
}

struct Follower {
    _permit: Permit<Uuid>,
    ctx: Ctx,
    links: Links,
    login: Login,
    commands: Commands,
    id: Uuid,
    changes: broadcast::Receiver<Change>,
    status: watch::Receiver<Option<Arc<ProjectStatus>>>,
    recheck: Interval,
    shown: Option<(Instant, Project)>,
    next: Option<(&'static str, Project)>,
}

fn events(follower: Follower) -> impl Stream<Item = Result<sse::Event, axum::Error>> {
    futures::stream::unfold(follower, |mut follower| async move {
        let (name, project) = match follower.next.take() {
            Some(next) => next,
            None => ("status", follower.changed().await?),
        };
        let event = sse::Event::default().event(name).json_data(&project);
        follower.shown = Some((Instant::now(), project));
        Some((event, follower))
    })
}

/// Why a follower reads the project again.
enum Wake {
    /// The project may have changed.
    Look,
    /// The session may have ended, too.
    Session,
}

impl Follower {
    /// Waits until the project differs from the last sent state; `None` at the end of the stream.
    async fn changed(&mut self) -> Option<Project> {
        loop {
            let wake = self.wake().await?;
            if matches!(wake, Wake::Session) && self.is_logged_out().await {
                return None;
            }
            if let Some((at, _)) = &self.shown {
                let stopping = self.ctx.stopping.clone();
                tokio::select! {
                    () = stopping.cancelled() => return None,
                    () = sleep_until(*at + PACE) => {}
                }
            }
            match self.look().await {
                Ok(Some(project)) if self.shown.as_ref().is_none_or(|(_, shown)| *shown != project) => {
                    return Some(project);
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                // The error was logged where it occurred. The browser reconnects.
                Err(_) => return None,
            }
        }
    }

    async fn wake(&mut self) -> Option<Wake> {
        loop {
            tokio::select! {
                () = self.ctx.stopping.cancelled() => return None,
                changed = self.status.changed() => return changed.ok().map(|()| Wake::Look),
                _ = self.recheck.tick() => return Some(Wake::Session),
                change = self.changes.recv() => match change {
                    Ok(Change::UnknownKey) => return Some(Wake::Look),
                    Ok(Change::Project(id)) if id == self.id => return Some(Wake::Look),
                    Ok(Change::Project(_)) => {}
                    // The missed changes may include any kind.
                    Ok(Change::Sessions) | Err(broadcast::error::RecvError::Lagged(_)) => return Some(Wake::Session),
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Whether the database says that the login has ended. During an outage the client stays logged in.
    async fn is_logged_out(&self) -> bool {
        self.login.counts(&self.ctx).await.is_ok_and(|counts| !counts)
    }

    async fn look(&mut self) -> Result<Option<Project>, Problem> {
        self.status.mark_unchanged();
        let Some(row) = self.ctx.store.project(self.login.user.id, self.id).await? else { return Ok(None) };
        self.login.note_shown_keys(&self.commands, &[&row]).await;
        let project = Viewer { ctx: &self.ctx, links: &self.links }.whole_project(row).await?;
        Ok(Some(project.seen_by(&self.login)))
    }
}
