//! The API from outside: the real server on a free port, its stories told on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

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

/// Each story as a test of its own on SQLite, and all of them in one on a PostgreSQL that it starts.
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
    accounts: sign_up_log_in_and_out, a_taken_email_is_told, wrong_credentials_look_alike, a_new_password_ends_other_sessions,
        guessing_is_slowed_down;
    origin: a_cookie_alone_reads_and_same_origin_writes;
    projects: a_project_is_created_changed_and_deleted, history_is_paged;
    pulls: a_project_says_where_its_stream_is_fetched, hooks_say_when_to_fetch_and_when_it_is_over;
    delays: a_destination_gets_the_stream_later;
    destinations: a_destination_is_created_changed_and_deleted, keys_and_urls_are_kept_to_the_letter;
    bad_input: bodies_that_are_no_json, fields_that_cannot_be_taken, ids_paths_and_methods;
    ownership: every_route_hides_what_is_not_yours;
    hooks: the_hooks_of_nginx_rtmp;
    live: a_stream_is_seen_and_kept, a_quiet_event_stream_has_heartbeats, deleting_and_rotating_end_the_stream, events_end_with_the_session,
        a_new_playback_id_ends_the_old_one_at_once_and_not_the_stream, relays_follow_the_wish;
    reports: a_report_tells_how_every_destination_did, what_is_too_slow_is_told, a_stopped_encoder_can_be_waited_for,
        an_unknown_key_is_shown_to_those_who_may_have_tried_it, sessions_are_listed_and_ended;
    tokens: a_token_does_what_its_owner_may_and_no_more, what_was_done_is_written_down,
        a_shown_key_is_written_down_once_for_each_login, a_token_may_only_look_and_sees_no_key,
        an_account_has_few_tokens_and_each_ends;
    revocation: whatever_is_revoked_is_dead_within_seconds_however_it_is_held,
        who_waits_for_the_seat_with_a_revoked_key_is_not_on_air;
    limits: strangers_lock_nobody_out, trying_out_and_trying_again_are_limited_for_each_account,
        publishers_in_front_are_limited_for_each_account;
    recipients: a_key_goes_only_where_it_was_meant_to, a_login_in_a_url_is_shown_to_nobody;
    hangups: a_change_has_its_effect_although_its_client_hung_up;
    headers: every_answer_has_the_headers_of_its_kind;
    serving: health_pages_and_headers, metrics_count_by_route;
}
