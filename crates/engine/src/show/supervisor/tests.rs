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

/// Holds whatever else happens at the same time, and in whatever order the supervisor polls.
#[tokio::test(start_paused = true)]
async fn every_drop_and_return_is_reported() {
    let (events, mut receiver) = events::channel(256);
    let broadcast = Broadcast::new(ProjectId(Uuid::nil()), StreamId(Uuid::nil()));
    let (spec_sender, spec_seen) = watch::channel(spec(String::new()));
    let setup = Setup {
        broadcast: Arc::clone(&broadcast),
        hls: Arc::new(hls::Output::new(broadcast.started_at)),
        spec: spec_seen,
        retries: mpsc::channel(1).1,
        status: watch::Sender::new(None),
        events: events.of(AccountId(Uuid::nil())),
        dialer: Dialer::new(
            Arc::new(SystemResolver::default()),
            Egress::new(Vec::new()),
            OwnAddresses::default(),
            None,
        ),
        grace: Duration::from_secs(60),
        uplink: Arc::default(),
        delay_room: Arc::default(),
    };
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
