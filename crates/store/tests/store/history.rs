//! Streams.

use gostream_store::{EndReason, Error, EventRelay, EventState, Leg, NewStreamEvent, Store, Stream, StreamStatus};
use time::{Duration, OffsetDateTime, macros::datetime};
use uuid::Uuid;

use crate::backend::{Backend, new_destination, project, user};

const START: OffsetDateTime = datetime!(2026-11-23 10:00:00.123_456 UTC);

async fn begin(store: &Store, project: Uuid, at: OffsetDateTime) -> Uuid {
    let id = Uuid::now_v7();
    store.start_stream(id, project, "node-1", at).await.unwrap();
    id
}

pub async fn a_stream_starts_and_ends_once(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    assert_eq!(store.open_stream(project.id).await.unwrap(), None);

    let id = begin(&store, project.id, START).await;
    let live = Stream {
        id,
        project_id: project.id,
        status: StreamStatus::Live,
        started_at: datetime!(2026-11-23 10:00:00.123 UTC),
        ended_at: None,
        end_reason: None,
        node: "node-1".to_owned(),
    };
    assert_eq!(store.open_stream(project.id).await.unwrap(), Some(live.clone()));
    // The history writer repeats a call if it does not know whether it succeeded.
    store.start_stream(id, project.id, "node-1", START + Duration::seconds(5)).await.unwrap();
    assert_eq!(store.open_stream(project.id).await.unwrap(), Some(live.clone()));

    for status in [StreamStatus::Reconnecting, StreamStatus::Reconnecting, StreamStatus::Live] {
        store.set_stream_status(id, status).await.unwrap();
        assert_eq!(store.open_stream(project.id).await.unwrap().map(|row| row.status), Some(status));
    }

    let over = datetime!(2026-11-23 11:00 +01:00);
    store.end_stream(id, over, EndReason::EncoderStopped).await.unwrap();
    store.end_stream(id, over + Duration::HOUR, EndReason::EncoderLost).await.unwrap();
    store.set_stream_status(id, StreamStatus::Live).await.unwrap();
    store.start_stream(id, project.id, "node-1", START).await.unwrap();
    assert_eq!(store.open_stream(project.id).await.unwrap(), None);
    let ended = Stream {
        status: StreamStatus::Ended,
        ended_at: Some(over),
        end_reason: Some("encoder_stopped".to_owned()),
        ..live
    };
    let page = store.streams(owner.id, project.id, 10, None).await.unwrap();
    assert_eq!((page.items, page.next_cursor), (vec![ended], None));

    let next = begin(&store, project.id, START).await;
    store.set_stream_status(next, StreamStatus::Ended).await.unwrap();
    let page = store.streams(owner.id, project.id, 1, None).await.unwrap();
    assert!(page.items.iter().all(|row| row.id == next && row.ended_at.is_some() && row.end_reason.is_some()));

    let unknown = Uuid::now_v7();
    assert!(matches!(store.set_stream_status(unknown, StreamStatus::Live).await, Err(Error::NotFound)));
    assert!(matches!(store.end_stream(unknown, START, EndReason::Ended).await, Err(Error::NotFound)));
    assert!(matches!(store.start_stream(unknown, Uuid::new_v4(), "node-1", START).await, Err(Error::NotFound)));
    store.close().await;
}

pub async fn pages_do_not_shift_when_streams_start(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let mut all = Vec::new();
    for n in 0_i64..11 {
        // Several start in the same millisecond.
        all.push(begin(&store, project.id, START + Duration::milliseconds(n / 3)).await);
    }
    all.reverse();

    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.streams(owner.id, project.id, 2, cursor.as_deref()).await.unwrap();
        assert!(page.items.len() == 2 || page.next_cursor.is_none());
        seen.extend(page.items.iter().map(|row| row.id));
        begin(&store, project.id, START + Duration::HOUR).await;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);

    // A full last page has no next cursor.
    let count = all.len() as u32 + 6;
    let page = store.streams(owner.id, project.id, count, None).await.unwrap();
    assert_eq!((page.items.len() as u32, page.next_cursor), (count, None));
    store.close().await;
}

pub async fn an_invalid_cursor_is_refused(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    begin(&store, project.id, START).await;
    begin(&store, project.id, START).await;
    let page = store.streams(owner.id, project.id, 1, None).await.unwrap();
    let good = page.next_cursor.unwrap();
    assert_eq!(store.streams(owner.id, project.id, 1, Some(&good)).await.unwrap().items.len(), 1);

    for bad in ["", "x", "AAAA", "' OR 1=1 --", &good[1..], &format!("{good}AA"), &good.replace(&good[..2], "é")] {
        let page = store.streams(owner.id, project.id, 1, Some(bad)).await;
        assert!(matches!(page, Err(Error::BadCursor)), "{bad:?}");
    }
    // The minimum and maximum times are valid cursors.
    let (first, last) = ("_".repeat(32), format!("f{}", "_".repeat(31)));
    assert!(store.streams(owner.id, project.id, 1, Some(&first)).await.unwrap().items.is_empty());
    assert_eq!(store.streams(owner.id, project.id, 0, Some(&last)).await.unwrap().items.len(), 1);
    store.close().await;
}

pub async fn streams_of_a_killed_server_are_ended(db: &Backend) {
    let store = db.open().await;
    let ((owner, one), (_, two)) = (project(&store).await, project(&store).await);
    let old = begin(&store, one.id, START).await;
    store.end_stream(old, START + Duration::MINUTE, EndReason::EncoderStopped).await.unwrap();
    let lost = begin(&store, one.id, START + Duration::HOUR).await;
    let elsewhere = Uuid::now_v7();
    store.start_stream(elsewhere, two.id, "node-2", START).await.unwrap();
    let ids = |rows: Vec<Stream>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(store.open_streams_at("node-1").await.unwrap()), [lost]);
    assert_eq!(ids(store.open_streams_at("node-2").await.unwrap()), [elsewhere]);
    store.close().await;

    let store = db.open().await;
    let back = datetime!(2026-11-24 00:00 UTC);
    assert_eq!(store.close_abandoned_streams("node-1", back).await.unwrap(), 1);
    assert_eq!(store.close_abandoned_streams("node-1", back).await.unwrap(), 0);
    let page = store.streams(owner.id, one.id, 10, None).await.unwrap();
    let ends: Vec<_> = page.items.iter().map(|row| (row.id, row.ended_at, row.end_reason.as_deref())).collect();
    let first_end = Some((START + Duration::MINUTE).truncate_to_millisecond());
    assert_eq!(ends, [(lost, Some(back), Some("server_killed")), (old, first_end, Some("encoder_stopped"))]);
    assert_eq!(store.open_stream(one.id).await.unwrap(), None);
    assert_eq!(store.open_stream(two.id).await.unwrap().map(|row| row.id), Some(elsewhere));
    store.close().await;
}

pub async fn history_is_deleted_with_its_project(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let id = begin(&store, project.id, START).await;
    store.delete_project(owner.id, project.id).await.unwrap();
    assert_eq!(store.open_stream(project.id).await.unwrap(), None);
    assert!(matches!(store.end_stream(id, START, EndReason::Ended).await, Err(Error::NotFound)));
    assert!(matches!(store.streams(owner.id, project.id, 10, None).await, Err(Error::NotFound)));
    store.close().await;
}

pub async fn a_timeline_keeps_the_names_at_the_time_of_the_event(db: &Backend) {
    let store = db.open().await;
    let (owner, project) = project(&store).await;
    let destination = store.add_destination(owner.id, project.id, new_destination("Main", "key")).await.unwrap();
    let (stream, other) = (begin(&store, project.id, START).await, begin(&store, project.id, START).await);
    let event = |second: i64, relay: Option<Uuid>, state| NewStreamEvent {
        id: Uuid::now_v7(),
        stream_id: stream,
        at: START + Duration::seconds(second),
        relay: relay.map(|id| (id, Leg::Backup)),
        state,
        code: Some("dns".to_owned()),
        message: None,
        sent_bytes: Some(u64::MAX),
        dropped_frames: None,
    };
    let late = event(2, Some(destination.id), EventState::Backoff);
    for event in [late.clone(), event(1, None, EventState::Live), late.clone()] {
        store.add_stream_event(event).await.unwrap();
    }
    store.delete_destination(owner.id, destination.id).await.unwrap();
    store.add_stream_event(event(3, Some(destination.id), EventState::Off)).await.unwrap();
    store
        .add_stream_event(NewStreamEvent { stream_id: other, ..event(4, None, EventState::Live) })
        .await
        .unwrap();
    let gone = NewStreamEvent { stream_id: Uuid::new_v4(), ..event(4, None, EventState::Live) };
    assert!(matches!(store.add_stream_event(gone).await, Err(Error::NotFound)));

    let found = store.stream_events(&[stream], 10).await.unwrap();
    let states: Vec<_> = found.iter().map(|event| event.state.as_str()).collect();
    assert_eq!(states, ["live", "backoff", "off"], "in order, each once");
    let relay = |name: &str, platform: &str| {
        let (name, platform, leg) = (name.to_owned(), platform.to_owned(), "backup".to_owned());
        Some(EventRelay { destination_id: destination.id, leg, name, platform })
    };
    let expected = [None, relay("Main", "twitch"), relay("", "")];
    assert!(found.iter().map(|event| &event.relay).eq(&expected));
    assert_eq!(found[0].sent_bytes, Some(i64::MAX as u64));
    assert_eq!(store.stream_events(&[stream, other], 2).await.unwrap().len(), 2);
    assert_eq!(store.forget_stream_events(START + Duration::seconds(3)).await.unwrap(), 2);
    assert_eq!(store.stream_events(&[stream, other], 10).await.unwrap().len(), 2);
    assert!(store.stream(owner.id, project.id, stream).await.unwrap().is_some(), "the stream remains");
    let thief = user(&store).await;
    assert!(matches!(store.stream(thief.id, project.id, stream).await, Err(Error::NotFound)));
    store.delete_project(owner.id, project.id).await.unwrap();
    assert_eq!(store.stream_events(&[stream, other], 10).await.unwrap(), []);
}
