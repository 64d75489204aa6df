//! Who is at the other end: which proxies are believed, and what nobody else may say.
//!
//! Whoever connects writes whatever headers it likes. `X-Forwarded-For`, `X-Real-Ip` or `X-User-Id` mean something only
//! where a proxy of one's own put them, and a service that reads them can be told anything by everybody who reaches it in
//! another way (RFC 9700 §4.13).
//!
//! 1. [`StripHeadersLayer`] removes all such headers before anything else sees them.
//! 2. Only from a proxy whose address is on an explicit list do those headers stay that this proxy is known to write.
//! 3. [`ClientIp`] is found out in the same step: the address of the connection or, behind listed proxies, the last address
//!    that one of them saw and that is none of theirs. What stands left of it was written by the client.
//!
//! The address of the connection comes from the server: a [`Peer`] in the request's extensions, or whatever
//! [`peer`](StripHeadersBuilder::peer) finds there. On axum that is its `ConnectInfo`:
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::{Extension, Router, extract::ConnectInfo, routing::get};
//! use portcullis::peer::{ClientIp, StripHeadersLayer};
//!
//! let strip = StripHeadersLayer::builder()
//!     .trusted_proxy("10.0.0.0/8")
//!     .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/", get(async |Extension(client): Extension<ClientIp>| client.addr().to_string()))
//!     .layer(strip); // outermost, so last; served by `into_make_service_with_connect_info::<SocketAddr>()`
//! # use axum::{body::{Body, to_bytes}, http::Request};
//! # use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn run(app: Router) -> Result<(), Box<dyn std::error::Error>> {
//! let mut request = Request::get("/").header("x-forwarded-for", "6.6.6.6, 203.0.113.7").body(Body::empty())?;
//! request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 443))));
//! let response = app.oneshot(request).await?;
//! assert_eq!(to_bytes(response.into_body(), 100).await?, "203.0.113.7");
//! # Ok(()) }
//! # run(app)?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod address;
mod strip;

use std::net::IpAddr;

pub use strip::{StripHeadersBuilder, StripHeadersGate, StripHeadersLayer};

/// The address that a connection comes from, for the request's extensions: put there by whoever accepted it.
///
/// ```
/// use http::Request;
/// use portcullis::peer::Peer;
///
/// # let accepted = std::net::SocketAddr::from(([127, 0, 0, 1], 4000));
/// let mut request = Request::new(());
/// request.extensions_mut().insert(Peer::new(accepted.ip()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl Peer {
    /// A connection from this address.
    #[must_use]
    pub fn new(addr: IpAddr) -> Self {
        Self(addr.to_canonical())
    }

    /// The address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.0
    }
}

/// The address of the client as far as it can be known, in the request's extensions behind a [`StripHeadersLayer`]; see
/// the [module](self) for what it is behind proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// For tests of handlers, and for services that find it out in a way of their own.
    #[must_use]
    pub fn new(addr: IpAddr) -> Self {
        Self(addr.to_canonical())
    }

    /// The address; an IPv4 address that came in the form of IPv6 is one of IPv4.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.0
    }
}
