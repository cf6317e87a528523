//! API tokens and the audit log.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, binary_uniq, pk_uuid, text, text_null, uuid},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_tokens_and_audit"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tokens = Table::create()
            .table("api_tokens")
            .col(pk_uuid("id"))
            .col(uuid("user_id"))
            .col(text("name"))
            .col(binary_uniq("hash"))
            .col(big_integer("created_at"))
            .col(big_integer_null("last_used_at"))
            .foreign_key(&mut of_user("api_tokens"))
            .take();
        let audit = Table::create()
            .table("audit")
            .col(pk_uuid("id"))
            .col(uuid("user_id"))
            .col(big_integer("at"))
            .col(text("action"))
            .col(text_null("object"))
            .col(text_null("address"))
            .foreign_key(&mut of_user("audit"))
            .take();
        manager.create_table(tokens).await?;
        manager.create_table(audit).await?;
        let index = |table: &'static str, columns: [&'static str; 2]| {
            let mut index = Index::create().name(format!("{table}_{}", columns.join("_"))).table(table).take();
            index.col(columns[0]).col(columns[1]).take()
        };
        manager.create_index(index("api_tokens", ["user_id", "created_at"])).await?;
        manager.create_index(index("audit", ["user_id", "at"])).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("audit").take()).await?;
        manager.drop_table(Table::drop().table("api_tokens").take()).await
    }
}

fn of_user(table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{table}_user_id_fkey"))
        .from(table, "user_id")
        .to("users", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}
