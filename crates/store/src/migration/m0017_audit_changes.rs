//! Changed fields in audit lines, and the count of failures.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, text_null},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0017_audit_changes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let count = big_integer("count").default(1).take();
        // SQLite adds one column at a time.
        for column in [text_null("changes"), count] {
            manager.alter_table(Table::alter().table("audit").add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["changes", "count"] {
            manager.alter_table(Table::alter().table("audit").drop_column(column).take()).await?;
        }
        Ok(())
    }
}
