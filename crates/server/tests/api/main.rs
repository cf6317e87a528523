//! The API from outside: the real server on a free port, with each test on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a failing unwrap shows where a test stopped")]

mod accounts;
mod acme;
mod app;
mod bad_input;
mod delays;
mod deploy;
mod destinations;
mod hangups;
mod headers;
mod hooks;
mod http;
mod limits;
mod live;
mod metrics;
mod origin;
mod ownership;
mod program;
mod projects;
mod pulls;
mod quotas;
mod recipients;
mod reports;
mod revocation;
mod security;
mod serving;
mod side_by_side;
mod stalls;
mod tokens;

/// Defines each test as a separate one on SQLite, and all of them in a single one on a PostgreSQL.
macro_rules! stories {
    ($($module:ident: $($story:ident),+;)+) => {
        mod on_sqlite {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    let app = crate::app::TestApp::start(&[]).await;
                    crate::$module::$story(&app).await;
                    app.stop().await;
                })+
            })+
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn every_story_on_postgres() {
            $($({
                let app = app::TestApp::on_postgres().await;
                eprintln!("{} {}", stringify!($module), stringify!($story));
                $module::$story(&app).await;
                app.stop().await;
            })+)+
        }
    };
}

stories! {
    accounts: sign_up_log_in_and_out, a_taken_email_is_refused, wrong_credentials_are_indistinguishable, a_new_password_ends_other_sessions,
        guessing_is_slowed_down;
    origin: a_cookie_alone_reads_and_same_origin_writes;
    projects: a_project_is_created_changed_and_deleted, history_is_paged;
    pulls: a_project_has_a_pull_url, hooks_start_and_end_a_pull;
    delays: a_destination_gets_the_stream_with_a_delay;
    destinations: a_destination_is_created_changed_and_deleted, keys_and_urls_are_stored_unchanged;
    bad_input: invalid_json_bodies_are_refused, invalid_fields_are_refused, ids_paths_and_methods;
    ownership: every_route_hides_objects_of_other_accounts;
    hooks: the_hooks_of_nginx_rtmp;
    live: a_live_stream_is_shown_and_recorded_in_the_history, an_idle_event_stream_has_heartbeats, deleting_and_rotating_end_the_stream, events_end_with_the_session,
        a_new_playback_id_invalidates_the_old_one_but_not_the_stream, relays_start_and_stop_on_request;
    reports: a_report_has_the_outcome_of_every_destination, slow_encoders_and_uplinks_are_reported, destinations_can_wait_for_a_stopped_encoder,
        an_unknown_key_is_shown_to_users_at_its_address, sessions_are_listed_and_ended;
    tokens: a_full_token_has_the_owners_rights_except_account_access, actions_are_audited,
        a_shown_key_is_audited_once_per_session, a_read_token_changes_nothing_and_sees_no_key,
        tokens_are_limited_in_number_and_expire;
    revocation: revoked_access_ends_within_seconds_for_every_way_to_hold_it,
        a_publisher_waiting_with_a_revoked_key_is_never_live;
    limits: failed_logins_of_others_do_not_lock_out_the_owner, tests_and_retries_are_limited_per_account,
        upstream_publishers_are_limited_per_account;
    recipients: a_key_is_sent_only_to_its_recipients, a_login_in_a_url_is_never_shown;
    hangups: a_change_takes_effect_although_its_client_disconnected;
    headers: every_response_has_the_headers_of_its_kind;
    serving: health_pages_and_headers, metrics_count_by_route;
}
