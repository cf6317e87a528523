//! Assigns projects with a pull URL to servers: each is pulled by one server, however many share the database.

use std::time::Duration;

use sea_orm::{ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use time::OffsetDateTime;

use crate::{
    database::Store,
    entity::{moment::Moment, project},
    error::Error,
    project::Project,
};

/// Lease time: a project stays with its server for this long after the last renewal. Leases are renewed after half of
/// it, so the clocks of servers may differ by the other half.
pub const PULL_LEASE: Duration = Duration::from_secs(60);

impl Store {
    /// Claims the projects that no server pulls, or whose lease ([`PULL_LEASE`]) expired, and returns all projects that
    /// `node` must pull.
    pub async fn claim_pulls(&self, node: &str, now: OffsetDateTime) -> Result<Vec<Project>, Error> {
        use project::{Column, Entity};

        let wanted = || Column::PullUrl.is_not_null();
        let due = Condition::any().add(Column::PullNode.is_null()).add(Column::PullUntil.lt(Moment::from(now))).add(
            Condition::all()
                .add(Column::PullNode.eq(node))
                .add(Column::PullUntil.lt(Moment::from(now + PULL_LEASE / 2))),
        );
        // Avoids a write if there is nothing to claim or renew.
        let found = Entity::find().filter(wanted()).filter(due.clone()).count(self.reader()).await;
        if found.map_err(Error::reading("The projects"))? > 0 {
            let change = project::ActiveModel {
                pull_node: Set(Some(node.to_owned())),
                pull_until: Set(Some((now + PULL_LEASE).into())),
                ..Default::default()
            };
            let taken = Entity::update_many().set(change).filter(wanted()).filter(due).exec(self.writer()).await;
            taken.map_err(Error::writing("The project"))?;
        }
        let mine = Entity::find().filter(wanted()).filter(Column::PullNode.eq(node)).all(self.reader()).await;
        let rows = mine.map_err(Error::reading("The projects"))?;
        rows.into_iter().map(|row| self.unsealed_project(row)).collect()
    }
}
