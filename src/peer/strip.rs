//! The layer that removes what only one's own proxies may say.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{Extensions, HeaderName, request};
use tower_layer::Layer;

use super::{
    ClientIp, Peer,
    address::{Network, client_behind},
};
use crate::{
    error::ConfigError,
    gate::{Entry, Gated, Step, Steps},
    refuse::{DefaultRefuse, Rejection, RejectionKind},
    trace::event_error,
};

/// Names without their end are followed by a star.
const STRIPPED: [&str; 14] = [
    "forwarded",
    "x-forwarded",
    "x-forwarded-*",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-user",
    "x-user-*",
    "x-remote-user",
    "remote-user",
    "x-auth-request-*",
    "x-authenticated-*",
];

/// What proxies append to, and so the one header of theirs in which the end is theirs whatever the client wrote.
const KEPT: &str = "x-forwarded-for";

/// Removes headers that say who the client is, unless one's own proxy wrote them, and puts the [`ClientIp`] into the
/// extensions. It belongs outermost.
///
/// Removed are `Forwarded`, `X-Forwarded-*`, `X-Real-Ip`, `X-Client-Ip`, `X-Cluster-Client-Ip`, `True-Client-Ip`,
/// `CF-Connecting-Ip`, `X-User`, `X-User-*`, `Remote-User`, `X-Remote-User`, `X-Auth-Request-*`, `X-Authenticated-*`, and
/// what [`header`](StripHeadersBuilder::header) adds; also where they are spelt with underscores, which some
/// environments take for the same.
///
/// ```
/// use http::{Request, Response};
/// use portcullis::peer::StripHeadersLayer;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// let service = StripHeadersLayer::new().layer(service_fn(async |request: Request<()>| {
///     Ok::<_, std::convert::Infallible>(Response::new(format!("{:?}", request.headers().get("x-user-id"))))
/// }));
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let request = Request::get("/").header("x-user-id", "admin").body(())?;
/// assert_eq!(runtime.block_on(service.oneshot(request))?.into_body(), "None");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct StripHeadersLayer<R = DefaultRefuse> {
    gate: StripHeadersGate,
    responder: R,
}

type FindPeer = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

struct Config {
    stripped: Vec<Pattern>,
    kept: Vec<Box<str>>,
    trusted: Vec<Network>,
    peer: Option<Arc<FindPeer>>,
}

/// A name in lower case, with hyphens.
enum Pattern {
    Whole(Box<str>),
    Beginning(Box<str>),
}

impl Pattern {
    fn fits(&self, name: &str) -> bool {
        let equal = |name: &str, own: &str| {
            let mut pairs = name.bytes().zip(own.bytes());
            pairs.all(|(byte, own)| byte == own || (byte == b'_' && own == b'-'))
        };
        match self {
            Self::Whole(own) => name.len() == own.len() && equal(name, own),
            Self::Beginning(own) => name.len() >= own.len() && equal(name, own),
        }
    }
}

impl StripHeadersLayer {
    /// Believes nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::builder()
            .build()
            .expect("the default settings can be used")
    }

    /// Settings first.
    pub fn builder() -> StripHeadersBuilder {
        StripHeadersBuilder {
            stripped: STRIPPED.iter().map(|name| (*name).to_owned()).collect(),
            kept: Vec::new(),
            trusted: Vec::new(),
            peer: None,
        }
    }
}

impl Default for StripHeadersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> StripHeadersLayer<R> {
    /// Makes refusals with another responder: there are some only where a proxy is trusted and no address is known.
    #[must_use]
    pub fn refuse_with<Other>(self, responder: Other) -> StripHeadersLayer<Other> {
        StripHeadersLayer {
            gate: self.gate,
            responder,
        }
    }
}

impl<S, R: Clone> Layer<S> for StripHeadersLayer<R> {
    type Service = Gated<S, StripHeadersGate, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated::new(inner, self.gate.clone(), self.responder.clone())
    }
}

impl<R: Clone> Clone for StripHeadersLayer<R> {
    fn clone(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            responder: self.responder.clone(),
        }
    }
}

impl<R> fmt::Debug for StripHeadersLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripHeadersLayer")
            .field("trusted", &self.gate.0.trusted)
            .finish_non_exhaustive()
    }
}

/// The decision of a [`StripHeadersLayer`].
#[derive(Clone)]
pub struct StripHeadersGate(Arc<Config>);

impl Config {
    fn peer(&self, extensions: &Extensions) -> Option<IpAddr> {
        let found = match &self.peer {
            Some(find) => find(extensions),
            None => extensions.get::<Peer>().map(Peer::addr),
        };
        found.map(|addr| addr.to_canonical())
    }

    fn is_trusted(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| self.trusted.iter().any(|network| network.contains(peer)))
    }

    fn strip(&self, head: &mut request::Parts, trusted: bool) {
        let goes = |name: &HeaderName| {
            let name = name.as_str();
            let kept = trusted && self.kept.iter().any(|kept| **kept == *name);
            !kept && self.stripped.iter().any(|pattern| pattern.fits(name))
        };
        let going: Vec<HeaderName> = head
            .headers
            .keys()
            .filter(|name| goes(name))
            .cloned()
            .collect();
        for name in going {
            head.headers.remove(name);
        }
    }
}

impl Steps for StripHeadersGate {
    type Exit = ();

    fn enter(&self, mut head: request::Parts) -> Step<()> {
        let config = &*self.0;
        let peer = config.peer(&head.extensions);
        if peer.is_none() && !config.trusted.is_empty() {
            event_error!(
                event = "peer.missing",
                "a proxy is trusted, and nobody says where a connection comes from"
            );
            let rejection = Rejection::new(RejectionKind::Internal)
                .code("peer_missing")
                .caused_by("no address of the connection: let the server put a Peer into the extensions, or say with `.peer(..)` where it is");
            return Step::Now(Entry::Refuse(head, rejection));
        }
        let trusted = config.is_trusted(peer);
        config.strip(&mut head, trusted);
        if let Some(peer) = peer {
            // What was stripped cannot speak for anybody: an unlisted peer speaks for itself.
            let client = match trusted && config.kept.iter().any(|kept| **kept == *KEPT) {
                true => client_behind(peer, &head.headers, &config.trusted),
                false => peer,
            };
            head.extensions.insert(ClientIp(client));
        }
        Step::Now(Entry::Pass(head, ()))
    }
}

impl fmt::Debug for StripHeadersGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripHeadersGate").finish_non_exhaustive()
    }
}

/// Settings of a [`StripHeadersLayer`], checked when it is built.
#[derive(Clone)]
#[must_use]
pub struct StripHeadersBuilder {
    stripped: Vec<String>,
    kept: Vec<String>,
    trusted: Vec<String>,
    peer: Option<Arc<FindPeer>>,
}

impl StripHeadersBuilder {
    /// One more header to remove; a star at the end stands for any end, as in `x-tenant-*`.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.stripped.push(name.into());
        self
    }

    /// A proxy that is believed: its address, or its network as `10.0.0.0/8`. Name nothing that clients can connect from.
    pub fn trusted_proxy(mut self, network: impl Into<String>) -> Self {
        self.trusted.push(network.into());
        self
    }

    /// A header that stays when a trusted proxy sends it: one that each of them **sets or removes itself**, whatever the client
    /// sent; otherwise it is the client's word still. Default, if none is named: `X-Forwarded-For`, which proxies append to.
    pub fn kept(mut self, name: impl Into<String>) -> Self {
        self.kept.push(name.into());
        self
    }

    /// Where the address of the connection is found, if not in a [`Peer`]. Never take it from a header.
    pub fn peer(
        mut self,
        find: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Some(Arc::new(find));
        self
    }

    /// Checks the settings and makes the layer.
    ///
    /// # Errors
    ///
    /// For a name that no header has, a network that is none, or one with more bits set than it is wide (`10.0.0.1/8`).
    pub fn build(self) -> Result<StripHeadersLayer, ConfigError> {
        let stripped = self.stripped.iter().map(|name| pattern(name));
        let kept = self.kept.iter().map(|name| checked("kept", name));
        let mut kept: Vec<Box<str>> = kept.collect::<Result<_, _>>()?;
        if kept.is_empty() {
            kept.push(KEPT.into());
        }
        let network = |text: &String| {
            Network::parse(text).ok_or_else(|| {
                ConfigError::new(
                    "trusted_proxy",
                    format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"),
                )
            })
        };
        let config = Config {
            stripped: stripped.collect::<Result<_, _>>()?,
            kept,
            trusted: self.trusted.iter().map(network).collect::<Result<_, _>>()?,
            peer: self.peer,
        };
        Ok(StripHeadersLayer {
            gate: StripHeadersGate(Arc::new(config)),
            responder: DefaultRefuse::new(),
        })
    }
}

fn pattern(text: &str) -> Result<Pattern, ConfigError> {
    Ok(match text.strip_suffix('*') {
        Some(beginning) => Pattern::Beginning(checked("header", beginning)?),
        None => Pattern::Whole(checked("header", text)?),
    })
}

fn checked(field: &'static str, name: &str) -> Result<Box<str>, ConfigError> {
    let parsed = HeaderName::try_from(name);
    let parsed = parsed.map_err(|error| {
        ConfigError::new(field, format!("`{name}` is no header")).caused_by(error)
    })?;
    Ok(parsed.as_str().into())
}

impl fmt::Debug for StripHeadersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripHeadersBuilder")
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}
