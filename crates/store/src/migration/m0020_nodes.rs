//! The servers of a database, with the time of their last successful write.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, text},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0020_nodes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let nodes = Table::create()
            .table("nodes")
            .col(text("id").primary_key().take())
            .col(big_integer("seen_at"))
            .col(text("padding"))
            .take();
        manager.create_table(nodes).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("nodes").take()).await
    }
}
