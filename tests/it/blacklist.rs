//! Revocation from outside: the stack JWT → blacklist → handler, and the whole stack with a session, over the in-memory
//! store and over Redis, on two nodes.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
    routing::{get, post},
};
use portcullis::{
    Clock, Rejection, RejectionKind, Store,
    blacklist::{Blacklist, BlacklistLayer, BlacklistLayerBuilder, Outage, RevokeErrorKind},
    cutoff::Cutoffs,
    jwt::{
        Grant, Issuer, JwtAlgorithm, JwtKey, JwtVerifyLayer, KeySet, NoClaims, SigningKey,
        VerifiedToken,
    },
    session::{Login, Session, SessionLayer, User},
    testing::age_everything,
};
use tower::ServiceExt;

use crate::{
    means::{proxy::Proxy, redis::RedisServer},
    session::bench::{Answer, App, Backend, both, keys, memory},
};

const SECRET: [u8; 32] = [7; 32];
const FOREIGN: [u8; 32] = [9; 32];
const ISS: &str = "https://id.example";

fn kid(secret: &[u8; 32]) -> String {
    secret[0].to_string()
}

pub fn issuer(clock: &Clock) -> Issuer {
    issuer_of(ISS, SECRET, clock)
}

fn issuer_of(iss: &str, secret: [u8; 32], clock: &Clock) -> Issuer {
    let key = SigningKey::secret(JwtAlgorithm::Hs256, secret).unwrap();
    let key = key.kid(kid(&secret)).unwrap();
    let issuer = Issuer::new(key, iss).audience("api").clock(clock.clone());
    issuer.build().unwrap()
}

pub fn verify(clock: &Clock) -> JwtVerifyLayer<NoClaims> {
    let key = |secret: [u8; 32]| {
        let key = JwtKey::secret(JwtAlgorithm::Hs256, secret).unwrap();
        let key = key.kid(kid(&secret)).unwrap();
        KeySet::new([key]).unwrap()
    };
    JwtVerifyLayer::new(key(SECRET))
        .issuer(ISS)
        .or_issuer("https://other.example", key(FOREIGN))
        .audience("api")
        .clock(clock.clone())
        .optional()
        .build()
        .unwrap()
}

pub fn app(layer: BlacklistLayerBuilder, clock: &Clock) -> App {
    let router = Router::new()
        .route(
            "/me",
            get(async |token: Option<axum::Extension<VerifiedToken>>| {
                token.map_or_else(String::new, |token| token.sub().unwrap_or("").to_owned())
            }),
        )
        .layer(layer.build().unwrap())
        .layer(verify(clock));
    App::of(router)
}

pub async fn get_with(app: &App, token: &str) -> Answer {
    let request = Request::get("/me").header(header::AUTHORIZATION, format!("Bearer {token}"));
    app.call(request.body(Body::empty()).unwrap()).await
}

pub async fn status(app: &App, token: &str) -> u16 {
    get_with(app, token).await.status.as_u16()
}

/// The token as the layer verified it.
pub async fn verified(clock: &Clock, token: &str) -> VerifiedToken {
    let service = tower::ServiceBuilder::new()
        .layer(verify(clock))
        .service_fn(async |r: Request<String>| {
            let token = r.extensions().get::<VerifiedToken>().cloned();
            let mut response = Response::new(String::new());
            response.extensions_mut().insert(token.unwrap());
            Ok::<_, std::convert::Infallible>(response)
        });
    let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let response = service
        .oneshot(request.body(String::new()).unwrap())
        .await
        .unwrap();
    response
        .extensions()
        .get::<VerifiedToken>()
        .unwrap()
        .clone()
}

pub fn grant() -> Grant {
    Grant::user("alice").sid("device-1")
}

fn clocks(backend: &Backend) -> Clock {
    backend.clock.clone()
}

/// Fails if: the entry's key differs between the two sides, or the layer does not ask.
#[tokio::test]
async fn a_token_revoked_on_one_node_is_refused_on_the_other() {
    for backend in both().await {
        let clock = clocks(&backend);
        let other = app(BlacklistLayer::builder(&backend.other), &clock);
        let issuer = issuer(&clock);
        let (a, b) = (
            issuer.mint(&grant()).unwrap(),
            issuer.mint(&grant()).unwrap(),
        );
        assert_eq!(get_with(&other, a.token()).await.text, "alice");
        let blacklist = Blacklist::new(&backend.store);
        let token = verified(&clock, a.token()).await;
        blacklist.revoke(&token).await.unwrap();
        blacklist.revoke(&token).await.unwrap();
        let answer = get_with(&other, a.token()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", backend.name);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.contains(r#"error="invalid_token""#),
            "{challenge}"
        );
        let expired = get_with(&other, &format!("{}A", b.token())).await;
        assert_eq!(
            expired.header("www-authenticate"),
            Some(challenge),
            "says nothing of the list"
        );
        assert_eq!(expired.text, answer.text);
        assert_eq!(
            status(&other, b.token()).await,
            200,
            "{}: another token",
            backend.name
        );
        blacklist.revoke_session("device-1").await.unwrap();
        assert_eq!(
            status(&other, b.token()).await,
            401,
            "{}: of the same login",
            backend.name
        );
        let elsewhere = issuer.mint(&Grant::user("alice").sid("device-2")).unwrap();
        assert_eq!(status(&other, elsewhere.token()).await, 200);
    }
}

/// R86: the entry outlives the token with its leeway, and an entry that is there is never shortened.
///
/// Fails if: the expiry is the token's alone; revoke.lua sets without looking.
#[tokio::test]
async fn entries_last_as_long_as_the_token_could_be_accepted() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let clock = Clock::system();
    let token = issuer(&clock).mint(&grant()).unwrap();
    let verified = verified(&clock, token.token()).await;
    let key = format!("jwt:blacklist:{}", token.jti());
    Blacklist::new(&store).revoke(&verified).await.unwrap();
    let expires: u64 = server.ask(&["PEXPIRETIME", &key]).await;
    assert!(expires > verified.accepted_until_ms(), "{expires}");
    assert!(
        expires <= verified.exp_ms() + 121_000,
        "and not for ever: {expires}"
    );
    for (ttl, kept) in [(Some("86400000"), 86_000_000), (None, -1)] {
        server.cli(&["DEL", &key]).await;
        server.cli(&["SET", &key, "by hand"]).await;
        if let Some(ttl) = ttl {
            server.cli(&["PEXPIRE", &key, ttl]).await;
        }
        Blacklist::new(&store).revoke(&verified).await.unwrap();
        let left: i64 = server.ask(&["PTTL", &key]).await;
        assert!(left >= kept && (kept > 0 || left == -1), "{left}");
    }
}

/// What somebody types into redis-cli counts, with the default settings, whatever the value.
///
/// Fails if: the default prefix differs, or the question is `GET` of a string.
#[tokio::test]
async fn entries_written_by_hand_are_honoured() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let clock = Clock::system();
    let app = app(BlacklistLayer::builder(&store), &clock);
    let issuer = issuer(&clock);
    let commands: [&[&str]; 3] = [
        &["SETEX", "", "60", "revoked"],
        &["HSET", "", "a", "b"],
        &["SADD", "", "a"],
    ];
    for command in commands {
        let token = issuer.mint(&grant()).unwrap();
        assert_eq!(status(&app, token.token()).await, 200);
        let key = format!("jwt:blacklist:{}", token.jti());
        let mut command = command.to_vec();
        command[1] = &key;
        server.cli(&command).await;
        assert_eq!(status(&app, token.token()).await, 401, "{command:?}");
    }
}

/// R66, R86: issuers do not share ids, and a `jti` that equals a `sid` is not one.
///
/// Fails if: the issuer is not part of a foreign entry's key, or both prefixes are one.
#[tokio::test]
async fn ids_of_different_kinds_and_issuers_do_not_meet() {
    for backend in both().await {
        let clock = clocks(&backend);
        let app = app(BlacklistLayer::builder(&backend.store), &clock);
        let blacklist = Blacklist::new(&backend.store);
        let own = issuer(&clock);
        let foreign = issuer_of("https://other.example", FOREIGN, &clock);
        let ours = own.mint(&Grant::user("alice")).unwrap();
        blacklist.revoke_session(ours.jti()).await.unwrap();
        assert_eq!(
            status(&app, ours.token()).await,
            200,
            "{}: a jti is no sid",
            backend.name
        );
        let theirs = foreign.mint(&Grant::user("alice")).unwrap();
        blacklist
            .revoke(&verified(&clock, theirs.token()).await)
            .await
            .unwrap();
        assert_eq!(status(&app, theirs.token()).await, 401, "{}", backend.name);
        if let Some(server) = &backend.server {
            let keys = server.keys("jwt:blacklist:*").await;
            assert!(
                keys.iter().all(|key| !key.contains(theirs.jti())),
                "{keys:?}"
            );
        }
        // A cutoff of our alice leaves theirs alone, and the other way round.
        let theirs = foreign.mint(&Grant::user("alice")).unwrap();
        let cutoffs = Cutoffs::new(&backend.store);
        let ours = own.mint(&grant()).unwrap();
        cutoffs
            .subject("https://other.example", "", "alice")
            .await
            .unwrap();
        assert_eq!(status(&app, theirs.token()).await, 401, "{}", backend.name);
        assert_eq!(status(&app, ours.token()).await, 200, "{}", backend.name);
        cutoffs.user("", "alice").await.unwrap();
        assert_eq!(status(&app, ours.token()).await, 401, "{}", backend.name);
    }
}

/// Cutoffs end older tokens and no newer one, in the same millisecond (the memory store's clock stands still) and with
/// the node's clock 5 s off: the moment of authentication is the store's.
///
/// Fails if: `iat` counts where `auth_ms` is there; `<=` is written `<`.
#[tokio::test]
async fn a_cutoff_refuses_all_older_tokens_and_no_newer_one() {
    for backend in both().await {
        for skew in [0_i64, 5_000, -5_000] {
            let clock = Clock::settable(backend.clock.now_millis().saturating_add_signed(skew));
            let app = app(BlacklistLayer::builder(&backend.other), &clock);
            let sessions = Router::new()
                .route(
                    "/login",
                    post(async |s: Session| {
                        s.login(Login::new("alice").tenant("acme"))
                            .await
                            .unwrap()
                            .auth_ms()
                            .to_string()
                    }),
                )
                .layer(SessionLayer::new(&backend.store, &keys()));
            let sessions = App::of(sessions);
            let login = async || {
                let request = Request::post("/login").body(Body::empty()).unwrap();
                let auth_ms = sessions.call(request).await.text.parse().unwrap();
                let grant = Grant::user("alice")
                    .tenant("acme")
                    .sid("device")
                    .auth_ms(auth_ms);
                issuer(&clock).mint(&grant).unwrap().token().to_owned()
            };
            let cutoffs = Cutoffs::new(&backend.store);
            for scope in ["user", "tenant", "everyone"] {
                let before = login().await;
                assert_eq!(
                    status(&app, &before).await,
                    200,
                    "{} {skew} {scope}",
                    backend.name
                );
                match scope {
                    "user" => cutoffs.user("acme", "alice").await,
                    "tenant" => cutoffs.tenant("acme").await,
                    _ => cutoffs.everyone().await,
                }
                .unwrap();
                assert_eq!(
                    status(&app, &before).await,
                    401,
                    "{} {skew} {scope}",
                    backend.name
                );
                let after = login().await;
                assert_eq!(
                    status(&app, &after).await,
                    200,
                    "{} {skew} {scope}",
                    backend.name
                );
            }
        }
    }
}

/// R87: what nobody could revoke is refused, unless said otherwise.
#[tokio::test]
async fn a_token_without_an_id_is_refused_by_default() {
    let backend = memory().await;
    let clock = clocks(&backend);
    let bare = {
        let exp = clock.now_millis() / 1_000 + 60;
        let claims = format!(r#"{{"iss":"{ISS}","aud":"api","sub":"alice","exp":{exp}}}"#);
        let signer = crate::jwt_kit::Signer::Hmac("HS256", SECRET.to_vec());
        signer.token(&signer.header(r#","kid":"7""#), &claims)
    };
    let strict = app(BlacklistLayer::builder(&backend.store), &clock);
    assert_eq!(status(&strict, &bare).await, 401);
    let lax = app(
        BlacklistLayer::builder(&backend.store).insecure_allow_unidentified(),
        &clock,
    );
    assert_eq!(status(&lax, &bare).await, 200);
    // It says nothing of when it was issued: a cutoff ends it.
    Cutoffs::new(&backend.store).everyone().await.unwrap();
    assert_eq!(status(&lax, &bare).await, 401);
    let error = Blacklist::new(&backend.store)
        .revoke(&verified(&clock, &bare).await)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RevokeErrorKind::NoId);
}

/// A login, and a page that asks for token and session.
fn both_app(store: &Store, clock: &Clock) -> App {
    let router = Router::new()
        .route(
            "/login",
            post(async |s: Session| s.login(Login::new("alice")).await.unwrap().sid().to_owned()),
        )
        .route(
            "/both",
            get(async |user: Option<User>, s: Session| {
                s.get::<String>("x").await.unwrap();
                user.map(|user| user.id().to_owned()).unwrap_or_default()
            }),
        )
        .layer(BlacklistLayer::new(store))
        .layer(verify(clock))
        .layer(SessionLayer::new(store, &keys()));
    App::of(router)
}

/// The budget: no token 0, forged 0, strict 1; with a session that the handler asks for, still 1.
///
/// Fails if: riders are not taken along, or the two questions of a token are two trips.
#[tokio::test]
async fn a_check_is_one_trip_and_the_session_rides_along() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = Store::connect(&proxy.url()).await.unwrap();
    let clock = Clock::system();
    let app = both_app(&store, &clock);
    let login = app
        .call(Request::post("/login").body(Body::empty()).unwrap())
        .await;
    let cookie = login.set_cookies()[0].split(';').next().unwrap().to_owned();
    let token = issuer(&clock)
        .mint(&Grant::user("alice").sid(login.text.clone()))
        .unwrap();
    let send = async |cookie: Option<&str>, bearer: Option<&str>| {
        let mut request = Request::get("/both");
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        proxy.reset_counts();
        let answer = app.call(request.body(Body::empty()).unwrap()).await;
        (answer.status.as_u16(), answer.text, proxy.turns())
    };
    let forged = format!("{}AAAA", &token.token()[..token.token().len() - 4]);
    assert_eq!(send(None, None).await, (200, String::new(), 0));
    assert_eq!(send(Some(&cookie), Some(&forged)).await.2, 0, "forged");
    assert_eq!(
        send(None, Some(token.token())).await,
        (200, String::new(), 1)
    );
    assert_eq!(
        send(Some(&cookie), None).await,
        (200, "alice".to_owned(), 1)
    );
    assert_eq!(
        send(Some(&cookie), Some(token.token())).await,
        (200, "alice".to_owned(), 1)
    );
    // A session that was ended elsewhere is not found by riding either.
    Cutoffs::new(&store).user("", "alice").await.unwrap();
    assert_eq!(send(Some(&cookie), None).await.1, "");
}

/// On a node that has not seen the session: blacklist, session, and the use that is due to be recorded.
///
/// Fails if: a load that records a use does not ride, or the use is recorded in a trip of its own or not at all.
#[tokio::test]
async fn a_due_touch_rides_along_with_a_strict_check_and_a_read() {
    let server = RedisServer::start().await;
    let clock = Clock::system();
    let store = Store::connect(&server.url()).await.unwrap();
    let request = Request::post("/login").body(Body::empty()).unwrap();
    let login = both_app(&store, &clock).call(request).await;
    let cookie = login.set_cookies()[0].split(';').next().unwrap().to_owned();
    age_everything(&store, Duration::from_secs(600))
        .await
        .unwrap();
    let token = issuer(&clock)
        .mint(&Grant::user("alice").sid(login.text.clone()))
        .unwrap();
    let bearer = format!("Bearer {}", token.token());
    let proxy = Proxy::start(server.port());
    let elsewhere = Store::connect(&proxy.url()).await.unwrap();
    let app = both_app(&elsewhere, &clock);
    // The first is due, the second is not.
    for load in ["EVAL", "GET"] {
        let request = Request::get("/both")
            .header(header::COOKIE, &cookie)
            .header(header::AUTHORIZATION, &bearer);
        let (turns, answer) = proxy
            .turns_of(app.call(request.body(Body::empty()).unwrap()))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.text[..], turns),
            (200, "alice", 1)
        );
        let names: Vec<_> = proxy.log().iter().map(|command| command.name()).collect();
        // Two cutoffs and the list of the token; the session's script, or its record, which has the same cutoffs.
        assert_eq!(names.len(), 4, "{names:?}");
        let scripts = names.iter().filter(|name| name.starts_with("EVAL")).count();
        assert_eq!(scripts, usize::from(load == "EVAL"), "{names:?}");
    }
}

/// While Redis is away: closed refuses with 503, stale passes what was clear a moment ago, open passes all but what is
/// known to be revoked; and nothing is called invalid that is only unknown.
///
/// Fails if: an error counts as "not revoked"; the stale memory has no age; a revoked token is forgotten in an outage.
#[tokio::test]
async fn an_outage_follows_the_policy_of_the_layer() {
    let mut server = RedisServer::start().await;
    let clock = Clock::settable(Clock::system().now_millis());
    let store = Store::builder()
        .clock(clock.clone())
        .connect(&server.url())
        .await
        .unwrap();
    let closed = app(BlacklistLayer::builder(&store), &clock);
    let life = Duration::from_secs(30);
    let stale = app(
        BlacklistLayer::builder(&store).outage(Outage::Stale(life)),
        &clock,
    );
    let open = app(BlacklistLayer::builder(&store).insecure_open(), &clock);
    let mint = || issuer(&clock).mint(&grant()).unwrap().token().to_owned();
    let (seen, unseen, revoked) = (mint(), mint(), mint());
    Blacklist::new(&store)
        .revoke(&verified(&clock, &revoked).await)
        .await
        .unwrap();
    for app in [&closed, &stale, &open] {
        assert_eq!(status(app, &seen).await, 200);
        assert_eq!(status(app, &revoked).await, 401);
    }
    server.kill();
    let refused = get_with(&closed, &seen).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        refused.header("www-authenticate"),
        None,
        "the token is not called invalid"
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        status(&closed, &revoked).await,
        503,
        "closed keeps no memory"
    );
    assert_eq!(
        (status(&stale, &seen).await, status(&stale, &unseen).await),
        (200, 503)
    );
    assert_eq!(
        (status(&open, &seen).await, status(&open, &unseen).await),
        (200, 200)
    );
    assert_eq!(
        (
            status(&stale, &revoked).await,
            status(&open, &revoked).await
        ),
        (401, 401)
    );
    let request = Request::get("/me").body(Body::empty()).unwrap();
    assert_eq!(
        closed.call(request).await.status,
        StatusCode::OK,
        "no token, no question"
    );
    clock.advance(Duration::from_millis(29_999));
    assert_eq!(status(&stale, &seen).await, 200);
    clock.advance(Duration::from_millis(1));
    assert_eq!(status(&stale, &seen).await, 503);
    let grpc = Request::post("/me")
        .header(header::AUTHORIZATION, format!("Bearer {seen}"))
        .header(header::CONTENT_TYPE, "application/grpc");
    let answer = closed.call(grpc.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("grpc-status")),
        (200, Some("14"))
    );
    server.restart().await;
    crate::means::wait::until("the store works again", || async {
        (status(&closed, &seen).await == 200).then_some(())
    })
    .await;
    assert_eq!(
        status(&stale, &revoked).await,
        200,
        "Redis lost it: a later layer's business (the near replica)"
    );
}

/// Fails if: no mark passes as no token.
#[tokio::test]
async fn a_missing_jwt_layer_is_an_internal_error() {
    let store = Store::memory();
    for router in [
        Router::new()
            .route("/", get(async || "reached"))
            .layer(BlacklistLayer::new(&store)),
        Router::new()
            .route("/", get(async || "reached"))
            .layer(verify(&Clock::system()))
            .layer(BlacklistLayer::new(&store)),
    ] {
        let response = router
            .oneshot(Request::get("/").body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(
            (rejection.kind(), rejection.reason_code()),
            (RejectionKind::Internal, "jwt_layer_missing")
        );
    }
}

#[tokio::test]
async fn contradictory_settings_cannot_be_built() {
    let store = Store::memory();
    let builder = || BlacklistLayer::builder(&store);
    let day = Duration::from_secs(86_400);
    for wrong in [
        builder().outage(Outage::Stale(Duration::ZERO)),
        builder().outage(Outage::Stale(2 * day)),
        builder().outage(Outage::Stale(day)).insecure_open(),
    ] {
        assert_eq!(wrong.build().unwrap_err().field(), "outage");
    }
}

/// Under a crowd that asks about everyone's cutoff all the time over the one connection, what was acknowledged is seen.
///
/// Fails if: the answer that a crowd shares is older than the question (seen to fail with one of forty replies before).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_cutoff_is_seen_in_a_crowd() {
    let server = RedisServer::start().await;
    let store = Store::connect(&server.url()).await.unwrap();
    let clock = Clock::system();
    let app = both_app(&store, &clock);
    // A token that no cutoff ends, so that the session's word counts.
    let far = clock.now_millis() + 1_000_000_000;
    let token = issuer(&clock)
        .mint(&Grant::user("alice").auth_ms(far))
        .unwrap();
    let bearer = format!("Bearer {}", token.token());
    let asked = app.clone();
    let send = move |cookie: String, with: bool| {
        let (app, bearer) = (asked.clone(), bearer.clone());
        async move {
            let mut request = Request::get("/both").header(header::COOKIE, cookie);
            if with {
                request = request.header(header::AUTHORIZATION, bearer);
            }
            let answer = app.call(request.body(Body::empty()).unwrap()).await;
            (answer.status.as_u16(), answer.text)
        }
    };
    let login = async || {
        let login = app
            .call(Request::post("/login").body(Body::empty()).unwrap())
            .await;
        login.set_cookies()[0].split(';').next().unwrap().to_owned()
    };
    let first = login().await;
    let noise: Vec<_> = (0..48)
        .map(|n| {
            let (send, first) = (send.clone(), first.clone());
            tokio::spawn(async move {
                loop {
                    let _ = send(first.clone(), n % 2 == 0).await;
                }
            })
        })
        .collect();
    for round in 0..60 {
        let cookie = login().await;
        let before: Vec<_> = (0..12)
            .map(|n| tokio::spawn(send(cookie.clone(), n % 2 == 0)))
            .collect();
        for one in before {
            assert_eq!(one.await.unwrap(), (200, "alice".to_owned()), "{round}");
        }
        // Some are under way while it is raised.
        let under: Vec<_> = (0..6)
            .map(|n| tokio::spawn(send(cookie.clone(), n % 2 == 0)))
            .collect();
        if round % 2 == 0 {
            Cutoffs::new(&store).everyone().await.unwrap();
        } else {
            Cutoffs::new(&store).user("", "alice").await.unwrap();
        }
        let after: Vec<_> = (0..12)
            .map(|n| tokio::spawn(send(cookie.clone(), n % 2 == 0)))
            .collect();
        for one in after {
            assert_eq!(one.await.unwrap(), (200, String::new()), "{round}");
        }
        for one in under {
            assert_eq!(one.await.unwrap().0, 200);
        }
    }
    for one in &noise {
        one.abort();
    }
}
