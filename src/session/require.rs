//! Gates for those who are signed in, signed in lately, or may do something.

use std::{fmt, sync::Arc, time::Duration};

use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, LOCATION, VARY},
    request, response,
};
use serde::de::DeserializeOwned;
use tower_layer::Layer;

use super::{config::Ended, handle::Session, login::User};
use crate::{
    clock::millis,
    error::ConfigError,
    gate::{Entry, Gated, Step, Steps},
    refuse::{DefaultRefuse, Protocol, Rejection, RejectionKind},
};

/// What a signed-in user's session holds, for the predicate of a [`RequireLayer`].
pub struct View<'a> {
    session: &'a Session,
    user: &'a User,
}

impl View<'_> {
    /// Who is signed in.
    #[must_use]
    pub fn user(&self) -> &User {
        self.user
    }

    /// A field, if it is there and of this type.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let state = self.session.state();
        serde_json::from_slice(state.text(name)?).ok()
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

type Predicate = dyn Fn(&View<'_>) -> bool + Send + Sync;

/// What a gate asks for, and where it sends visitors.
#[derive(Clone, Default)]
struct Demand {
    predicate: Option<Arc<Predicate>>,
    /// How many milliseconds ago the login may have been.
    max_age: Option<u64>,
    login_page: Option<HeaderValue>,
}

/// Lets signed-in users pass and refuses everybody else: 401, gRPC `UNAUTHENTICATED`, or for pages a redirect.
///
/// It belongs inside of [`SessionLayer`](super::SessionLayer), around the routes that need a login. While the store
/// cannot say who is signed in the answer is 503: an outage logs nobody out.
#[derive(Clone)]
pub struct RequireLoginLayer<R = DefaultRefuse> {
    demand: Demand,
    responder: R,
}

impl RequireLoginLayer {
    /// Refuses with 401.
    #[must_use]
    pub fn new() -> Self {
        Self {
            demand: Demand::default(),
            responder: DefaultRefuse::new(),
        }
    }

    /// Sends browsers that ask for a page to this one instead (303), everything else gets the 401.
    ///
    /// # Errors
    ///
    /// If `location` cannot stand in a header.
    pub fn redirect_to(location: &str) -> Result<Self, ConfigError> {
        let mut layer = Self::new();
        layer.demand.login_page = Some(page(location)?);
        Ok(layer)
    }
}

impl Default for RequireLoginLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets signed-in users pass of whom a predicate over the session is true: a role, a plan, a finished second factor.
///
/// Visitors get 401, users of whom it is false 403. It belongs inside of [`SessionLayer`](super::SessionLayer).
///
/// ```
/// use portcullis::session::RequireLayer;
///
/// let admins = RequireLayer::new(|view| view.get::<String>("role").as_deref() == Some("admin"));
/// ```
#[derive(Clone)]
pub struct RequireLayer<R = DefaultRefuse> {
    demand: Demand,
    responder: R,
}

impl RequireLayer {
    /// Lets users pass of whom `predicate` is true.
    #[must_use]
    pub fn new(predicate: impl Fn(&View<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self {
            demand: Demand {
                predicate: Some(Arc::new(predicate)),
                ..Demand::default()
            },
            responder: DefaultRefuse::new(),
        }
    }
}

/// Lets signed-in users pass whose login on this device is recent: for what deserves the password once more, as changing
/// it, paying, or showing keys.
///
/// Users whose login is older get 401 with the code `login_too_old`, visitors the 401 of [`RequireLoginLayer`]. A login with
/// [`Session::login`] makes it recent; neither a renewal nor signing other devices out does. It belongs inside of
/// [`SessionLayer`](super::SessionLayer). For access tokens there is `jwt::StepUpLayer` (RFC 9470).
///
/// The time of the login is the store's, that of the request this node's: clocks that differ make the age wrong by as much.
/// A login that seems to lie in the future counts as new.
///
/// ```
/// use std::time::Duration;
/// use portcullis::session::RequireFreshLoginLayer;
///
/// let layer = RequireFreshLoginLayer::within(Duration::from_secs(5 * 60)).redirect_to("/confirm")?;
/// # let _ = layer;
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RequireFreshLoginLayer<R = DefaultRefuse> {
    demand: Demand,
    responder: R,
}

impl RequireFreshLoginLayer {
    /// Requires a login that is at most this old.
    #[must_use]
    pub fn within(max_age: Duration) -> Self {
        Self {
            demand: Demand {
                max_age: Some(millis(max_age)),
                ..Demand::default()
            },
            responder: DefaultRefuse::new(),
        }
    }

    /// Sends browsers that ask for a page to this one instead (303), visitors as well; everything else gets the 401.
    ///
    /// # Errors
    ///
    /// If `location` cannot stand in a header.
    pub fn redirect_to(mut self, location: &str) -> Result<Self, ConfigError> {
        self.demand.login_page = Some(page(location)?);
        Ok(self)
    }
}

fn page(location: &str) -> Result<HeaderValue, ConfigError> {
    let value = HeaderValue::from_str(location).ok();
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        ConfigError::new(
            "location",
            "must be a URL or path of visible ASCII characters",
        )
    })
}

macro_rules! as_layer {
    ($name:ident) => {
        impl<R> $name<R> {
            /// Makes refusals with another responder.
            #[must_use]
            pub fn refuse_with<Other>(self, responder: Other) -> $name<Other> {
                $name {
                    demand: self.demand,
                    responder,
                }
            }
        }

        impl<S, R: Clone> Layer<S> for $name<R> {
            type Service = Gated<S, RequireGate, R>;

            fn layer(&self, inner: S) -> Self::Service {
                let gate = RequireGate {
                    demand: self.demand.clone(),
                };
                Gated::new(inner, gate, self.responder.clone())
            }
        }

        impl<R> fmt::Debug for $name<R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

as_layer!(RequireLoginLayer);
as_layer!(RequireLayer);
as_layer!(RequireFreshLoginLayer);

/// Stands in front of a service behind a [`RequireLoginLayer`], [`RequireFreshLoginLayer`] or [`RequireLayer`].
#[derive(Clone)]
pub struct RequireGate {
    demand: Demand,
}

impl fmt::Debug for RequireGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireGate").finish_non_exhaustive()
    }
}

impl Steps for RequireGate {
    type Exit = ();

    fn enter(&self, head: request::Parts) -> Step<()> {
        let Some(session) = head.extensions.get::<Session>().cloned() else {
            let rejection = Rejection::new(RejectionKind::Internal)
                .code("session_layer_missing")
                .caused_by(
                    "a login is required outside of SessionLayer: put SessionLayer around it",
                );
            crate::trace::event_error!(
                event = "session.misordered",
                "a login is required outside of SessionLayer"
            );
            return Step::Now(Entry::Refuse(head, rejection));
        };
        if let Some(verdict) = known(&session, &self.demand) {
            return Step::Now(self.demand.entry(head, verdict));
        }
        let demand = self.demand.clone();
        Step::Ask(Box::pin(async move {
            let verdict = match session.load().await {
                Ok(()) => known(&session, &demand).unwrap_or(Verdict::Visitor(None)),
                Err(error) => Verdict::Unknown(error.into()),
            };
            demand.entry(head, verdict)
        }))
    }
}

enum Verdict {
    Pass,
    Visitor(Option<Ended>),
    TooOld,
    Forbidden,
    Unknown(Rejection),
}

/// The verdict, if the session has been read already or cannot exist.
fn known(session: &Session, demand: &Demand) -> Option<Verdict> {
    let (user, ended) = {
        let mut state = session.state();
        state.asked = true;
        if state.is_unread() {
            return None;
        }
        let user = state.record().and_then(super::handle::user_in);
        (user, state.ended)
    };
    Some(match (&user, &demand.predicate) {
        (None, _) => Verdict::Visitor(ended),
        (Some(user), _) if !demand.is_recent(session, user) => Verdict::TooOld,
        (Some(user), Some(predicate)) if !predicate(&View { session, user }) => Verdict::Forbidden,
        (Some(_), _) => Verdict::Pass,
    })
}

impl Demand {
    fn is_recent(&self, session: &Session, user: &User) -> bool {
        let now = session.config().store.clock().now_millis();
        let age = now.saturating_sub(user.login_ms);
        self.max_age.is_none_or(|max_age| age <= max_age)
    }

    fn entry(&self, head: request::Parts, verdict: Verdict) -> Entry<()> {
        match verdict {
            Verdict::Pass => Entry::Pass(head, ()),
            Verdict::Forbidden => Entry::Refuse(head, Rejection::new(RejectionKind::Forbidden)),
            Verdict::Unknown(rejection) => Entry::Refuse(head, rejection),
            Verdict::Visitor(ended) => self.to_login(head, visitor(ended)),
            Verdict::TooOld => self.to_login(head, too_old()),
        }
    }

    fn to_login(&self, head: request::Parts, rejection: Rejection) -> Entry<()> {
        match &self.login_page {
            Some(page) if wants_page(&head) => Entry::Answer(redirect(page)),
            _ => Entry::Refuse(head, rejection),
        }
    }
}

/// The user can be told why: it is the client's own session that ended.
fn visitor(ended: Option<Ended>) -> Rejection {
    let rejection = Rejection::new(RejectionKind::LoginRequired);
    match ended {
        Some(Ended::Elsewhere) => rejection.code("signed_in_elsewhere"),
        Some(Ended::Revoked) => rejection.code("signed_out"),
        Some(Ended::Moved) => rejection.code("login_again"),
        None => rejection,
    }
}

fn too_old() -> Rejection {
    Rejection::new(RejectionKind::LoginRequired)
        .code("login_too_old")
        .detail("the user must sign in again for this request")
}

/// A browser on its way to a page, not a script or a gRPC client.
fn wants_page(head: &request::Parts) -> bool {
    let html = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
    matches!(head.method, Method::GET | Method::HEAD)
        && matches!(Protocol::of(&head.headers), Protocol::Http)
        && head.headers.get_all(ACCEPT).iter().any(html)
}

/// 303, never 307: the login page is fetched with GET and the body of the request is not sent there (RFC 9700 §4.12).
fn redirect(page: &HeaderValue) -> response::Parts {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = StatusCode::SEE_OTHER;
    head.headers.insert(LOCATION, page.clone());
    head.headers
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head.headers
        .insert(VARY, HeaderValue::from_static("accept"));
    head
}
