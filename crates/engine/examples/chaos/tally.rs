//! Statistics of a run, by fault.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use gostream_engine::status::RelayState;
use gostream_testkit::platform::Visit;

/// Statistics of one fault.
#[derive(Debug, Default)]
pub struct Statistics {
    count: usize,
    states: BTreeSet<&'static str>,
    connections: usize,
    messages: usize,
    gap: Duration,
}

impl Statistics {
    /// Statistics of one destination.
    pub fn of(states: impl IntoIterator<Item = RelayState>, connections: usize, visits: &[Visit]) -> Self {
        Self {
            count: 1,
            states: states.into_iter().map(RelayState::name).collect(),
            connections,
            messages: visits.iter().map(|visit| visit.media.len()).sum(),
            gap: visits.iter().filter_map(longest_gap).max().unwrap_or_default(),
        }
    }

    fn add(&mut self, more: Self) {
        self.count += more.count;
        self.states.extend(more.states);
        self.connections += more.connections;
        self.messages += more.messages;
        self.gap = self.gap.max(more.gap);
    }
}

/// The longest time between two messages.
fn longest_gap(visit: &Visit) -> Option<Duration> {
    visit.arrivals.windows(2).map(|pair| pair[1] - pair[0]).max()
}

/// Statistics of all faults by name, and of encoder incidents.
#[derive(Debug, Default)]
pub struct Tally {
    faults: BTreeMap<&'static str, Statistics>,
    incidents: BTreeMap<String, usize>,
}

impl Tally {
    /// Adds a destination.
    pub fn note(&mut self, fault: &'static str, seen: Statistics) {
        self.faults.entry(fault).or_default().add(seen);
    }

    /// Adds an incident of the encoder or a command of the owner.
    pub fn note_incident(&mut self, incident: String) {
        *self.incidents.entry(incident).or_default() += 1;
    }

    /// Adds the statistics of another tally.
    pub fn add(&mut self, more: Self) {
        more.faults.into_iter().for_each(|(fault, seen)| self.note(fault, seen));
        more.incidents
            .into_iter()
            .for_each(|(incident, count)| *self.incidents.entry(incident).or_default() += count);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["fault", "count", "connections", "messages", "longest gap", "states"];
        writeln!(
            f,
            "{:<31}{:>6}{:>13}{:>10}{:>13}  {}",
            header[0], header[1], header[2], header[3], header[4], header[5]
        )?;
        for (fault, seen) in &self.faults {
            let Statistics { count, states, connections, messages, gap } = seen;
            let states: Vec<_> = states.iter().copied().collect();
            let gap = format!("{} ms", gap.as_millis());
            writeln!(f, "{fault:<31}{count:>6}{connections:>13}{messages:>10}{gap:>13}  {}", states.join(" "))?;
        }
        let incidents: Vec<_> = self.incidents.iter().map(|(what, count)| format!("{what} {count}")).collect();
        write!(f, "incidents: {}", incidents.join(", "))
    }
}
