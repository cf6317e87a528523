//! Destinations.

use gostream_store::{Destination, DestinationChange, Error, NewDestination};
use uuid::Uuid;

use super::request::Commands;

impl Commands {
    /// Adds a destination to a project, unless it has `max` already.
    pub(crate) async fn create_destination(
        &self,
        owner: Uuid,
        project: Uuid,
        new: NewDestination,
        max: u64,
    ) -> Result<Destination, Error> {
        let destination = self.store.add_destination_within(owner, project, new, max).await?;
        self.control.wakes.wake(project);
        Ok(destination)
    }

    /// Changes a destination. `decide` gets the URLs of its server and its backup server, and returns the change.
    pub(crate) async fn change_destination<E: From<Error>>(
        &self,
        owner: Uuid,
        id: Uuid,
        decide: impl FnOnce(&str, Option<&str>) -> Result<DestinationChange, E>,
    ) -> Result<Destination, E> {
        let destination = self.store.revise_destination(owner, id, decide).await?;
        self.control.wakes.wake(destination.project_id);
        Ok(destination)
    }

    /// Switches the relay to a destination on.
    pub(crate) async fn start_relay(&self, owner: Uuid, id: Uuid) -> Result<Destination, Error> {
        let change = DestinationChange { enabled: Some(true), ..DestinationChange::default() };
        self.change_destination(owner, id, |_, _| Ok(change)).await
    }

    /// Switches the relay to a destination off.
    pub(crate) async fn stop_relay(&self, owner: Uuid, id: Uuid) -> Result<Destination, Error> {
        let change = DestinationChange { enabled: Some(false), ..DestinationChange::default() };
        self.change_destination(owner, id, |_, _| Ok(change)).await
    }

    /// Deletes a destination and stops its relay. Returns its project.
    pub(crate) async fn delete_destination(&self, owner: Uuid, id: Uuid) -> Result<Uuid, Error> {
        let project = self.store.delete_destination(owner, id).await?;
        self.control.wakes.wake(project);
        Ok(project)
    }
}
