//! The plan: the changes that bring the running relays to the desired state. Pure; the supervisor applies it.

use std::collections::BTreeMap;

use crate::spec::{DestinationSpec, RelayId, Target};

/// One change to one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Start a relay.
    Start(RelayId, Target),
    /// Stop a relay and close its connection in order.
    Stop(RelayId),
    /// The target changed: stop the relay and start another one.
    Restart(RelayId, Target),
}

/// Compares the desired destinations with the running relays; at most one change per relay. A new name changes nothing;
/// a new URL or key restarts that relay. A new delay does not: running relays change to it.
pub fn plan(desired: &[DestinationSpec], running: &BTreeMap<RelayId, Target>) -> Vec<Change> {
    let legs = desired.iter().filter(|d| d.enabled).flat_map(|d| {
        let backup = d.backup.as_ref().map(|backup| (RelayId::backup(d.id), backup));
        [Some((RelayId::primary(d.id), &d.target)), backup]
    });
    let wanted: BTreeMap<_, _> = legs.flatten().collect();
    let stops = running.keys().filter(|id| !wanted.contains_key(id)).map(|&id| Change::Stop(id));
    let starts = wanted.iter().filter_map(|(&id, &target)| match running.get(&id) {
        None => Some(Change::Start(id, target.clone())),
        Some(old) if old != target => Some(Change::Restart(id, target.clone())),
        Some(_) => None,
    });
    let changes: Vec<_> = stops.chain(starts).collect();
    debug_assert!(changes.iter().all(|change| match change {
        Change::Start(id, _) => !running.contains_key(id),
        Change::Stop(id) | Change::Restart(id, _) => running.contains_key(id),
    }));
    changes
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use gostream_proto::rtmp::url::RtmpUrl;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::spec::{DestinationId, StreamKey};

    fn target(n: u8) -> Target {
        Target {
            url: RtmpUrl::parse(&format!("rtmp://host{n}/live")).expect("is a URL"),
            key: StreamKey::new(format!("key-{n}")),
        }
    }

    fn id(n: u8) -> DestinationId {
        DestinationId(Uuid::from_u128(n.into()))
    }

    fn apply(running: &mut BTreeMap<RelayId, Target>, changes: &[Change]) {
        for change in changes {
            match change.clone() {
                Change::Stop(id) => assert!(running.remove(&id).is_some(), "stops a running relay"),
                Change::Start(id, target) => assert!(running.insert(id, target).is_none(), "starts a relay once"),
                Change::Restart(id, target) => assert!(running.insert(id, target).is_some()),
            }
        }
    }

    proptest! {
        #[test]
        fn applying_a_plan_is_idempotent_and_minimal(
            desired in prop::collection::btree_map(0_u8..8, (any::<bool>(), 0_u8..3, prop::option::of(0_u8..3)), 0..8),
            running in prop::collection::btree_map((0_u8..8, any::<bool>()), 0_u8..3, 0..8),
        ) {
            let desired: Vec<_> = desired
                .into_iter()
                .map(|(n, (enabled, at, backup))| {
                    DestinationSpec { id: id(n), target: target(at), backup: backup.map(target), enabled, delay: Duration::ZERO }
                })
                .collect();
            let relay = |(n, primary)| if primary { RelayId::primary(id(n)) } else { RelayId::backup(id(n)) };
            let before: BTreeMap<_, _> = running.into_iter().map(|(key, at)| (relay(key), target(at))).collect();
            let changes = plan(&desired, &before);
            let mut after = before.clone();
            apply(&mut after, &changes);
            prop_assert_eq!(plan(&desired, &after), vec![]);

            let touched: BTreeSet<_> = changes
                .iter()
                .map(|change| match change {
                    Change::Start(id, _) | Change::Restart(id, _) | Change::Stop(id) => *id,
                })
                .collect();
            for (id, target) in &before {
                let stays = desired.iter().filter(|d| d.enabled).any(|d| {
                    *id == RelayId::primary(d.id) && d.target == *target
                        || *id == RelayId::backup(d.id) && d.backup.as_ref() == Some(target)
                });
                prop_assert_eq!(stays, !touched.contains(id));
            }
        }
    }
}
