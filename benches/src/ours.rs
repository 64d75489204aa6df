//! The stacks of portcullis. Layers are stacked by `ServiceBuilder`: each `.layer` of an axum router boxes services and
//! futures once more, which is no cost of the layers.

use std::time::Duration;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use axum::{
    Router,
    extract::Path,
    routing::{any, get, post},
};
use portcullis::{
    KeyRing, Rejection, RejectionKind, Store,
    blacklist::BlacklistLayer,
    csrf::CsrfLayer,
    jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey},
    session::{Login, Session, SessionLayer},
};
use tower::ServiceBuilder;

use crate::serve::{CLIENTS, FIELDS, OK, Row, SAME_ORIGIN, bearer, cookie, login};

pub const ISSUER: &str = "https://id.example";
pub const AUDIENCE: &str = "api";

/// So long that a machine which does other things for a moment is not taken for an outage: every answer has to be 200.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// A new key of 2048 bits for RS256.
pub fn rsa_key() -> SigningKey {
    let key = KeyPair::generate(KeySize::Rsa2048).expect("randomness");
    let der: Pkcs8V1Der<'_> = key.as_der().expect("a key");
    SigningKey::from_pkcs8(JwtAlgorithm::Rs256, (*der).as_ref()).expect("a key")
}

/// Everything that a row may need.
struct Parts {
    store: Store,
    keys: KeyRing,
    sessions: SessionLayer,
    issuer: Issuer,
}

impl Parts {
    async fn new(redis: &str, name: &str) -> Self {
        let (near, near_sessions) = (name.contains("near"), name.ends_with("near_sessions"));
        let store = Store::builder().deadline(DEADLINE);
        let store = match name.ends_with("handed_in") {
            // The application's own connection writes each command as it comes.
            true => {
                let client = redis::Client::open(redis).expect("an address");
                let connection = client.get_multiplexed_async_connection().await;
                store.from_redis(connection.expect("Redis"))
            }
            false => store.connect(redis).await,
        };
        let store = store.expect("Redis");
        if near {
            let near = store.near().max_staleness(Duration::from_millis(500));
            let near = if near_sessions {
                near.sessions(100_000)
            } else {
                near
            };
            assert!(near.start().expect("a replica").ready().await);
        }
        let keys = KeyRing::new("a secret of at least thirty-two bytes").expect("long enough");
        let sessions = SessionLayer::builder(&store, &keys).insecure_plain_http();
        let key = rsa_key().kid("2026-11").expect("a name");
        let issuer = Issuer::new(key, ISSUER).audience(AUDIENCE);
        Self {
            sessions: sessions.build().expect("settings"),
            issuer: issuer.build().expect("settings"),
            store,
            keys,
        }
    }

    fn jwt(&self, cached: bool) -> JwtVerifyLayer<NoClaims> {
        let jwt = JwtVerifyLayer::new(self.issuer.keys().verification_keys())
            .issuer(ISSUER)
            .audience(AUDIENCE);
        let jwt = if cached { jwt } else { jwt.no_cache() };
        jwt.build().expect("settings")
    }

    fn csrf(&self) -> CsrfLayer {
        let csrf = CsrfLayer::builder(&self.keys).insecure_plain_http();
        csrf.build().expect("settings")
    }

    fn blacklist(&self, strict: bool) -> BlacklistLayer {
        let blacklist = BlacklistLayer::builder(&self.store);
        let blacklist = if strict {
            blacklist.strict()
        } else {
            blacklist
        };
        blacklist.build().expect("settings")
    }

    fn token(&self, user: usize, sid: Option<&str>) -> String {
        let grant = Grant::user(format!("user-{user}")).scope("orders:read orders:write");
        let grant = match sid {
            Some(sid) => grant.sid(sid),
            None => grant,
        };
        let minted = self.issuer.mint(&grant).expect("a token");
        minted.token().to_owned()
    }

    /// Signs all clients in, each as a user of its own, and gives cookies and session names.
    async fn sign_in(&self) -> Vec<(String, String)> {
        let app = Router::new()
            .route("/login/{user}", post(sign_in))
            .layer(self.sessions.clone());
        let mut clients = Vec::new();
        for user in 0..CLIENTS {
            clients.push(login(&app, user).await);
        }
        clients
    }

    async fn cookies(&self) -> Vec<String> {
        let clients = self.sign_in().await;
        clients.iter().map(|(pair, _)| cookie(pair)).collect()
    }

    fn tokens(&self) -> Vec<String> {
        let tokens = (0..CLIENTS).map(|user| bearer(&self.token(user, None)));
        tokens.collect()
    }

    /// A cookie and a token of the same login, from a page of the site itself.
    async fn everything(&self) -> Vec<String> {
        let clients = self.sign_in().await.into_iter().enumerate();
        let headers = clients.map(|(user, (pair, sid))| {
            let token = bearer(&self.token(user, Some(&sid)));
            format!("{}{token}{SAME_ORIGIN}", cookie(&pair))
        });
        headers.collect()
    }
}

pub async fn row(name: &str, redis: &str) -> Row {
    let parts = Parts::new(redis, name).await;
    let unused = any(|| async { OK });
    let (app, method, headers) = match name {
        "session_unused" => {
            let app = Router::new().route("/", unused);
            (
                app.layer(parts.sessions.clone()),
                "GET",
                parts.cookies().await,
            )
        }
        "session_read"
        | "session_read_near"
        | "session_read_near_sessions"
        | "session_read_handed_in" => {
            let app = Router::new().route("/", get(read));
            (
                app.layer(parts.sessions.clone()),
                "GET",
                parts.cookies().await,
            )
        }
        "session_write" => {
            let app = Router::new().route("/", get(write));
            (
                app.layer(parts.sessions.clone()),
                "GET",
                parts.cookies().await,
            )
        }
        "jwt_near" | "jwt_strict" => {
            let app = Router::new().route("/", unused);
            let stack = ServiceBuilder::new()
                .layer(parts.jwt(true))
                .layer(parts.blacklist(name == "jwt_strict"));
            (app.layer(stack), "GET", parts.tokens())
        }
        "jwt_uncached" => {
            let app = Router::new().route("/", unused);
            (app.layer(parts.jwt(false)), "GET", parts.tokens())
        }
        "csrf" => {
            let stack = ServiceBuilder::new()
                .layer(parts.sessions.clone())
                .layer(parts.csrf());
            let cookies = parts.cookies().await.into_iter();
            let headers = cookies.map(|cookie| format!("{cookie}{SAME_ORIGIN}"));
            let app = Router::new().route("/", unused).layer(stack);
            (app, "POST", headers.collect())
        }
        "full_strict" | "full_near" | "full_near_sessions" => {
            let stack = ServiceBuilder::new()
                .layer(parts.sessions.clone())
                .layer(parts.jwt(true))
                .layer(parts.blacklist(name == "full_strict"))
                .layer(parts.csrf());
            let app = Router::new().route("/", post(read)).layer(stack);
            (app, "POST", parts.everything().await)
        }
        other => panic!("no row is called {other}"),
    };
    Row {
        app,
        method,
        headers,
    }
}

async fn sign_in(session: Session, Path(user): Path<usize>) -> Result<String, Rejection> {
    let user = session.login(Login::new(format!("user-{user}"))).await?;
    session.insert("count", &0_u64).await?;
    for (name, value) in FIELDS {
        session.insert(name, &value).await?;
    }
    Ok(user.sid().to_owned())
}

async fn read(session: Session) -> Result<&'static str, Rejection> {
    let count: Option<u64> = session.get("count").await?;
    count.ok_or(RejectionKind::LoginRequired)?;
    Ok(OK)
}

async fn write(session: Session) -> Result<&'static str, Rejection> {
    let count: Option<u64> = session.get("count").await?;
    let count = count.ok_or(RejectionKind::LoginRequired)?;
    session.insert("count", &(count + 1)).await?;
    Ok(OK)
}
