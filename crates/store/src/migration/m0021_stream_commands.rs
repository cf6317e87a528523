//! Commands from one server to another, for a stream that runs there.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, pk_uuid, text, uuid, uuid_null},
};

pub(super) struct Migration;

const TABLE: &str = "stream_commands";

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0021_stream_commands"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let stream = ForeignKey::create()
            .name("stream_commands_stream_id_fkey")
            .from(TABLE, "stream_id")
            .to("streams", "id")
            .on_delete(ForeignKeyAction::Cascade)
            .take();
        // Rows live for a minute at most, so there are too few for an index.
        let commands = Table::create()
            .table(TABLE)
            .col(pk_uuid("id"))
            .col(text("node"))
            .col(uuid("project_id"))
            .col(uuid("stream_id"))
            .col(text("kind"))
            .col(uuid_null("destination_id"))
            .col(big_integer("created_at"))
            .foreign_key(&mut stream.clone())
            .take();
        manager.create_table(commands).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).take()).await
    }
}
