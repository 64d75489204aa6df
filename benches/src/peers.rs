//! What the same costs elsewhere: each as its own documentation shows it, and with prepared keys and one connection where
//! it is written by hand.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use portcullis::jwt::{Grant, Issuer, JwtAlgorithm, SigningKey};
use redis::{AsyncCommands, Client, aio::MultiplexedConnection};
use serde::Deserialize;
use tokio::sync::{
    mpsc::{UnboundedSender, unbounded_channel},
    oneshot,
};
use tower::ServiceBuilder;
use tower_http::csrf::CsrfLayer;
use tower_sessions::{Session, SessionManagerLayer};
use tower_sessions_redis_store::{RedisStore, fred::prelude::*};

use crate::{
    local,
    ours::{AUDIENCE, ISSUER, rsa_key},
    raw::Raw,
    serve::{CLIENTS, FIELDS, OK, Row, SAME_ORIGIN, bearer, cookie, login},
};

type Sessions = SessionManagerLayer<RedisStore<Pool>>;

/// As in the example of the store: a pool of six connections.
async fn sessions(redis: &str) -> Sessions {
    let config = Config::from_url(redis).expect("an address");
    let pool = Pool::new(config, None, None, None, 6).expect("a pool");
    let _connecting = pool.connect();
    pool.wait_for_connect().await.expect("Redis");
    SessionManagerLayer::new(RedisStore::new(pool)).with_secure(false)
}

/// What such a service reads of a token.
#[derive(Clone, Deserialize)]
struct Claims {
    jti: String,
}

/// Tokens and the list of revoked ones, as they are written by hand: keys and rules are prepared once.
struct Tokens {
    issuer: Issuer,
    key: DecodingKey,
    rules: Validation,
    redis: MultiplexedConnection,
}

impl Tokens {
    async fn new(redis: &str, rsa: bool) -> Arc<Self> {
        let client = Client::open(redis).expect("an address");
        let connection = client.get_multiplexed_async_connection().await;
        let (signing, key, algorithm) = if rsa {
            let signing = rsa_key();
            let jwk = signing.verification_key().to_jwk().expect("a public key");
            let jwk = serde_json::from_str(&jwk).expect("a key");
            let key = DecodingKey::from_jwk(&jwk).expect("a key");
            (signing, key, Algorithm::RS256)
        } else {
            let secret = b"a secret of at least thirty-two bytes";
            let signing = SigningKey::secret(JwtAlgorithm::Hs256, secret).expect("long enough");
            (signing, DecodingKey::from_secret(secret), Algorithm::HS256)
        };
        let mut rules = Validation::new(algorithm);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let issuer = Issuer::new(signing, ISSUER).audience(AUDIENCE).build();
        Arc::new(Self {
            issuer: issuer.expect("settings"),
            key,
            rules,
            redis: connection.expect("Redis"),
        })
    }

    fn mint(&self, user: usize) -> String {
        let grant = Grant::user(format!("user-{user}")).scope("orders:read orders:write");
        let minted = self.issuer.mint(&grant).expect("a token");
        bearer(minted.token())
    }

    fn tokens(&self) -> Vec<String> {
        (0..CLIENTS).map(|user| self.mint(user)).collect()
    }
}

/// Verify, ask, go on.
async fn check(State(tokens): State<Arc<Tokens>>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION);
    let text = header.and_then(|value| value.to_str().ok());
    let Some(token) = text.and_then(|text| text.strip_prefix("Bearer ")) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Ok(verified) = decode::<Claims>(token, &tokens.key, &tokens.rules) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let key = format!("jwt:blacklist:{}", verified.claims.jti);
    match tokens.redis.clone().exists(key).await {
        Ok(false) => {}
        Ok(true) => return StatusCode::UNAUTHORIZED.into_response(),
        Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
    request.extensions_mut().insert(verified.claims);
    next.run(request).await
}

/// As many bytes as a session of the other rows takes in Redis.
const VALUE: [u8; 172] = [b'x'; 172];
/// Named by each client itself: no cookie, no signature, no record to understand.
const KEY: &str = "x-key";

/// The least that a read can be: one value, fetched by a handler without any layer.
async fn by_hand(redis: &str, way: &str) -> Row {
    let client = Client::open(redis).expect("an address");
    let connection = client.get_multiplexed_async_connection().await;
    let mut connection = connection.expect("Redis");
    let mut headers = Vec::new();
    for user in 0..CLIENTS {
        let key = format!("session:{user:064}");
        let set: Result<(), _> = connection.set(&key, &VALUE[..]).await;
        set.expect("stored");
        headers.push(format!("{KEY}: {key}\r\n"));
    }
    let handler = match way {
        "peer_raw" => {
            let address = client.get_connection_info().addr().to_string();
            let raw = Raw::connect(&address).await;
            get(move |headers: HeaderMap| read_raw(raw.clone(), headers))
        }
        "peer_mget" => {
            let ready = gather(connection);
            get(move |headers: HeaderMap| read_together(ready.clone(), headers))
        }
        _ => get(move |headers: HeaderMap| read_alone(connection.clone(), headers)),
    };
    Row {
        app: Router::new().route("/", handler),
        method: "GET",
        headers,
    }
}

async fn read_alone(mut redis: MultiplexedConnection, headers: HeaderMap) -> StatusCode {
    let value: Result<Option<Vec<u8>>, _> = redis.get(headers[KEY].as_bytes()).await;
    found(value.ok().flatten())
}

async fn read_raw(raw: Raw, headers: HeaderMap) -> StatusCode {
    found(raw.get(headers[KEY].as_bytes()).await)
}

type Asked = (Vec<u8>, oneshot::Sender<Option<Vec<u8>>>);

async fn read_together(ready: UnboundedSender<Asked>, headers: HeaderMap) -> StatusCode {
    let (answer, value) = oneshot::channel();
    let _ = ready.send((headers[KEY].as_bytes().to_vec(), answer));
    found(value.await.ok().flatten())
}

fn found(value: Option<Vec<u8>>) -> StatusCode {
    match value {
        Some(_) => StatusCode::OK,
        None => StatusCode::UNAUTHORIZED,
    }
}

/// Asks for what all requests of one tick want in one command.
fn gather(redis: MultiplexedConnection) -> UnboundedSender<Asked> {
    let (sender, mut ready) = unbounded_channel::<Asked>();
    tokio::spawn(async move {
        while let Some(first) = ready.recv().await {
            tokio::task::yield_now().await;
            let mut all = vec![first];
            while let Ok(more) = ready.try_recv() {
                all.push(more);
            }
            let mut redis = redis.clone();
            tokio::spawn(async move {
                let (keys, answers): (Vec<_>, Vec<_>) = all.into_iter().unzip();
                let values: Result<Vec<_>, _> = redis.mget(keys).await;
                for (value, answer) in values.expect("Redis").into_iter().zip(answers) {
                    let _ = answer.send(value);
                }
            });
        }
    });
    sender
}

/// Signs all clients in and gives their cookies.
async fn cookies(sessions: &Sessions) -> Vec<String> {
    let app = Router::new()
        .route("/login/{user}", post(sign_in))
        .layer(sessions.clone());
    let mut cookies = Vec::new();
    for user in 0..CLIENTS {
        let (pair, _) = login(&app, user).await;
        cookies.push(cookie(&pair));
    }
    cookies
}

pub async fn row(name: &str, redis: &str) -> Row {
    let unused = any(|| async { OK });
    let (app, method, headers) = match name {
        "peer_session_unused" | "peer_session_read" | "peer_session_write" => {
            let sessions = sessions(redis).await;
            let handler = match name {
                "peer_session_read" => get(read),
                "peer_session_write" => get(write),
                // The service makes the handle for every request; nobody asks it for anything.
                _ => unused,
            };
            let headers = cookies(&sessions).await;
            (
                Router::new().route("/", handler).layer(sessions),
                "GET",
                headers,
            )
        }
        "peer_get" | "peer_mget" | "peer_raw" => return by_hand(redis, name).await,
        "peer_local" => {
            let tokens = Tokens::new(redis, true).await;
            return local::row(&tokens.tokens(), 10_000);
        }
        "peer_csrf" => {
            let app = Router::new().route("/", unused).layer(CsrfLayer::new());
            (app, "POST", vec![SAME_ORIGIN.to_owned(); CLIENTS])
        }
        "peer_exists" | "peer_exists_rs256" => {
            let tokens = Tokens::new(redis, name == "peer_exists_rs256").await;
            let headers = tokens.tokens();
            let check = middleware::from_fn_with_state(tokens, check);
            (
                Router::new().route("/", unused).layer(check),
                "GET",
                headers,
            )
        }
        "peer_full" => {
            let (tokens, sessions) = (Tokens::new(redis, false).await, sessions(redis).await);
            let cookies = cookies(&sessions).await.into_iter();
            let headers = cookies.zip(tokens.tokens());
            let headers = headers.map(|(cookie, token)| format!("{cookie}{token}{SAME_ORIGIN}"));
            let headers = headers.collect();
            let stack = ServiceBuilder::new()
                .layer(sessions)
                .layer(middleware::from_fn_with_state(tokens, check))
                .layer(CsrfLayer::new());
            let app = Router::new().route("/", post(read)).layer(stack);
            (app, "POST", headers)
        }
        other => panic!("no row is called {other}"),
    };
    Row {
        app,
        method,
        headers,
    }
}

type Failure = tower_sessions::session::Error;

async fn sign_in(session: Session, Path(user): Path<usize>) -> Result<(), StatusCode> {
    let fill = async || -> Result<(), Failure> {
        session.insert("user", format!("user-{user}")).await?;
        session.insert("count", 0_u64).await?;
        for (name, value) in FIELDS {
            session.insert(name, value).await?;
        }
        Ok(())
    };
    fill().await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn read(session: Session) -> Result<&'static str, StatusCode> {
    match session.get::<u64>("count").await {
        Ok(Some(_)) => Ok(OK),
        Ok(None) => Err(StatusCode::UNAUTHORIZED),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn write(session: Session) -> Result<&'static str, StatusCode> {
    let change = async || -> Result<Option<()>, Failure> {
        let Some(count) = session.get::<u64>("count").await? else {
            return Ok(None);
        };
        session.insert("count", count + 1).await?;
        Ok(Some(()))
    };
    match change().await {
        Ok(Some(())) => Ok(OK),
        Ok(None) => Err(StatusCode::UNAUTHORIZED),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}
