use gostream_proto::rtmp::url::RtmpUrl;
use uuid::Uuid;

use gostream_net::{Egress, OwnAddresses, SystemResolver};

use super::*;
use crate::{
    events,
    spec::{AccountId, Goodbye, ProjectId, StreamId, StreamKey},
};

fn spec(playback_id: String) -> ProjectSpec {
    ProjectSpec {
        id: ProjectId(Uuid::nil()),
        account: AccountId(Uuid::nil()),
        stream_key: StreamKey::new("key"),
        playback_id,
        goodbye: Goodbye::Ends,
        destinations: vec![],
    }
}

fn setup(broadcast: &Arc<Broadcast>, spec: watch::Receiver<ProjectSpec>, events: EventSink) -> Setup {
    Setup {
        broadcast: Arc::clone(broadcast),
        hls: Arc::new(hls::Output::new(broadcast.started_at)),
        spec,
        retries: mpsc::channel(1).1,
        status: watch::Sender::new(None),
        events,
        dialer: Dialer::new(
            Arc::new(SystemResolver::default()),
            Egress::new(Vec::new()),
            OwnAddresses::default(),
            None,
        ),
        grace: Duration::from_secs(60),
        uplink: Arc::default(),
        delay_room: Arc::default(),
    }
}

/// A short stream may be over before the supervisor runs for the first time.
#[tokio::test(start_paused = true)]
async fn stream_that_ended_before_the_first_plan_has_relays() {
    let (events, mut receiver) = events::channel(256);
    let broadcast = Broadcast::new(ProjectId(Uuid::nil()), StreamId(Uuid::nil()));
    let url = RtmpUrl::parse("rtmp://platform.example/live").expect("is a URL");
    let destination = DestinationSpec {
        id: DestinationId(Uuid::nil()),
        target: Target { url, key: StreamKey::new("key") },
        backup: None,
        enabled: true,
        delay: Duration::from_secs(4),
    };
    let (_sender, seen) = watch::channel(ProjectSpec { destinations: vec![destination], ..spec(String::new()) });
    broadcast.end(EndReason::EncoderStopped);
    supervise(setup(&broadcast, seen, events.of(AccountId(Uuid::nil())))).await;
    receiver.close();
    let mut reported = Vec::new();
    while let Some(event) = receiver.recv().await {
        reported.push(event);
    }
    let has_relay = reported.iter().any(|event| matches!(event, EngineEvent::RelayEnded { .. }));
    assert!(has_relay, "{reported:?}");
}

/// Holds whatever else happens at the same time, and in whatever order the supervisor polls.
#[tokio::test(start_paused = true)]
async fn every_drop_and_return_is_reported() {
    let (events, mut receiver) = events::channel(256);
    let broadcast = Broadcast::new(ProjectId(Uuid::nil()), StreamId(Uuid::nil()));
    let (spec_sender, spec_seen) = watch::channel(spec(String::new()));
    let setup = setup(&broadcast, spec_seen, events.of(AccountId(Uuid::nil())));
    let supervisor = tokio::spawn(supervise(setup));
    let mut noted = Vec::new();
    let mut next = async || {
        let event = timeout(Duration::from_secs(5), receiver.recv()).await.expect("is reported");
        event.expect("the supervisor runs")
    };
    assert!(matches!(next().await, EngineEvent::StreamStarted { .. }));
    for n in 0..60 {
        let is_drop = n % 2 == 0;
        broadcast.set_phase(if is_drop { Phase::Dropped(Instant::now()) } else { Phase::Live });
        spec_sender.send_replace(spec(n.to_string()));
        noted.push(match next().await {
            EngineEvent::StreamPhase { reconnecting, .. } => reconnecting,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(noted, [true, false].repeat(30));
    broadcast.end(EndReason::EncoderStopped);
    supervisor.await.expect("ends");
}
