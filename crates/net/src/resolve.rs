//! How names become addresses: what a resolver is asked, and answers.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin};

/// A future in a box, as traits that are used as objects answer with.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes addresses of the names of hosts. What it says is not believed: [`Egress`] judges each address, at each connection.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `host`, in the order to try them. `NotFound` for a name that does not exist or has no address, `InvalidInput`
    /// for what is no name; any other kind means that no name server could say.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}
