//! The store, seen from outside: each story runs on SQLite and on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

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

/// Runs every story on both databases. Each has a database of its own.
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

        /// One test, since each test is a process and would start a server of its own.
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
    accounts: an_account_is_found_however_its_address_is_typed, one_address_gives_one_account_in_a_race,
        sessions_end_and_expire, a_new_password_ends_every_session;
    revocation: what_was_checked_before_begins_nothing, logins_that_race_with_their_end_leave_no_session,
        a_session_shows_where_it_is_used, only_the_newest_sessions_stay, tokens_have_number_end_and_scope,
        a_token_is_made_by_a_session_that_counts, tokens_and_stream_keys_end_on_request,
        a_revocation_and_its_lines_are_kept_together_or_not_at_all, an_account_goes_with_all_that_it_has;
    audits: every_change_is_written_with_what_it_was_and_is, a_change_and_its_line_are_kept_together_or_not_at_all,
        failures_of_strangers_are_counted_and_bury_nothing, changes_without_end_fill_nothing_and_bury_no_login, a_quota_holds_however_many_come_at_once, logins_in_urls_are_sealed;
    projects: a_project_lives_and_dies, projects_are_listed_newest_first, a_replaced_key_is_unknown_at_once,
        nobody_reaches_the_project_of_another;
    pulls: a_stream_is_fetched_by_one_server, a_server_fetches_all_that_nobody_does;
    destinations: a_destination_lives_and_dies, a_change_leaves_the_rest, destinations_are_listed_oldest_first,
        nobody_reaches_the_destination_of_another;
    commands: a_command_reaches_the_server_that_owns_the_stream, a_command_that_nobody_carries_out_is_removed,
        a_command_and_its_line_are_kept_together_or_not_at_all;
    history: a_stream_lives_and_ends_once, pages_stay_put_while_streams_begin, a_made_up_cursor_is_refused,
        a_killed_server_leaves_no_open_stream, history_goes_with_its_project,
        a_timeline_keeps_what_happened_under_the_names_of_then;
    secrets: keys_are_never_stored_in_clear, a_sealed_key_opens_in_its_own_row_only, errors_and_logs_hold_no_secret;
    opening: a_second_start_finds_everything, another_secret_key_is_told, servers_may_start_together,
        a_closed_store_answers_with_errors;
    rotations: everything_opens_with_the_new_key_alone, a_value_that_does_not_open_leaves_everything_as_it_was,
        nobody_else_is_there_while_the_key_is_replaced;
    load: fifty_tasks_in_two_servers_get_along, a_dropped_call_leaves_no_open_transaction;
}
