//! The tables, step by step. A step that was released is never changed; a new one is added at the end.
//!
//! Steps name tables and columns themselves instead of using the entities, which show only how the tables are today.

mod m0001_first_tables;
mod m0002_timeline;
mod m0003_tokens_and_audit;
mod m0004_pull;
mod m0017_audit_changes;
mod m0018_url_logins;
mod m0019_revocation;
mod m0020_nodes;
mod m0021_stream_commands;
mod m0023_delay;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All steps, in order.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first_tables::Migration),
            Box::new(m0002_timeline::Migration),
            Box::new(m0003_tokens_and_audit::Migration),
            Box::new(m0004_pull::Migration),
            Box::new(m0017_audit_changes::Migration),
            Box::new(m0018_url_logins::Migration),
            Box::new(m0019_revocation::Migration),
            Box::new(m0020_nodes::Migration),
            Box::new(m0021_stream_commands::Migration),
            Box::new(m0023_delay::Migration),
        ]
    }
}

#[cfg(test)]
mod tests;
