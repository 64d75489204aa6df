//! What both examples need: settings from the environment, two accounts, and the lines to try it with.

// `pub` means "for the example" here: a program has no outside.
#![allow(unreachable_pub)]

pub mod tokens;

use std::{
    env,
    error::Error,
    io::{self, IsTerminal},
    net::SocketAddr,
};

use portcullis::{
    ConfigError, KeyRing, Store,
    csrf::CsrfLayer,
    refresh::RefreshLogin,
    session::{Login, SessionLayer},
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Events of the crate on stderr; `RUST_LOG` chooses which.
pub fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "portcullis=info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// `BIND`, for instance `127.0.0.1:3001` for a second instance; port 0 is any free one.
pub async fn listener() -> io::Result<TcpListener> {
    TcpListener::bind(env::var("BIND").as_deref().unwrap_or("127.0.0.1:3000")).await
}

/// Redis at `REDIS_URL`, or the memory of this process. What is wrong with it is said before the first request.
pub async fn store() -> Result<Store, Box<dyn Error>> {
    let store = match env::var("REDIS_URL") {
        // Lazily, so that the service starts while Redis is away, and serves sessions once Redis is there.
        Ok(url) => Store::connect_lazy(&url)?,
        Err(_) => Store::memory(),
    };
    match store.check().await {
        Ok(findings) => findings.iter().for_each(|finding| eprintln!("{finding}")),
        Err(error) => eprintln!("{error}; requests that need their session get 503 until it is"),
    }
    Ok(store)
}

/// The secret that signs the cookies, the same in all instances.
pub fn keys() -> Result<KeyRing, ConfigError> {
    match env::var_os("PORTCULLIS_SECRET") {
        Some(_) => KeyRing::from_env("PORTCULLIS_SECRET"),
        None => {
            eprintln!("PORTCULLIS_SECRET is not set: a random secret signs the cookies");
            KeyRing::insecure_development()
        }
    }
}

/// The default settings, except where there is no TLS: browsers send `__Host-` cookies over https only.
pub fn sessions(
    store: &Store,
    keys: &KeyRing,
    address: SocketAddr,
) -> Result<SessionLayer, ConfigError> {
    let mut sessions = SessionLayer::builder(store, keys);
    if address.ip().is_loopback() {
        eprintln!("plain http on a loopback address: the session cookie goes without Secure");
        sessions = sessions.insecure_plain_http();
    } else {
        eprintln!("the session cookie is Secure: browsers need https, put TLS in front");
    }
    sessions.build()
}

/// What changes something passes if the browser says that this site's own page caused it; programs like curl, which say
/// nothing, need the token of `GET /csrf`.
pub fn csrf(keys: &KeyRing, address: SocketAddr) -> Result<CsrfLayer, ConfigError> {
    let mut csrf = CsrfLayer::builder(keys);
    if address.ip().is_loopback() {
        csrf = csrf.insecure_plain_http();
    }
    csrf.build()
}

/// The body of `POST /transfer`.
#[derive(Deserialize)]
pub struct Transfer {
    pub to: String,
    pub amount: u32,
}

/// Name, password, and the tenant that the account belongs to, if any.
const ACCOUNTS: [(&str, &str, Option<&str>); 2] = [
    ("alice", "wonderland", None),
    ("bob", "builder", Some("builders")),
];

/// The body of `POST /login` and `POST /token`.
#[derive(Deserialize)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// Whom to sign in, if the password is right. A real service stores no passwords: it keeps what a library for
    /// password hashing (Argon2id) made of them, and lets that library compare.
    fn account(&self) -> Option<(&'static str, Option<&'static str>)> {
        let account = ACCOUNTS.iter().find(|(name, ..)| *name == self.username);
        let &(name, _, tenant) = account.filter(|(_, password, _)| *password == self.password)?;
        Some((name, tenant))
    }

    /// For a session.
    pub fn check(&self) -> Option<Login> {
        let (name, tenant) = self.account()?;
        let login = Login::new(name);
        Some(match tenant {
            Some(tenant) => login.tenant(tenant),
            None => login,
        })
    }

    /// For tokens.
    pub fn for_tokens(&self) -> Option<RefreshLogin> {
        let (name, tenant) = self.account()?;
        let login = RefreshLogin::new(name);
        Some(match tenant {
            Some(tenant) => login.tenant(tenant),
            None => login,
        })
    }
}

/// The body of `POST /set`.
#[derive(Deserialize)]
pub struct Write {
    pub key: Key,
    pub value: serde_json::Value,
    #[serde(default)]
    pub delay_ms: u64,
}

/// The longest a client may let a write take.
pub const LONGEST_DELAY_MS: u64 = 10_000;

/// The name of a field. It comes from a client, so its length is checked while the body is read.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Key(pub String);

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.len() {
            1..=64 => Ok(Self(name)),
            _ => Err("a key has 1 to 64 bytes"),
        }
    }
}

/// Ctrl-C, or the signal by which an orchestrator asks a service to end.
pub async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    // Without a handler for Ctrl-C the system ends the process; there is nothing to wait for then.
    let _ = tokio::signal::ctrl_c().await;
}

/// Prints where the service is and the lines that try everything: a shell script.
#[allow(clippy::print_stdout)]
pub fn announce(address: SocketAddr) {
    let url = format!("http://{address}");
    let curl = "curl -i -w '\\n' -c jar -b jar";
    let json = "-H 'content-type: application/json'";
    println!("listening on {url}");
    println!(
        r#"
# The cookies are kept in a file named jar. A visitor, then a user:
{curl} {url}/counter
{curl} {url}/me
{curl} {url}/login {json} -d '{{"username":"alice","password":"wonderland"}}'
{curl} {url}/me
{curl} {url}/counter
{curl} {url}/set {json} -d '{{"key":"colour","value":"red"}}'
{curl} '{url}/get?key=colour'
# A request that changes something needs to come from this site. Without the token, then with it:
{curl} {url}/transfer {json} -d '{{"to":"bob","amount":10}}'
csrf=$(curl -s -b jar {url}/csrf | sed -E 's/.*"token":"([^"]*)".*/\1/')
{curl} {url}/transfer {json} -H "x-csrf-token: $csrf" -d '{{"to":"bob","amount":10}}'
# A write that takes two seconds, and a logout that overtakes it: the session stays ended, although the slow curl puts
# the old cookie back into the jar.
{curl} {url}/set {json} -d '{{"key":"colour","value":"blue","delay_ms":2000}}' & sleep 1
{curl} -X POST {url}/logout
wait
{curl} {url}/me
# Ends the sessions of a user on all devices; signing in again works at once.
{curl} {url}/login -d 'username=bob&password=builder'
{curl} -X POST {url}/logout-everywhere
{curl} {url}/healthz
# The devices of a user, and this one alone:
{curl} {url}/login -d 'username=bob&password=builder'
{curl} {url}/devices
{curl} -X POST {url}/devices/logout-others
device() {{ sed -E 's/.*"id":"([^"]*)".*/\1/'; }}
csrf=$(curl -s -b jar {url}/csrf | sed -E 's/.*"token":"([^"]*)".*/\1/')
{curl} -X DELETE {url}/devices/$(curl -s -b jar {url}/devices | device) -H "x-csrf-token: $csrf"
# Tokens for programs: a pair, what its access token opens, the next pair, and a logout that ends them all.
post="curl -s -H content-type:application/json"
$post {url}/token -d '{{"username":"alice","password":"wonderland"}}' > pair
token() {{ sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" pair; }}
{curl} {url}/api/me -H "authorization: Bearer $(token access_token)"
$post {url}/token/refresh -d "{{\"refresh_token\":\"$(token refresh_token)\"}}" > pair
{curl} {url}/api/me -H "authorization: Bearer $(token access_token)"
# The devices of the token's user, for a program: no cookies, and so no CSRF token either.
curl -i -w '\n' {url}/devices -H "authorization: Bearer $(token access_token)"
curl -i -w '\n' -X DELETE {url}/devices/none-of-hers -H "authorization: Bearer $(token access_token)"
{curl} -X POST {url}/api/logout -H "authorization: Bearer $(token access_token)"
{curl} {url}/api/me -H "authorization: Bearer $(token access_token)"
{curl} {url}/token/refresh {json} -d "{{\"refresh_token\":\"$(token refresh_token)\"}}"
{curl} {url}/.well-known/jwks.json
# A second instance beside this one takes the same cookies and refresh tokens if both have the same REDIS_URL and
# PORTCULLIS_SECRET, and the same access tokens with the same JWT_KEY:
#   BIND=127.0.0.1:3001 REDIS_URL=redis://127.0.0.1 PORTCULLIS_SECRET=... cargo run --example axum"#
    );
}
