//! Projects whose stream is pulled from another server, and the node that pulls.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer_null, text_null},
};

pub(super) struct Migration;

const COLUMNS: [&str; 3] = ["pull_url", "pull_node", "pull_until"];
const INDEX: &str = "projects_pull_node";

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_pull"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for column in [text_null("pull_url"), text_null("pull_node"), big_integer_null("pull_until")] {
            manager.alter_table(Table::alter().table("projects").add_column(column).take()).await?;
        }
        // Few projects pull.
        let pulls = Index::create()
            .name(INDEX)
            .table("projects")
            .col("pull_node")
            .cond_where(Expr::col("pull_url").is_not_null())
            .take();
        manager.create_index(pulls).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name(INDEX).table("projects").to_owned()).await?;
        for column in COLUMNS {
            manager.alter_table(Table::alter().table("projects").drop_column(column).take()).await?;
        }
        Ok(())
    }
}
