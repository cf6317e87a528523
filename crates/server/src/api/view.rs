//! What the API shows: rows and live status put together.

mod destination;
mod moment;
mod notice;
mod project;
mod stream;
mod timeline;
mod viewer;

pub(super) use self::{
    destination::{Destination, Probe},
    project::Project,
    stream::Stream,
    timeline::StreamEvent,
    viewer::Viewer,
};
