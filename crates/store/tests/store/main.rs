//! The store from outside: each test runs on SQLite and on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a failing unwrap shows where a test stopped")]

mod accounts;
mod audits;
mod backend;
mod backups;
mod commands;
mod destinations;
mod history;
mod load;
mod notifications;
mod opening;
mod projects;
mod pulls;
mod revocation;
mod rotations;
mod secrets;

/// Runs every test on both databases, each with a database of its own.
macro_rules! stories {
    ($($module:ident: $($story:ident),+;)+) => {
        mod on_sqlite {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    crate::$module::$story(&crate::backend::Backend::sqlite()).await;
                })+
            })+
        }

        /// A single test, because each test is a process and would start a server of its own.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn every_story_on_postgres() {
            $($({
                eprintln!("{} {}", stringify!($module), stringify!($story));
                $module::$story(&backend::Backend::postgres()).await;
            })+)+
        }
    };
}

stories! {
    accounts: account_lookup_ignores_case_and_spaces, concurrent_sign_ups_create_one_account,
        sessions_end_and_expire, a_new_password_ends_every_session;
    revocation: a_login_checked_before_a_revocation_fails, logins_racing_with_a_revocation_leave_no_session,
        a_session_shows_where_it_is_used, only_the_newest_sessions_are_kept, tokens_have_a_limit_an_expiry_and_a_scope,
        a_token_needs_a_valid_session, tokens_and_stream_keys_end_on_request,
        a_revocation_and_its_audit_lines_are_atomic, an_account_is_deleted_with_all_its_data;
    audits: every_change_is_audited_with_old_and_new_values, a_change_and_its_audit_line_are_atomic,
        failed_logins_are_counted_and_displace_no_other_lines, endless_changes_are_bounded_and_displace_no_logins, a_quota_holds_under_concurrent_calls, logins_in_urls_are_sealed;
    projects: a_project_is_created_changed_and_deleted, projects_are_listed_newest_first, a_replaced_key_is_invalid_at_once,
        projects_of_other_accounts_are_not_found;
    pulls: a_project_is_pulled_by_one_node, a_node_claims_all_unclaimed_projects;
    destinations: a_destination_is_created_changed_and_deleted, a_change_keeps_other_fields, destinations_are_listed_oldest_first,
        destinations_of_other_accounts_are_not_found;
    commands: a_command_reaches_the_server_that_owns_the_stream, an_unexecuted_command_expires,
        a_command_and_its_audit_line_are_atomic;
    history: a_stream_starts_and_ends_once, pages_do_not_shift_when_streams_start, an_invalid_cursor_is_refused,
        streams_of_a_killed_server_are_ended, history_is_deleted_with_its_project,
        a_timeline_keeps_the_names_at_the_time_of_the_event;
    secrets: keys_are_never_stored_in_clear, a_sealed_key_opens_in_its_own_row_only, errors_and_logs_contain_no_secret;
    opening: data_remains_after_a_restart, another_secret_key_is_an_error, servers_may_start_together,
        a_closed_store_answers_with_errors;
    rotations: everything_opens_with_the_new_key_only, a_value_that_cannot_be_decrypted_aborts_the_rotation,
        no_other_process_has_the_database_open_during_rotation;
    load: fifty_tasks_in_two_servers_do_not_conflict, a_dropped_call_leaves_no_open_transaction;
}
