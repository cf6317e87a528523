//! The objects that the API returns: rows combined with the live status.

mod destination;
mod moment;
mod notice;
mod project;
mod recorded;
mod stream;
mod timeline;
mod viewer;

pub(super) use self::{
    destination::{Destination, Probe},
    project::Project,
    recorded::Recorded,
    stream::Stream,
    timeline::StreamEvent,
    viewer::Viewer,
};
