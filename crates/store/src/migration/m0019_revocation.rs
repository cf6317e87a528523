//! Columns for revocation: a count of revocations, the last use of sessions, and scope and expiry of tokens.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, text, text_null},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0019_revocation"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for (table, column) in [
            ("users", big_integer("login_version").default(0).take()),
            ("sessions", text_null("address")),
            ("sessions", big_integer_null("last_seen_at")),
            ("api_tokens", text("scope").default("full").take()),
            ("api_tokens", big_integer_null("expires_at")),
        ] {
            manager.alter_table(Table::alter().table(table).add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("api_tokens", "expires_at"),
            ("api_tokens", "scope"),
            ("sessions", "last_seen_at"),
            ("sessions", "address"),
            ("users", "login_version"),
        ] {
            manager.alter_table(Table::alter().table(table).drop_column(column).take()).await?;
        }
        Ok(())
    }
}
