//! The delay of a destination.

use sea_orm_migration::{prelude::*, schema::integer};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0023_delay"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let seconds = "delay_seconds";
        let column = integer(seconds).default(0).check(Expr::col(seconds).between(0, 300)).take();
        manager.alter_table(Table::alter().table("destinations").add_column(column).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("destinations").drop_column("delay_seconds").take()).await
    }
}
