//! Tests a destination before a stream: connects as a relay does, but stops before `publish`, which would start a
//! broadcast on the platform.

use std::time::Duration;

use gostream_proto::rtmp::client::Intent;
use tokio::time::timeout;

use crate::{
    limits::READ_BYTES,
    rtmp::{
        connect::{ConnectOptions, RtmpClient},
        dial::Dialer,
        error::Failure,
        steps::{Step, Steps},
    },
    spec::Target,
    status::ProbeStep,
};

/// Time for all steps together, with redirects and logins: a user waits for the result, and the API for at most 15 s.
const PROBE: Duration = Duration::from_secs(14);
/// From a connection to the stream that the server created.
const PERMISSION: Duration = Duration::from_secs(10);

/// Tests `target`. Returns every step; the last one may have failed.
pub(crate) async fn probe(dialer: &Dialer, target: &Target) -> Vec<ProbeStep> {
    let mut steps = Steps::new();
    let options = ConnectOptions {
        intent: Intent::Probe,
        enhanced: false,
        flash_version: None,
        read_bytes: READ_BYTES,
        permission: PERMISSION,
    };
    let opened = timeout(PROBE, RtmpClient::open(dialer, target, &options, &mut steps)).await;
    let failure = match opened {
        Ok(opened) => opened.err(),
        Err(_) => Some(too_late(steps.current().0, target.url.host().to_owned())),
    };
    let step = |(step, took): (Step, Duration), error| ProbeStep { name: step.name(), took, error };
    let failed = failure.map(|failure| step(steps.current(), Some(failure.for_status())));
    steps.done().iter().map(|&done| step(done, None)).chain(failed).collect()
}

/// Why a step that took too long failed.
fn too_late(step: Step, host: String) -> Failure {
    match step {
        Step::Resolve => Failure::NoNameServer { host },
        Step::Connect => Failure::Unreachable { host },
        Step::Tls => Failure::Tls { host },
        Step::Handshake | Step::RtmpConnect | Step::CreateStream => Failure::NoAnswer { host },
    }
}
