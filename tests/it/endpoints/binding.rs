//! Sessions bound to the browser and the network of their login.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, Path},
    routing::{get, post},
};
use bytes::Bytes;
use http::Method;
use portcullis::{
    KeyRing, Rejection,
    peer::StripHeadersLayer,
    session::{
        Login, OnMismatch, RequireLoginLayer, Session, SessionLayer, SessionLayerBuilder, User,
    },
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Bench, SECRET};
use crate::means::http::{Answer, Client};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const HOME: &str = "203.0.113.7";

async fn serve(
    bench: &Bench,
    settings: impl Fn(SessionLayerBuilder) -> SessionLayerBuilder,
) -> String {
    let keys = KeyRing::new(SECRET).unwrap();
    let sessions = SessionLayer::builder(&bench.store, &keys).insecure_plain_http();
    let strip = StripHeadersLayer::builder()
        .trusted_proxy("127.0.0.1")
        .peer(|extensions| {
            extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|info| info.0.ip())
        });
    let app = Router::new()
        .route("/me", get(async |user: User| user.sid().to_owned()))
        .layer(RequireLoginLayer::new())
        .route(
            "/login/{user}",
            post(async |session: Session, Path(user): Path<String>| {
                let user = session.login(Login::new(user)).await?;
                Ok::<_, Rejection>(user.sid().to_owned())
            }),
        )
        .route(
            "/logout",
            post(async |session: Session| session.destroy().await.map_err(Rejection::from)),
        )
        .route(
            "/renew",
            post(async |session: Session| session.renew().await.map_err(Rejection::from)),
        )
        .route(
            "/clear",
            post(async |session: Session| session.clear().await.map_err(Rejection::from)),
        )
        .route(
            "/set/{name}",
            post(async |session: Session, Path(name): Path<String>| {
                session.insert(&name, &1).await.map_err(Rejection::from)
            }),
        )
        .route(
            "/get/{name}",
            get(async |session: Session, Path(name): Path<String>| {
                let value: Option<Value> = session.get(&name).await?;
                Ok::<_, Rejection>(value.unwrap_or_default().to_string())
            }),
        )
        .layer(settings(sessions).build().unwrap())
        .layer(strip.build().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// Somebody with a browser, somewhere.
struct Visitor<'a> {
    base: &'a str,
    client: Client,
    agent: &'a str,
    from: &'a str,
}

impl<'a> Visitor<'a> {
    fn new(base: &'a str) -> Self {
        let client = Client::new();
        Self {
            base,
            client,
            agent: FIREFOX,
            from: HOME,
        }
    }

    /// With the same cookies.
    fn copy(&self, agent: &'a str, from: &'a str) -> Self {
        let client = self.client.clone_cookies();
        Self {
            base: self.base,
            client,
            agent,
            from,
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Answer {
        let headers = [("user-agent", self.agent), ("x-forwarded-for", self.from)];
        let url = format!("{}{path}", self.base);
        self.client
            .request(method, &url, &headers, Bytes::new())
            .await
    }

    async fn post(&self, path: &str) -> Answer {
        self.ask(Method::POST, path).await
    }

    async fn me(&self) -> u16 {
        self.ask(Method::GET, "/me").await.status.as_u16()
    }

    async fn get(&self, name: &str) -> String {
        self.ask(Method::GET, &format!("/get/{name}")).await.text()
    }
}

// Fails if: a cookie works in another browser or network, or stops working after an update or in the same network.
#[tokio::test]
async fn a_stolen_cookie_is_no_session_elsewhere() {
    for bench in Bench::both().await {
        let base = serve(&bench, |layer| layer.bind_user_agent().bind_ip(24, 48)).await;
        let alice = Visitor::new(&base);
        alice.post("/login/alice").await;
        let newer = FIREFOX.replace("128.0", "129.0.1");
        for (agent, from, expected) in [
            (FIREFOX, HOME, 200),
            (&*newer, "203.0.113.250", 200),
            ("curl/8.5.0", HOME, 401),
            (FIREFOX, "203.0.114.7", 401),
            (FIREFOX, "2001:db8::7", 401),
            (FIREFOX, &format!("{HOME}, 198.51.100.1"), 401),
        ] {
            assert_eq!(
                alice.copy(agent, from).me().await,
                expected,
                "{agent} {from}"
            );
        }
    }
}

// Fails if: whoever has the cookie elsewhere can take the session along, end it, change it, or bring down its binding.
#[tokio::test]
async fn whoever_is_elsewhere_leaves_the_session_alone() {
    for on_mismatch in [OnMismatch::Refuse, OnMismatch::RequireLogin] {
        for bench in Bench::both().await {
            let base = serve(&bench, |layer| {
                layer.bind_user_agent().on_mismatch(on_mismatch)
            })
            .await;
            let alice = Visitor::new(&base);
            alice.post("/login/alice").await;
            alice.post("/set/colour").await;
            for path in ["/renew", "/clear", "/set/colour", "/set/other"] {
                let thief = alice.copy("curl", HOME);
                thief.post(path).await;
                assert_eq!(thief.me().await, 401, "{path}");
                assert_eq!(alice.me().await, 200, "{path}");
                assert_eq!(alice.get("colour").await, "1");
            }
            if on_mismatch == OnMismatch::Refuse {
                let thief = alice.copy("curl", HOME);
                thief.post("/logout").await;
                let thief = alice.copy("curl", HOME);
                assert_eq!(thief.post("/login/mallory").await.status, 200);
                assert_eq!(alice.me().await, 200, "{}", bench.name);
            }
        }
    }
}

// Fails if: the two answers are mixed up, or a login does not go on where it should, or does where it should not.
#[tokio::test]
async fn a_login_goes_on_if_that_was_chosen() {
    for (on_mismatch, code, goes_on) in [
        (OnMismatch::Refuse, "login_required", false),
        (OnMismatch::RequireLogin, "login_again", true),
    ] {
        for bench in Bench::both().await {
            let base = serve(&bench, |layer| {
                layer.bind_ip(24, 48).on_mismatch(on_mismatch)
            })
            .await;
            let alice = Visitor::new(&base);
            let sid = alice.post("/login/alice").await.text();
            alice.post("/set/colour").await;
            let on_the_train = alice.copy(FIREFOX, "198.51.100.1");
            let answer = on_the_train.ask(Method::GET, "/me").await;
            assert_eq!(answer.json::<Value>()["code"], code);
            let again = on_the_train.post("/login/alice").await.text();
            assert_eq!(again == sid, goes_on, "{}", bench.name);
            assert_eq!(on_the_train.get("colour").await == "1", goes_on);
            assert_eq!(on_the_train.me().await, 200);
            assert_eq!(alice.me().await == 401, goes_on);
        }
    }
}

// Fails if: the application can read its way into the binding, or a cleared session is bound to nothing.
#[tokio::test]
async fn the_binding_survives_a_clear_and_is_not_the_applications() {
    for bench in Bench::both().await {
        let base = serve(&bench, SessionLayerBuilder::bind_user_agent).await;
        let alice = Visitor::new(&base);
        alice.post("/login/alice").await;
        assert_eq!(alice.post("/set/portcullis.bound").await.status, 413);
        assert_eq!(alice.post("/clear").await.status, 200);
        assert_eq!(
            (alice.me().await, alice.copy("curl", HOME).me().await),
            (200, 401)
        );
        assert_eq!(alice.post("/renew").await.status, 200);
        assert_eq!(
            (alice.me().await, alice.copy("curl", HOME).me().await),
            (200, 401),
            "{}",
            bench.name
        );
    }
}

// Fails if: switching it on signs everybody out, or a login afterwards is not bound.
#[tokio::test]
async fn sessions_of_before_stay_until_the_next_login() {
    for bench in Bench::both().await {
        let (off, on) = (
            serve(&bench, |layer| layer).await,
            serve(&bench, SessionLayerBuilder::bind_user_agent).await,
        );
        let mut alice = Visitor::new(&off);
        alice.post("/login/alice").await;
        alice.base = &on;
        assert_eq!(
            (alice.me().await, alice.copy("curl", HOME).me().await),
            (200, 200)
        );
        alice.post("/login/alice").await;
        assert_eq!(
            (alice.me().await, alice.copy("curl", HOME).me().await),
            (200, 401),
            "{}",
            bench.name
        );
    }
}

// Fails if: sessions are bound to an address that nobody found out.
#[tokio::test]
async fn without_an_address_nothing_passes() {
    let bench = Bench::memory_with(|rotation| rotation).await;
    let keys = KeyRing::new(SECRET).unwrap();
    let sessions = SessionLayer::builder(&bench.store, &keys).bind_ip(24, 48);
    let app = Router::new()
        .route("/", get(async || "in"))
        .layer(sessions.build().unwrap());
    let answer = Client::new().get(&super::serve(app).await).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("client_ip_missing"));
    for (v4, v6) in [(0, 48), (33, 48), (24, 0), (24, 129)] {
        let wrong = SessionLayer::builder(&bench.store, &keys)
            .bind_ip(v4, v6)
            .build();
        assert_eq!(wrong.unwrap_err().field(), "bind_ip");
    }
}
