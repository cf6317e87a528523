//! Projects.

use gostream_engine::spec::ProjectId;
use gostream_store::{Error, NewProject, Project, ProjectChange};
use uuid::Uuid;

use super::request::Commands;
use crate::login::proof::Proof;

impl Commands {
    /// Adds a project to an account, unless it has `max` already. `login` sees its new key.
    pub(crate) async fn create_project(
        &self,
        owner: Uuid,
        login: Proof,
        new: NewProject,
        max: u64,
    ) -> Result<Project, Error> {
        let project = self.store.add_project_within(owner, new, max).await?;
        self.control.key_disclosure.record_created(login, project.id);
        if project.pull_url.is_some() {
            self.control.wakes.wake(project.id);
        }
        Ok(project)
    }

    /// Changes a project. `decide` gets the URL that it is pulled from, and returns the change.
    pub(crate) async fn change_project<E: From<Error>>(
        &self,
        owner: Uuid,
        id: Uuid,
        decide: impl FnOnce(Option<&str>) -> Result<ProjectChange, E>,
    ) -> Result<Project, E> {
        let project = self.store.revise_project(owner, id, decide).await?;
        self.control.wakes.wake(id);
        Ok(project)
    }

    /// Deletes a project and ends its stream.
    pub(crate) async fn delete_project(&self, owner: Uuid, id: Uuid) -> Result<(), Error> {
        // The row is deleted first, so that a reconnecting encoder is refused.
        self.store.delete_project(owner, id).await?;
        self.close_publisher(id);
        Ok(())
    }

    /// Replaces the stream key, which `login` sees. Ends the stream with the old key.
    pub(crate) async fn rotate_stream_key(&self, owner: Uuid, login: Proof, id: Uuid) -> Result<Project, Error> {
        let project = self.store.rotate_stream_key(owner, id).await?;
        self.control.key_disclosure.record_created(login, id);
        self.close_publisher(id);
        Ok(project)
    }

    /// Replaces the playback id. The stream continues.
    pub(crate) async fn rotate_playback_id(&self, owner: Uuid, id: Uuid) -> Result<Project, Error> {
        let project = self.store.rotate_playback_id(owner, id).await?;
        self.control.engine.name_output(ProjectId(id), &project.playback_id);
        self.control.wakes.wake(id);
        Ok(project)
    }
}
