//! One service with everything in front of it, and somebody who is signed in.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use portcullis::{
    Clock, KeyRing, Store,
    blacklist::{Blacklist, BlacklistLayer},
    csrf::{CsrfFormLayer, CsrfLayer, CsrfToken, FormBody},
    cutoff::Cutoffs,
    device::Devices,
    jwt::{Issuer, IssuerKeys, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey, VerifiedToken},
    peer::{ClientIp, Peer, StripHeadersLayer},
    refresh::{RefreshLogin, Rotation},
    session::{Login, Session, SessionLayer},
};
use tower::{Layer as _, ServiceExt as _, util::BoxCloneSyncService};

use super::means::Pieces;

pub const NOW_MS: u64 = 1_800_000_000_000;
pub const ISS: &str = "https://id.example";
pub const AUD: &str = "api";
pub const HOST: &str = "app.example";
pub const AGENT: &str = "a browser";
pub const SESSION_COOKIE: usize = 0;
pub const CSRF_TOKEN: usize = 1;
pub const VISITOR_COOKIE: usize = 2;
pub const VISITOR_TOKEN: usize = 3;
pub const ACCESS_TOKEN: usize = 4;
pub const REFRESH_TOKEN: usize = 5;

/// What the handler saw; empty if it was not called.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub called: bool,
    pub user: Option<String>,
    pub token_of: Option<String>,
    pub client: Option<ClientIp>,
    pub body: Option<Bytes>,
    pub csrf: String,
    pub sid: String,
    pub auth_ms: u64,
}

/// What a test has done in a session; no request can ask for it.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Login,
    Renew,
    Destroy,
    Others,
}

pub type Service = BoxCloneSyncService<Request<Pieces>, Response<Seen>, Infallible>;

pub fn keys() -> KeyRing {
    KeyRing::new("what the fuzzer's cookies are signed with").expect("a secret")
}

pub struct World {
    pub store: Store,
    pub clock: Clock,
    pub service: Service,
    /// The same with other settings.
    pub strict: Service,
    pub rotation: Rotation,
    pub jwt: JwtVerifyLayer<NoClaims>,
    pub issuer_keys: IssuerKeys,
    pub devices: Devices,
    pub cutoffs: Cutoffs,
    pub blacklist: Blacklist,
    /// Where the service asks about an element of this, a credential was good.
    pub credentials: Vec<String>,
    pub sid: String,
    trips: Arc<AtomicUsize>,
}

impl World {
    pub async fn in_memory() -> Self {
        let clock = Clock::settable(NOW_MS);
        let store = Store::builder().clock(clock.clone()).memory();
        let mut world = Self::over(store, clock);
        world.sign_in().await;
        world
    }

    /// Nobody is signed in yet.
    pub fn over(store: Store, clock: Clock) -> Self {
        let key = SigningKey::secret(JwtAlgorithm::Hs256, [0x5a; 32]).expect("a secret");
        let issuer = Issuer::new(key, ISS).audience(AUD).clock(clock.clone());
        let issuer = issuer.build().expect("an issuer");
        let jwt = JwtVerifyLayer::<NoClaims>::new(issuer.keys().verification_keys())
            .issuer(ISS)
            .audience(AUD)
            .clock(clock.clone())
            .bearer()
            .cookie("__Host-access")
            .optional()
            .build()
            .expect("a layer");
        let rotation = Rotation::builder(&store, &keys(), &issuer).build();
        let trips = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&trips);
        store.pause_before(move |_| {
            counted.fetch_add(1, SeqCst);
            std::future::ready(())
        });
        Self {
            service: service(&store, &jwt, false),
            strict: service(&store, &jwt, true),
            rotation: rotation.expect("a rotation"),
            jwt,
            issuer_keys: issuer.keys().clone(),
            devices: Devices::new(&store),
            cutoffs: Cutoffs::new(&store),
            blacklist: Blacklist::new(&store),
            credentials: Vec::new(),
            sid: String::new(),
            clock,
            store,
            trips,
        }
    }

    /// How often the store was asked since the last time.
    pub fn trips(&self) -> usize {
        self.trips.swap(0, SeqCst)
    }

    pub async fn call(&self, request: Request<Pieces>) -> Response<Seen> {
        let response = self.service.clone().oneshot(request).await;
        response.unwrap_or_else(|never| match never {})
    }

    pub async fn call_strict(&self, request: Request<Pieces>) -> Response<Seen> {
        let response = self.strict.clone().oneshot(request).await;
        response.unwrap_or_else(|never| match never {})
    }

    /// Something that the handler does, in the session of the cookie.
    pub async fn act(&self, act: Act, cookie: Option<&str>) -> Response<Seen> {
        let mut request = request("GET", "/", cookie);
        request.extensions_mut().insert(act);
        self.call(request).await
    }

    pub async fn sign_in(&mut self) {
        let visit = self.call(request("GET", "/", None)).await;
        let (visitor, visitor_token) = (cookie(&visit, "__Host-csrf"), visit.body().csrf.clone());
        let login = self.act(Act::Login, None).await;
        let session = cookie(&login, "__Host-session");
        let page = self.call(request("GET", "/", Some(&session))).await;
        let seat = page.into_body();
        assert_eq!(seat.user.as_deref(), Some("alice"));
        let login = RefreshLogin::new("alice")
            .client("web")
            .scope("read write")
            .resource("https://a.example")
            .of_session(&seat.sid, seat.auth_ms);
        let pair = self.rotation.issue(&login).await.expect("tokens");
        self.sid = seat.sid;
        self.credentials = vec![
            session,
            seat.csrf,
            visitor,
            visitor_token,
            pair.access().token().to_owned(),
            pair.refresh().to_owned(),
        ];
        self.trips();
    }
}

pub fn request(method: &str, target: &str, cookie: Option<&str>) -> Request<Pieces> {
    let mut request = Request::builder().method(method).uri(target);
    request = request.header(header::USER_AGENT, AGENT);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    let mut request = request.body(Pieces::default()).expect("a request");
    request.extensions_mut().insert(peer());
    request
}

pub fn peer() -> Peer {
    Peer::new([10, 0, 0, 1].into())
}

fn cookie(response: &Response<Seen>, name: &str) -> String {
    let mut all = response.headers().get_all(header::SET_COOKIE).iter();
    let ours = all.find_map(|value| value.to_str().ok()?.strip_prefix(name));
    let value = ours.and_then(|rest| rest.split(';').next());
    format!("{name}{}", value.expect("a cookie"))
}

fn service(store: &Store, jwt: &JwtVerifyLayer<NoClaims>, strict: bool) -> Service {
    let (mut session, mut csrf) = (
        SessionLayer::builder(store, &keys()),
        CsrfLayer::builder(&keys()),
    );
    if strict {
        session = session.bind_user_agent().bind_ip(24, 56);
        csrf = csrf
            .guard_reads()
            .stored()
            .external_origin("https://app.example");
    }
    let strip = StripHeadersLayer::builder()
        .trusted_proxy("10.0.0.0/8")
        .kept("x-real-ip");
    let handler = tower::service_fn(|request| async { Ok::<_, Infallible>(handle(request).await) });
    let form: CsrfFormLayer = csrf.form_limit(8 * 1024).build().expect("a layer").form();
    let inner = form.layer(handler);
    let inner = BlacklistLayer::new(store).layer(inner);
    let inner = jwt.layer(inner);
    let inner = session.build().expect("a layer").layer(inner);
    let inner = strip.build().expect("a layer").layer(inner);
    BoxCloneSyncService::new(inner)
}

/// Asks for everything, and changes something where a request may.
async fn handle(request: Request<FormBody<Pieces>>) -> Response<Seen> {
    let (head, body) = request.into_parts();
    let extensions = &head.extensions;
    let mut seen = Seen {
        called: true,
        body: body.collect().await.ok().map(|body| body.to_bytes()),
        client: extensions.get().copied(),
        ..Seen::default()
    };
    let token = extensions.get::<VerifiedToken>();
    seen.token_of = token.and_then(|token| Some(token.sub()?.to_owned()));
    let outcome = async {
        let session = extensions.get::<Session>().expect("a session");
        match extensions.get::<Act>() {
            Some(Act::Login) => {
                let login = Login::new("alice").device("a browser").ip("192.0.2.1");
                session.login(login.user_agent(AGENT)).await?;
            }
            Some(Act::Renew) => session.renew().await?,
            Some(Act::Destroy) => session.destroy().await?,
            Some(Act::Others) => drop(session.revoke_others().await?),
            None => {}
        }
        if let Some(user) = session.user().await? {
            seen.user = Some(user.id().to_owned());
            seen.sid = user.sid().to_owned();
            seen.auth_ms = user.auth_ms();
        }
        if head.method == "POST" && seen.user.is_some() {
            let seen: Option<u8> = session.get("seen").await?;
            session
                .insert("seen", &seen.map_or(1, |seen| seen ^ 1))
                .await?;
        }
        let csrf = extensions.get::<CsrfToken>().expect("a token");
        seen.csrf = csrf.token().await.unwrap_or_default();
        Ok::<_, portcullis::session::SessionError>(())
    };
    let outcome = outcome.await;
    let mut response = Response::new(seen);
    if let Err(error) = outcome {
        *response.status_mut() = portcullis::Rejection::from(error).status();
    }
    response
}

/// A moment later: what is remembered of a use is not fresh any more.
pub fn later(world: &World) {
    world.clock.advance(Duration::from_secs(120));
}
