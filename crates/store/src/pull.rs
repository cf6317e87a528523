//! Which server pulls the stream of which project: each is pulled by one, however many share the database.

use std::time::Duration;

use sea_orm::{ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use time::OffsetDateTime;

use crate::{
    database::Store,
    entity::{moment::Moment, project},
    error::Error,
    project::Project,
};

/// For so long a project stays with the server that took it and was not heard of since. It is renewed when half of it is
/// over, so clocks of servers may differ by as much.
pub const PULL_LEASE: Duration = Duration::from_secs(60);

impl Store {
    /// Takes the projects that nobody pulls, or whose server was not heard of for [`PULL_LEASE`], and gives all that are
    /// `node`'s to pull.
    pub async fn claim_pulls(&self, node: &str, now: OffsetDateTime) -> Result<Vec<Project>, Error> {
        use project::{Column, Entity};

        let wanted = || Column::PullUrl.is_not_null();
        let due = Condition::any().add(Column::PullNode.is_null()).add(Column::PullUntil.lt(Moment::from(now))).add(
            Condition::all()
                .add(Column::PullNode.eq(node))
                .add(Column::PullUntil.lt(Moment::from(now + PULL_LEASE / 2))),
        );
        // Nothing is written unless there is something to write.
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
