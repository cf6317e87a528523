//! The timeline of streams, backup servers, and whether an encoder's stop ends the stream.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, boolean, pk_uuid, text, text_null, uuid, uuid_null},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_timeline"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backup = Table::alter().table("destinations").add_column(text_null("backup_url")).take();
        manager.alter_table(backup).await?;
        let holds = Table::alter()
            .table("projects")
            .add_column(boolean("hold_after_stop").not_null().default(false))
            .take();
        manager.alter_table(holds).await?;
        manager.create_table(stream_events()).await?;
        let index = |columns: &[&'static str]| {
            let name = format!("stream_events_{}", columns.join("_"));
            let mut index = Index::create().name(name).table("stream_events").take();
            for column in columns {
                index.col(*column);
            }
            index
        };
        manager.create_index(index(&["stream_id", "at", "id"])).await?;
        // For the daily deletion of old events.
        manager.create_index(index(&["at"])).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("stream_events").take()).await?;
        manager.alter_table(Table::alter().table("projects").drop_column("hold_after_stop").take()).await?;
        manager.alter_table(Table::alter().table("destinations").drop_column("backup_url").take()).await
    }
}

fn stream_events() -> TableCreateStatement {
    let stream = ForeignKey::create()
        .name("stream_events_stream_id_fkey")
        .from("stream_events", "stream_id")
        .to("streams", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .take();
    Table::create()
        .table("stream_events")
        .col(pk_uuid("id"))
        .col(uuid("stream_id"))
        .col(big_integer("at"))
        // No foreign key: events remain when the destination is deleted.
        .col(uuid_null("destination_id"))
        .col(text_null("destination_name"))
        .col(text_null("platform"))
        .col(text_null("leg"))
        .col(text("state"))
        .col(text_null("code"))
        .col(text_null("message"))
        .col(big_integer_null("sent_bytes"))
        .col(big_integer_null("dropped_frames"))
        .foreign_key(&mut stream.clone())
        .take()
}
