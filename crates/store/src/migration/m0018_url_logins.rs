//! Logins of server URLs move to encrypted columns. Existing rows are converted when the store is opened: a migration
//! has no encryption key.

use sea_orm_migration::{prelude::*, schema::binary_null};

pub(super) struct Migration;

const COLUMNS: [(&str, &str); 3] =
    [("destinations", "rtmp_login"), ("destinations", "backup_login"), ("projects", "pull_login")];

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0018_url_logins"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in COLUMNS {
            manager.alter_table(Table::alter().table(table).add_column(binary_null(column)).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in COLUMNS {
            manager.alter_table(Table::alter().table(table).drop_column(column).take()).await?;
        }
        Ok(())
    }
}
