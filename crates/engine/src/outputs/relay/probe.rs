//! Trying a destination out before the show: a relay's way to its platform up to `publish`, which would put it on the air.

use std::time::Duration;

use gostream_proto::rtmp::client::Intent;
use tokio::time::timeout;

use crate::{
    limits::READ_BYTES,
    rtmp::{
        connect::{Ask, Conversation},
        dial::Dialer,
        error::Failure,
        steps::{Step, Steps},
    },
    spec::Target,
    status::ProbeStep,
};

/// For all steps together, redirects and logins included.
const PROBE: Duration = Duration::from_secs(30);

/// Tries `target` out. Gives every step; the last one may have failed.
pub(crate) async fn probe(dialer: &Dialer, target: &Target) -> Vec<ProbeStep> {
    let mut steps = Steps::new();
    let ask = Ask { intent: Intent::Probe, enhanced: false, flash_version: None, read_bytes: READ_BYTES };
    let opened = timeout(PROBE, Conversation::open(dialer, target, &ask, &mut steps)).await;
    let failure = match opened {
        Ok(opened) => opened.err(),
        Err(_) => Some(Failure::NoAnswer { host: target.url.host().to_owned() }),
    };
    let step = |(step, took): (Step, Duration), error| ProbeStep { name: step.name(), took, error };
    let failed = failure.map(|failure| step(steps.current(), Some(failure.for_status())));
    steps.done().iter().map(|&done| step(done, None)).chain(failed).collect()
}
