//! The migrations. A released migration is never changed; a new one is appended.
//!
//! Migrations name tables and columns directly instead of using the entities, which describe only the current schema.

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

/// All migrations, in order.
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
