//! Users, sessions, projects, destinations, streams, and the canary of the secret key.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, binary, binary_uniq, boolean, pk_uuid, text, text_null, text_uniq, uuid},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_first_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [canary(), users(), sessions(), projects(), destinations(), streams()] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Referring tables first.
        for table in ["streams", "destinations", "projects", "sessions", "users", "canary"] {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        Ok(())
    }
}

fn canary() -> TableCreateStatement {
    Table::create().table("canary").col(pk_uuid("id")).col(binary("sealed")).take()
}

fn users() -> TableCreateStatement {
    Table::create()
        .table("users")
        .col(pk_uuid("id"))
        .col(text_uniq("email"))
        .col(text("password_hash"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .take()
}

fn sessions() -> TableCreateStatement {
    Table::create()
        .table("sessions")
        .col(pk_uuid("id"))
        .col(uuid("user_id"))
        .col(text_null("agent"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .foreign_key(&mut belongs_to("sessions", "user_id", "users"))
        .take()
}

fn projects() -> TableCreateStatement {
    Table::create()
        .table("projects")
        .col(pk_uuid("id"))
        .col(uuid("user_id"))
        .col(text("name"))
        .col(binary("stream_key"))
        .col(binary_uniq("stream_key_hash"))
        .col(text_uniq("playback_id"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .foreign_key(&mut belongs_to("projects", "user_id", "users"))
        .take()
}

fn destinations() -> TableCreateStatement {
    Table::create()
        .table("destinations")
        .col(pk_uuid("id"))
        .col(uuid("project_id"))
        .col(text("platform"))
        .col(text("name"))
        .col(text("rtmp_url"))
        .col(binary("stream_key"))
        .col(boolean("enabled"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .foreign_key(&mut belongs_to("destinations", "project_id", "projects"))
        .take()
}

fn streams() -> TableCreateStatement {
    Table::create()
        .table("streams")
        .col(pk_uuid("id"))
        .col(uuid("project_id"))
        .col(text("node"))
        .col(text("status"))
        .col(big_integer("started_at"))
        .col(big_integer_null("ended_at"))
        .col(text_null("end_reason"))
        .foreign_key(&mut belongs_to("streams", "project_id", "projects"))
        .take()
}

/// One index per query of the store, and one per foreign key for the cascade.
fn indexes() -> [IndexCreateStatement; 6] {
    let index = |table: &'static str, columns: &[&'static str]| {
        let mut index = Index::create().name(format!("{table}_{}", columns.join("_"))).table(table).take();
        for column in columns {
            index.col(*column);
        }
        index
    };
    [
        index("sessions", &["user_id"]),
        index("sessions", &["expires_at"]),
        index("projects", &["user_id", "created_at", "id"]),
        index("destinations", &["project_id", "created_at", "id"]),
        index("streams", &["project_id", "started_at", "id"]),
        // Few streams are open, however long the history is.
        index("streams", &["node"]).cond_where(Expr::col("ended_at").is_null()).take(),
    ]
}

fn belongs_to(table: &'static str, column: &'static str, owner: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{table}_{column}_fkey"))
        .from(table, column)
        .to(owner, "id")
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}
