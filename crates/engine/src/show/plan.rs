//! The plan: what has to happen so that what runs becomes what should be. Pure; the supervisor carries it out.

use std::collections::BTreeMap;

use crate::spec::{DestinationSpec, RelayId, Target};

/// One thing to do to one relay. The others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A relay has to begin.
    Start(RelayId, Target),
    /// A relay has to end cleanly.
    Stop(RelayId),
    /// The destination was pointed elsewhere: its relay ends, and another begins.
    Restart(RelayId, Target),
}

/// Compares what should be with what runs. Renaming a destination changes nothing here; a new URL or key restarts that one.
/// Another delay does not: running relays change to it.
pub fn plan(desired: &[DestinationSpec], running: &BTreeMap<RelayId, Target>) -> Vec<Action> {
    let legs = desired.iter().filter(|d| d.enabled).flat_map(|d| {
        let backup = d.backup.as_ref().map(|backup| (RelayId::backup(d.id), backup));
        [Some((RelayId::primary(d.id), &d.target)), backup]
    });
    let wanted: BTreeMap<_, _> = legs.flatten().collect();
    let stops = running.keys().filter(|id| !wanted.contains_key(id)).map(|&id| Action::Stop(id));
    let starts = wanted.iter().filter_map(|(&id, &target)| match running.get(&id) {
        None => Some(Action::Start(id, target.clone())),
        Some(old) if old != target => Some(Action::Restart(id, target.clone())),
        Some(_) => None,
    });
    stops.chain(starts).collect()
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

    fn apply(running: &mut BTreeMap<RelayId, Target>, actions: &[Action]) {
        for action in actions {
            match action.clone() {
                Action::Stop(id) => assert!(running.remove(&id).is_some(), "only what runs is stopped"),
                Action::Start(id, target) => assert!(running.insert(id, target).is_none(), "nothing runs twice"),
                Action::Restart(id, target) => assert!(running.insert(id, target).is_some()),
            }
        }
    }

    proptest! {
        #[test]
        fn carried_out_it_leaves_nothing_to_do_and_touches_only_what_changed(
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
            let actions = plan(&desired, &before);
            let mut after = before.clone();
            apply(&mut after, &actions);
            prop_assert_eq!(plan(&desired, &after), vec![]);

            let touched: BTreeSet<_> = actions
                .iter()
                .map(|action| match action {
                    Action::Start(id, _) | Action::Restart(id, _) | Action::Stop(id) => *id,
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
