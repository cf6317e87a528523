//! Combines rows with the live status.

use std::{collections::HashMap, time::SystemTime};

use gostream_engine::spec::ProjectId;
use gostream_store as store;
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    destination::Destination,
    moment::wall,
    project::{Project, ProjectState, Pull, SyncError, UnknownKey},
    stream::{Stream, live_stream, past_stream},
    timeline::outcomes,
};
use crate::api::{context::Ctx, error::Problem, extract::Links};

/// Combines projects with the live status.
pub(in crate::api) struct Viewer<'a> {
    pub(in crate::api) ctx: &'a Ctx,
    pub(in crate::api) links: &'a Links,
}

impl Viewer<'_> {
    /// Projects without their destinations.
    pub(in crate::api) async fn projects(&self, rows: Vec<store::Project>) -> Result<Vec<Project>, Problem> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        // Oldest first, so that the newest stream of a project replaces older ones.
        let elsewhere = self.ctx.store.open_streams(&ids).await?.into_iter().rev();
        let mut elsewhere: HashMap<_, _> =
            elsewhere.filter(|row| row.node != self.ctx.node).map(|row| (row.project_id, row)).collect();
        Ok(rows
            .into_iter()
            .map(|row| {
                let open = elsewhere.remove(&row.id);
                self.view(row, None, open)
            })
            .collect())
    }

    /// A project without its destinations.
    pub(in crate::api) async fn project(&self, row: store::Project) -> Result<Project, Problem> {
        let elsewhere = self.stream_elsewhere(row.id).await?;
        Ok(self.view(row, None, elsewhere))
    }

    /// A project with its destinations.
    pub(in crate::api) async fn whole_project(&self, row: store::Project) -> Result<Project, Problem> {
        let destinations = self.ctx.store.destinations(row.id).await?;
        let elsewhere = self.stream_elsewhere(row.id).await?;
        Ok(self.view(row, Some(destinations), elsewhere))
    }

    fn view(
        &self,
        row: store::Project,
        destinations: Option<Vec<store::Destination>>,
        elsewhere: Option<store::Stream>,
    ) -> Project {
        let status = self.ctx.engine.status(ProjectId(row.id));
        let stream = status.as_deref().map(live_stream).or_else(|| elsewhere.map(past_stream));
        let key = row.stream_key.expose_secret();
        Project {
            id: row.id,
            name: row.name,
            ingest_url: self.links.ingest(),
            preview_url: self.links.web(&format!("/hls/{}/index.m3u8", row.playback_id)),
            legacy_hls_url: self.links.web(&format!("/hls/{key}.m3u8")),
            stream_key: key.to_owned(),
            playback_id: row.playback_id,
            hold_after_stop: row.hold_after_stop,
            pull: row.pull_url.as_ref().and_then(|_| self.ctx.engine.pull_status(ProjectId(row.id))).map(Pull::from),
            pull_url: row.pull_url,
            status: stream.as_ref().map_or(ProjectState::Offline, |stream| stream.status.into()),
            sync_error: self.ctx.sync_errors.of(ProjectId(row.id)).map(SyncError::from),
            unknown_key: if stream.is_none() { self.unknown_key() } else { None },
            stream,
            created_at: row.created_at,
            updated_at: row.updated_at,
            destinations: destinations
                .map(|rows| rows.into_iter().map(|row| Destination::new(row, status.as_deref())).collect()),
        }
    }

    fn unknown_key(&self) -> Option<UnknownKey> {
        let (address, at) = self.ctx.unknown_key_attempts.near(self.links.client?, SystemTime::now())?;
        Some(UnknownKey { address: address.to_string(), at: wall(at) })
    }

    /// A stream that runs on another server on the same database. The rows of this server's own streams are ignored,
    /// because its engine is more current.
    async fn stream_elsewhere(&self, project: Uuid) -> Result<Option<store::Stream>, Problem> {
        let open = self.ctx.store.open_stream(project).await?;
        Ok(open.filter(|row| row.node != self.ctx.node))
    }

    /// A destination with the status of its relays.
    pub(in crate::api) fn destination(&self, row: store::Destination) -> Destination {
        let status = self.ctx.engine.status(ProjectId(row.project_id));
        Destination::new(row, status.as_deref())
    }

    /// A stream of the history with the result of each destination, and with its measurements if it is live.
    pub(in crate::api) fn stream(&self, row: store::Stream, events: &[store::StreamEvent]) -> Stream {
        let outcomes = outcomes(events, row.ended_at.unwrap_or_else(OffsetDateTime::now_utc));
        let status = self.ctx.engine.status(ProjectId(row.project_id));
        let stream = match status.filter(|status| status.stream.id.0 == row.id) {
            Some(status) => live_stream(&status),
            None => past_stream(row),
        };
        stream.with_outcomes(outcomes)
    }
}
