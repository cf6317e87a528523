//! The timeline of a stream: state changes of the stream and of its relays, with time and reason.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::{Reader, Store},
    entity::{destination, stream_event},
    error::Error,
    history::{EventState, Leg},
};

/// A state change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// UUID v7.
    pub id: Uuid,
    /// The stream.
    pub stream_id: Uuid,
    /// Time of the change.
    pub at: OffsetDateTime,
    /// The relay; `None` for the stream itself.
    pub relay: Option<EventRelay>,
    /// The new state: a name of [`EventState`], or a name that another version wrote.
    pub state: String,
    /// The reason, as a stable word.
    pub code: Option<String>,
    /// The reason, as a sentence.
    pub message: Option<String>,
    /// Total bytes that the relay sent, at its end.
    pub sent_bytes: Option<u64>,
    /// Frames that the relay skipped, at its end.
    pub dropped_frames: Option<u64>,
}

/// A relay, with the destination's name at the time of the event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventRelay {
    /// The destination; it may have been deleted since.
    pub destination_id: Uuid,
    /// The connection: a name of [`Leg`].
    pub leg: String,
    /// The destination's name at that time.
    pub name: String,
    /// The destination's platform.
    pub platform: String,
}

/// An event to be recorded. Names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStreamEvent {
    /// Recording the same id again has no effect.
    pub id: Uuid,
    /// The stream.
    pub stream_id: Uuid,
    /// Time of the change.
    pub at: OffsetDateTime,
    /// Destination and leg, for an event of a relay.
    pub relay: Option<(Uuid, Leg)>,
    /// See [`StreamEvent::state`].
    pub state: EventState,
    /// See [`StreamEvent::code`].
    pub code: Option<String>,
    /// See [`StreamEvent::message`].
    pub message: Option<String>,
    /// See [`StreamEvent::sent_bytes`].
    pub sent_bytes: Option<u64>,
    /// See [`StreamEvent::dropped_frames`].
    pub dropped_frames: Option<u64>,
}

impl Reader {
    /// The events of these streams, oldest first, at most `limit`.
    pub async fn stream_events(&self, streams: &[Uuid], limit: u64) -> Result<Vec<StreamEvent>, Error> {
        let found = stream_event::Entity::find()
            .filter(stream_event::Column::StreamId.is_in(streams.iter().copied()))
            .order_by_asc(stream_event::Column::At)
            .order_by_asc(stream_event::Column::Id)
            .limit(limit)
            .all(self.reader())
            .await;
        Ok(found.map_err(Error::reading("The timeline"))?.into_iter().map(StreamEvent::from).collect())
    }
}

impl Store {
    /// Records an event. [`Error::NotFound`] if the stream is gone. An event of a deleted destination is recorded
    /// without its name.
    pub async fn add_stream_event(&self, event: NewStreamEvent) -> Result<(), Error> {
        let named = match event.relay {
            None => None,
            Some((destination, _)) => destination::Entity::find_by_id(destination)
                .one(self.reader())
                .await
                .map_err(Error::reading("The destination"))?,
        };
        let (name, platform) = named.map(|row| (row.name, row.platform)).unzip();
        let count = |number: Option<u64>| number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let row = stream_event::ActiveModel {
            id: Set(event.id),
            stream_id: Set(event.stream_id),
            at: Set(event.at.into()),
            destination_id: Set(event.relay.map(|(destination, _)| destination)),
            destination_name: Set(name),
            platform: Set(platform),
            leg: Set(event.relay.map(|(_, leg)| leg.name().to_owned())),
            state: Set(event.state.name().to_owned()),
            code: Set(event.code),
            message: Set(event.message),
            sent_bytes: Set(count(event.sent_bytes)),
            dropped_frames: Set(count(event.dropped_frames)),
        };
        let added = stream_event::Entity::insert(row)
            .on_conflict_do_nothing_on([stream_event::Column::Id])
            .exec_without_returning(self.writer())
            .await;
        added.map(drop).map_err(Error::adding("The event"))
    }

    /// Deletes events from before a time, and returns their number. The streams remain.
    pub async fn forget_stream_events(&self, before: OffsetDateTime) -> Result<u64, Error> {
        let before: crate::entity::moment::Moment = before.into();
        let gone = stream_event::Entity::delete_many()
            .filter(stream_event::Column::At.lt(before))
            .exec(self.writer())
            .await;
        Ok(gone.map_err(Error::writing("The timeline"))?.rows_affected)
    }
}

impl From<stream_event::Model> for StreamEvent {
    fn from(row: stream_event::Model) -> Self {
        let relay = row.destination_id.map(|destination_id| EventRelay {
            destination_id,
            leg: row.leg.unwrap_or_default(),
            name: row.destination_name.unwrap_or_default(),
            platform: row.platform.unwrap_or_default(),
        });
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Self {
            id: row.id,
            stream_id: row.stream_id,
            at: row.at.into(),
            relay,
            state: row.state,
            code: row.code,
            message: row.message,
            sent_bytes: count(row.sent_bytes),
            dropped_frames: count(row.dropped_frames),
        }
    }
}
