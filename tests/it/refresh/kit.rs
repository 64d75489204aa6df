//! Two nodes of one service with sessions, access tokens and refresh tokens, over each kind of store.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, header},
    routing::{get, post},
};
use portcullis::{
    Clock, KeyRing, Rejection, Store,
    blacklist::BlacklistLayer,
    cutoff::Cutoffs,
    device::Devices,
    jwt::{
        Issuer, JwtAlgorithm, JwtKey, JwtVerifyLayer, KeySet, NoClaims, SigningKey, VerifiedToken,
    },
    refresh::{
        RefreshErrorKind, RefreshLogin, RefreshRequest, Rotation, RotationBuilder, TokenPair,
    },
    session::{Login, RequireLoginLayer, Session, SessionLayer, SessionLayerBuilder, User},
};

use tracing_subscriber::util::SubscriberInitExt;

use crate::{
    means::{proxy::Proxy, redis::RedisServer},
    session::bench::{App, Browser, keys, memory},
};

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const DAY: u64 = 24 * 60 * MINUTE;

/// What the access tokens are signed with.
pub const SECRET: [u8; 32] = *b"the-secret-that-signs-the-tokens";
const ISS: &str = "https://id.example";

pub fn issuer(clock: &Clock) -> Issuer {
    let key = SigningKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap();
    let issuer = Issuer::new(key.kid("7").unwrap(), ISS).audience("api");
    issuer.clock(clock.clone()).build().unwrap()
}

fn verify(clock: &Clock) -> JwtVerifyLayer<NoClaims> {
    let key = JwtKey::secret(JwtAlgorithm::Hs256, SECRET).unwrap();
    let keys = KeySet::new([key.kid("7").unwrap()]).unwrap();
    let layer = JwtVerifyLayer::new(keys)
        .issuer(ISS)
        .audience("api")
        .audience("https://a.example")
        .audience("https://b.example");
    layer.clock(clock.clone()).optional().build().unwrap()
}

/// How the nodes of a test differ from the defaults.
#[derive(Clone)]
pub struct Settings {
    pub keys: KeyRing,
    pub rotation: fn(RotationBuilder) -> RotationBuilder,
    pub session: fn(SessionLayerBuilder) -> SessionLayerBuilder,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: keys(),
            rotation: |builder| builder,
            session: |builder| builder,
        }
    }
}

impl Settings {
    pub fn strict() -> Self {
        Self::rotating(RotationBuilder::strict)
    }

    pub fn rotating(rotation: fn(RotationBuilder) -> RotationBuilder) -> Self {
        Self {
            rotation,
            ..Self::default()
        }
    }
}

/// One instance of the service.
#[derive(Clone)]
pub struct Node {
    pub store: Store,
    pub rotation: Rotation,
    pub devices: Devices,
    pub cutoffs: Cutoffs,
    pub app: App,
}

async fn login(session: Session, user: axum::extract::Path<String>) -> Result<String, Rejection> {
    let user = session
        .login(Login::new(user.0).device("a browser").ip("192.0.2.1"))
        .await?;
    Ok(format!("{} {}", user.sid(), user.auth_ms()))
}

async fn logout(session: Session) -> Result<(), Rejection> {
    Ok(session.destroy().await?)
}

async fn renew(session: Session) -> Result<(), Rejection> {
    Ok(session.renew().await?)
}

async fn me(user: User) -> String {
    format!("{} {}", user.sid(), user.auth_ms())
}

async fn token(token: Option<axum::Extension<VerifiedToken>>) -> String {
    token.map_or_else(String::new, |token| {
        let scope: Vec<_> = token.scopes().collect();
        format!("{} {}", token.sub().unwrap_or_default(), scope.join(" "))
    })
}

impl Node {
    pub fn new(store: &Store, clock: &Clock, settings: &Settings) -> Self {
        let builder = Rotation::builder(store, &settings.keys, &issuer(clock));
        let session = SessionLayer::builder(store, &settings.keys);
        let router = Router::new()
            .route("/guarded", get(async || "in"))
            .layer(RequireLoginLayer::new())
            .route("/login/{user}", post(login))
            .route("/logout", post(logout))
            .route("/renew", post(renew))
            .route("/me", get(me))
            .route("/token", get(token))
            .layer(BlacklistLayer::new(store))
            .layer(verify(clock))
            .layer((settings.session)(session).build().unwrap());
        Self {
            store: store.clone(),
            rotation: (settings.rotation)(builder).build().unwrap(),
            devices: Devices::new(store),
            cutoffs: Cutoffs::new(store),
            app: App::of(router),
        }
    }

    pub async fn issue(&self, user: &str) -> TokenPair {
        self.rotation.issue(&RefreshLogin::new(user)).await.unwrap()
    }

    pub async fn rotate(&self, token: &str) -> Result<TokenPair, RefreshErrorKind> {
        let outcome = self.rotation.rotate(token, RefreshRequest::new()).await;
        outcome.map_err(|error| error.kind())
    }

    /// What a request with this access token gets.
    pub async fn access(&self, pair: &TokenPair) -> u16 {
        self.bearer(pair.access().token()).await.0
    }

    pub async fn bearer(&self, token: &str) -> (u16, String) {
        let request =
            Request::get("/token").header(header::AUTHORIZATION, format!("Bearer {token}"));
        let answer = self.app.call(request.body(Body::empty()).unwrap()).await;
        (answer.status.as_u16(), answer.text)
    }

    /// A browser that signs in, and the `sid` of its device.
    pub async fn sign_in(&self, user: &str) -> Seat {
        let browser = Browser::new(&self.app);
        let answer = browser.post(&format!("/login/{user}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let (sid, auth_ms) = answer.text.split_once(' ').unwrap();
        Seat {
            sid: sid.to_owned(),
            auth_ms: auth_ms.parse().unwrap(),
            browser,
        }
    }

    /// Tokens on the device of a session.
    pub async fn issue_for(&self, user: &str, seat: &Seat) -> Result<TokenPair, RefreshErrorKind> {
        let login = RefreshLogin::new(user).of_session(&seat.sid, seat.auth_ms);
        let outcome = self.rotation.issue(&login).await;
        outcome.map_err(|error| error.kind())
    }

    /// The sids of a user's devices.
    pub async fn sids(&self, user: &str) -> BTreeSet<String> {
        let list = self.devices.list("", user, None).await.unwrap();
        list.iter().map(|device| device.sid().to_owned()).collect()
    }
}

/// A browser in which somebody is signed in.
#[derive(Clone)]
pub struct Seat {
    pub sid: String,
    pub auth_ms: u64,
    pub browser: Browser,
}

impl Seat {
    /// Whether the session lives, as the node sees it.
    pub async fn is_in(&self, node: &Node) -> bool {
        let answer = self.browser.copy_at(&node.app).get("/me").await;
        assert!([200, 401].contains(&answer.status.as_u16()), "{answer:?}");
        answer.status == 200
    }
}

/// The nodes of one server, the first behind the first proxy.
async fn behind(server: &RedisServer, settings: [&Settings; 2]) -> ([Proxy; 2], Vec<Node>) {
    let proxies = [Proxy::start(server.port()), Proxy::start(server.port())];
    let mut nodes = Vec::new();
    for (proxy, settings) in proxies.iter().zip(settings) {
        let store = connect(&proxy.url()).await;
        nodes.push(Node::new(&store, &Clock::system(), settings));
    }
    (proxies, nodes)
}

/// Two nodes over one store.
pub struct Bench {
    pub name: &'static str,
    pub one: Node,
    pub two: Node,
    pub clock: Clock,
    pub server: Option<RedisServer>,
    /// Between the server and each node, where there is one.
    pub proxies: Option<[Proxy; 2]>,
}

pub async fn benches() -> [Bench; 2] {
    benches_with(&Settings::default()).await
}

pub async fn benches_with(settings: &Settings) -> [Bench; 2] {
    benches_of(settings, settings).await
}

pub async fn benches_of(one: &Settings, two: &Settings) -> [Bench; 2] {
    let memory = memory().await;
    let server = RedisServer::start().await;
    let stores = [connect(&server.url()).await, connect(&server.url()).await];
    let system = Clock::system();
    [
        Bench {
            name: "memory",
            one: Node::new(&memory.store, &memory.clock, one),
            two: Node::new(&memory.store, &memory.clock, two),
            clock: memory.clock,
            server: None,
            proxies: None,
        },
        Bench {
            name: "redis",
            one: Node::new(&stores[0], &system, one),
            two: Node::new(&stores[1], &system, two),
            clock: system,
            server: Some(server),
            proxies: None,
        },
    ]
}

/// A busy machine is no outage in these tests: the store waits longer than by default.
pub async fn connect(url: &str) -> Store {
    let patient = Store::builder().deadline(Duration::from_secs(10));
    patient.connect(url).await.unwrap()
}

pub async fn proxied(settings: &Settings) -> Bench {
    let server = RedisServer::start().await;
    let (proxies, mut nodes) = behind(&server, [settings, settings]).await;
    let two = nodes.pop().unwrap();
    Bench {
        name: "redis behind proxies",
        one: nodes.pop().unwrap(),
        two,
        clock: Clock::system(),
        server: Some(server),
        proxies: Some(proxies),
    }
}

impl Bench {
    pub fn nodes(&self) -> [&Node; 2] {
        [&self.one, &self.two]
    }

    pub fn proxy(&self) -> &Proxy {
        &self.proxies.as_ref().expect("a bench with proxies")[0]
    }

    pub fn server(&self) -> &RedisServer {
        self.server.as_ref().expect("a bench with a server")
    }

    /// Lets time pass: on the clock, or by making everything stored this much older.
    pub async fn advance(&self, ms: u64) {
        match &self.server {
            None => self.clock.advance(Duration::from_millis(ms)),
            Some(server) => {
                server.cli(&["EVAL", AGE, "0", &ms.to_string()]).await;
            }
        }
    }

    /// One field of the only refresh family of the server, or nothing where there is no server to ask.
    pub async fn family(&self, pair: &TokenPair, field: &str) -> Option<String> {
        let server = self.server.as_ref()?;
        let [key] = &server
            .keys(&format!("portcullis:refresh:*:{}", pair.sid()))
            .await[..]
        else {
            panic!("one family");
        };
        server.ask(&["HGET", key, field]).await
    }

    /// Writes fields of a family by hand; false where there is no server.
    pub async fn set_family(&self, pair: &TokenPair, fields: &[(&str, &str)]) -> bool {
        let Some(server) = &self.server else {
            return false;
        };
        let [key] = &server
            .keys(&format!("portcullis:refresh:*:{}", pair.sid()))
            .await[..]
        else {
            panic!("one family");
        };
        for (name, value) in fields {
            server.cli(&["HSET", key, name, value]).await;
        }
        true
    }

    /// Everything is alive: the family, its access tokens, on both nodes.
    pub async fn assert_alive(&self, pair: &TokenPair) -> TokenPair {
        let next = self.two.rotate(pair.refresh()).await;
        let next = next.unwrap_or_else(|kind| panic!("{}: {kind:?}", self.name));
        for node in self.nodes() {
            assert_eq!(node.access(&next).await, 200, "{}", self.name);
        }
        next
    }

    /// Nothing of it is: neither refresh nor access, on either node.
    pub async fn assert_dead(&self, pair: &TokenPair) {
        for node in self.nodes() {
            let refused = node.rotate(pair.refresh()).await.err();
            assert!(
                matches!(
                    refused,
                    Some(
                        RefreshErrorKind::Revoked
                            | RefreshErrorKind::Elsewhere
                            | RefreshErrorKind::Unknown
                    )
                ),
                "{}: {refused:?}",
                self.name
            );
            assert_eq!(node.access(pair).await, 401, "{}", self.name);
        }
    }
}

/// The events of this thread, as text, while it lives.
pub struct Events {
    text: Arc<Mutex<Vec<u8>>>,
    /// Its type is of a crate that is not named here.
    _guard: Box<dyn std::any::Any>,
}

/// Where the subscriber writes.
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Events {
    pub fn capture() -> Self {
        Self::capture_to(tracing_subscriber::filter::LevelFilter::DEBUG)
    }

    /// Everything, of the crates below as well.
    pub fn capture_all() -> Self {
        Self::capture_to(tracing_subscriber::filter::LevelFilter::TRACE)
    }

    fn capture_to(level: tracing_subscriber::filter::LevelFilter) -> Self {
        // With a single subscriber alive, `tracing` asks whichever thread meets an event first whether anybody listens, and
        // that may be another test's. With two it asks both.
        let other = tracing_subscriber::fmt()
            .with_writer(io::sink)
            .set_default();
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(level)
            .with_writer(move || Sink(Arc::clone(&sink)));
        Self {
            text,
            _guard: Box::new((subscriber.set_default(), other)),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// The names of the events so far, in their order, which are forgotten with that; without those of level debug.
    pub fn take_names(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.text.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        let told = text.lines().filter(|line| {
            ["INFO", "WARN", "ERROR"].contains(&line.split_whitespace().nth(1).unwrap())
        });
        told.map(|line| {
            let (_, rest) = line
                .split_once("event=\"")
                .unwrap_or_else(|| panic!("no name: {line}"));
            rest.split('"').next().unwrap().to_owned()
        })
        .collect()
    }

    /// How many there were of this name.
    pub fn count(&self, name: &str) -> usize {
        self.text().matches(&format!("event=\"{name}\"")).count()
    }
}

/// Makes everything stored older: every time in it, and when it expires.
const AGE: &str = r"
local by = tonumber(ARGV[1])
local function older(text) return string.format('%015.0f', tonumber(text) - by) end
local function older_at(text, from, to)
  return string.sub(text, 1, from - 1) .. older(string.sub(text, from, to)) .. string.sub(text, to + 1)
end
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, left = redis.call('TYPE', key).ok, redis.call('PTTL', key)
  if left >= 0 and left <= by then
    redis.call('DEL', key)
  else
    if kind == 'zset' then
      local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
      for i = 1, #all, 2 do redis.call('ZADD', key, string.format('%.0f', tonumber(all[i + 1]) - by), all[i]) end
    elseif kind == 'hash' and string.find(key, ':refresh:', 1, true) then
      for _, field in ipairs({ 'rot', 'abs', 'auth' }) do
        local at = redis.call('HGET', key, field)
        if at then redis.call('HSET', key, field, string.format('%.0f', tonumber(at) - by)) end
      end
    elseif kind == 'hash' then
      local all = redis.call('HGETALL', key)
      for i = 1, #all, 2 do redis.call('HSET', key, all[i], older_at(all[i + 1], 44, 58)) end
    elseif kind == 'string' then
      local raw = redis.call('GET', key)
      if string.find(key, ':cutoff:', 1, true) then
        redis.call('SET', key, string.format('%.0f', tonumber(raw) - by), 'KEEPTTL')
      elseif string.find(key, ':session:', 1, true) and string.sub(raw, 1, 1) == '1' then
        raw = older_at(older_at(raw, 12, 26), 42, 56)
        if tonumber(string.sub(raw, 27, 41)) > 0 then raw = older_at(raw, 27, 41) end
        redis.call('SET', key, older_at(raw, 72, 86), 'KEEPTTL')
      end
    end
    if left >= 0 then redis.call('PEXPIRE', key, left - by) end
  end
end
";
