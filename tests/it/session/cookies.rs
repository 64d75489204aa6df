//! What goes over the wire: REQUIREMENTS 1 to 13, 33, 34, 114 to 118.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use portcullis::{
    SameSite,
    session::{SaveOutcome, SessionLayer},
};

use super::bench::{Answer, App, Browser, keys, memory, redis};
use crate::means::{proxy::Proxy, redis::RedisServer};

fn one_cookie(answer: &Answer) -> String {
    let cookies = answer.set_cookies();
    assert_eq!(cookies.len(), 1, "{answer:?}");
    cookies[0].clone()
}

fn value(line: &str) -> &str {
    line.split(';').next().unwrap().split_once('=').unwrap().1
}

/// R1, R4, R6, R34.
#[tokio::test]
async fn the_default_cookie_is_what_browsers_guard_best() {
    let backend = memory().await;
    let answer = Browser::new(&App::new(&backend.store))
        .post("/login/alice")
        .await;
    let line = one_cookie(&answer);
    let mut parts = line.split("; ");
    let pair = parts.next().unwrap();
    assert!(pair.starts_with("__Host-session="), "{line}");
    let mut attributes: Vec<_> = parts.collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("cookie"));
    assert!(!answer.text.contains(value(&line)));
    assert!(pair.len() < 120, "{}", pair.len());
}

/// R33: the browser drops a cookie only for the same name, path, domain and prefix rules.
#[tokio::test]
async fn a_logout_removes_the_cookie_with_the_attributes_it_was_set_with() {
    let backend = memory().await;
    let layer = SessionLayer::builder(&backend.store, &keys())
        .cookie_name("__Secure-shop")
        .cookie_path("/shop")
        .insecure_cookie_domain("shop.example")
        .same_site(SameSite::None)
        .partitioned(true);
    let browser = Browser::new(&App::with(layer));
    let set = one_cookie(&browser.post("/login/alice").await);
    let removed = one_cookie(&browser.post("/logout").await);
    let attributes = |line: &str| {
        let mut all: Vec<_> = line
            .split("; ")
            .skip(1)
            .filter(|part| !part.starts_with("Max-Age") && !part.starts_with("Expires"))
            .map(str::to_owned)
            .collect();
        all.sort_unstable();
        all
    };
    assert_eq!(attributes(&set), attributes(&removed));
    assert!(removed.starts_with("__Secure-shop=;"), "{removed}");
    assert!(
        removed.contains("Max-Age=0") && removed.contains("Expires=Thu, 01 Jan 1970"),
        "{removed}"
    );
}

/// R8, R115: remembered logins have a cookie that lives as long as the session can.
#[tokio::test]
async fn a_remembered_login_outlives_the_browser_up_to_the_absolute_timeout() {
    let backend = memory().await;
    let line = one_cookie(
        &Browser::new(&App::new(&backend.store))
            .post("/remember")
            .await,
    );
    let days = 30 * 24 * 60 * 60;
    assert!(line.contains(&format!("Max-Age={days};")), "{line}");
    assert!(
        line.contains("Expires=Thu, 14 Dec 2023 22:13:20 GMT"),
        "{line}"
    );
}

/// R9, R10, R11, R12, R118: whatever else a client sends, in whatever order.
#[tokio::test]
async fn the_session_is_found_among_other_cookies() {
    let backend = memory().await;
    let app = App::new(&backend.store);
    let browser = Browser::new(&app);
    browser.post("/login/alice").await;
    let ours = browser.cookie_header().unwrap();
    let forged = format!("{}AAAA", &ours[..ours.len() - 4]);
    let (nameless, lower) = (format!("={ours}"), ours.to_lowercase());
    let cases: [(&[&[u8]], bool); 9] = [
        (&[ours.as_bytes()], true),
        (&[b"a=b", ours.as_bytes(), b"c=d"], true),
        (&["name=인근; x=\"q\"".as_bytes(), ours.as_bytes()], true),
        (&[forged.as_bytes(), ours.as_bytes()], true),
        (&[ours.as_bytes(), forged.as_bytes()], true),
        (
            &[b"__Host-session=garbage; __Host-session=", ours.as_bytes()],
            true,
        ),
        (&[nameless.as_bytes()], false),
        (&[lower.as_bytes()], false),
        (&[&[0xff; 9000]], false),
    ];
    for (lines, found) in cases {
        for reversed in [false, true] {
            let mut lines = lines.to_vec();
            if reversed {
                lines.reverse();
            }
            let mut request = Request::get("/me");
            for line in &lines {
                request = request.header(header::COOKIE, *line);
            }
            let answer = app.call(request.body(Body::empty()).unwrap()).await;
            let expected = if found {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
            assert_eq!(answer.status, expected, "{lines:?}");
            assert!(
                answer.set_cookies().is_empty(),
                "a cookie is never cleared on suspicion"
            );
        }
    }
}

/// Two authentic sessions in one request: one of them was planted, and nobody can say which.
///
/// Fails if: the first authentic cookie wins, also where the other is behind more than what is looked at: whoever plants one
/// can plant as many others before it as they like. Or if a cookie that was planted prevents a logout.
#[tokio::test]
async fn two_authentic_cookies_are_no_session() {
    let backend = memory().await;
    let app = App::new(&backend.store);
    let (alice, mallory) = (Browser::new(&app), Browser::new(&app));
    alice.post("/login/alice").await;
    mallory.post("/login/mallory").await;
    let (a, m) = (
        alice.cookie_header().unwrap(),
        mallory.cookie_header().unwrap(),
    );
    let (name, _) = a.split_once('=').unwrap();
    let between = format!("{name}=planted; ").repeat(3);
    let long = format!("other={}; ", "x".repeat(70_000));
    for both in [
        format!("{a}; {m}"),
        format!("{m}; {a}"),
        format!("{m}; {between}{a}"),
        format!("{m}; {long}{a}"),
    ] {
        let request = Request::get("/me").header(header::COOKIE, both);
        let answer = app.call(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let alone = Request::get("/me").header(header::COOKIE, format!("{between}{a}"));
    let alone = app.call(alone.body(Body::empty()).unwrap()).await;
    assert_eq!(alone.status, StatusCode::OK, "nothing was left unseen");
    let twice = Request::get("/me").header(header::COOKIE, format!("{a}; {a}"));
    assert_eq!(
        app.call(twice.body(Body::empty()).unwrap()).await.status,
        StatusCode::OK
    );

    let junk: String = (0..4).map(|n| format!("{name}=planted{n}; ")).collect();
    for before in [String::new(), between, long, junk] {
        let (alice, mallory) = (Browser::new(&app), Browser::new(&app));
        alice.post("/login/alice").await;
        mallory.post("/login/mallory").await;
        let [a, m] = [&alice, &mallory].map(|browser| browser.cookie_header().unwrap());
        let cookies = format!("{m}; {before}{a}");
        let out = Request::post("/logout").header(header::COOKIE, &cookies);
        let out = app.call(out.body(Body::empty()).unwrap()).await;
        let said = (out.status, out.set_cookies().len());
        assert_eq!(said, (StatusCode::OK, 1), "{cookies:.99}");
        for browser in [alice, mallory] {
            assert!(!browser.is_logged_in().await, "{cookies:.99}");
        }
        // Behind cookies that are none of ours alone.
        let alice = Browser::new(&app);
        alice.post("/login/alice").await;
        let cookies = format!("{before}{}", alice.cookie_header().unwrap());
        let out = Request::post("/logout").header(header::COOKIE, &cookies);
        app.call(out.body(Body::empty()).unwrap()).await;
        assert!(!alice.is_logged_in().await, "{cookies:.99}");
    }
}

/// R13 and the budget of round trips.
///
/// Fails if: the cookie's tag is not checked before the store is asked; a load is not shared by the questions of a
/// request; a touch is its own trip.
#[tokio::test]
async fn trips_are_what_was_promised() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    let store = portcullis::Store::connect(&proxy.url()).await.unwrap();
    // A use is recorded every time: the dearest case.
    let layer = SessionLayer::builder(&store, &keys()).touch_interval(std::time::Duration::ZERO);
    let app = App::with(layer);
    let browser = Browser::new(&app);
    proxy.reset_counts();
    let turns = async |what: &str, answer: Answer| {
        let turns = proxy.turns();
        proxy.reset_counts();
        (what.to_owned(), answer.status.as_u16(), turns)
    };
    let forged = Request::get("/me").header(header::COOKIE, "__Host-session=AAAA.BBBB");
    let first = turns("anonymous", browser.get("/me").await).await;
    assert_eq!(first, ("anonymous".to_owned(), 401, 0));
    let answer = app.call(forged.body(Body::empty()).unwrap()).await;
    assert_eq!(turns("forged", answer).await, ("forged".to_owned(), 401, 0));
    assert_eq!(
        turns("login", browser.post("/login/alice").await).await,
        ("login".to_owned(), 200, 1)
    );
    let unused = turns("unused", browser.get("/").await).await;
    assert_eq!(unused, ("unused".to_owned(), 200, 0));
    assert_eq!(
        turns("read", browser.get("/me").await).await,
        ("read".to_owned(), 200, 1)
    );
    let write = turns("write", browser.post("/slow/a/1").await).await;
    assert_eq!(write, ("write".to_owned(), 200, 2));
    let same = turns("same", browser.post("/slow/a/1").await).await;
    assert_eq!(
        same,
        ("same".to_owned(), 200, 1),
        "an equal value is no write"
    );
    assert_eq!(
        turns("renew", browser.post("/renew").await).await,
        ("renew".to_owned(), 200, 1)
    );
    assert_eq!(
        turns("logout", browser.post("/logout").await).await,
        ("logout".to_owned(), 200, 1)
    );
    let texts = proxy
        .log()
        .iter()
        .filter(|command| command.name() == "EVAL")
        .count();
    assert_eq!(
        texts, 0,
        "scripts are loaded with the connection or named by their hash"
    );
}

/// R114: login then logout in one handler says only the last word; a message after a logout is a visitor's session.
#[tokio::test]
async fn a_response_sets_one_cookie_of_the_name() {
    let backend = memory().await;
    let browser = Browser::new(&App::new(&backend.store));
    let line = one_cookie(&browser.post("/in-and-out").await);
    assert!(line.contains("Max-Age=0"), "{line}");
    browser.post("/login/alice").await;
    let answer = browser.post("/out-and-flash").await;
    assert!(!one_cookie(&answer).contains("Max-Age=0"), "{answer:?}");
    assert_eq!(answer.outcome, Some(SaveOutcome::Created));
    assert_eq!(browser.get("/get/flash").await.text, "good bye");
    assert!(!browser.is_logged_in().await);
}

/// R2, R3, R5: refused when built, with the field named.
#[tokio::test]
async fn cookies_that_browsers_drop_cannot_be_built() {
    let store = memory().await.store;
    let builder = || SessionLayer::builder(&store, &keys());
    let field =
        |layer: portcullis::session::SessionLayerBuilder| layer.build().unwrap_err().field();
    assert_eq!(field(builder().cookie_path("/x")), "cookie_name");
    assert_eq!(
        field(builder().insecure_cookie_domain("a.example")),
        "cookie_name"
    );
    for name in ["__host-x", "__SECURE-x", "__Host-x"] {
        builder()
            .cookie_name(name)
            .insecure_plain_http()
            .build()
            .unwrap_err();
    }
    let none = builder().same_site(SameSite::None).insecure_plain_http();
    assert_eq!(field(none), "same_site");
    assert_eq!(field(builder().cookie_name("a b")), "cookie_name");
    builder().insecure_plain_http().build().unwrap();
}

/// R31: the pair of a plain read and its twin; the store is never asked for those who do not ask.
#[tokio::test]
async fn ids_are_stored_hashed_and_no_value_at_rest_is_a_cookie() {
    let backend = redis().await;
    let app = App::new(&backend.store);
    let browser = Browser::new(&app);
    browser.post("/login/alice").await;
    browser.post("/set/a/secret").await;
    let cookie = browser.cookie_header().unwrap();
    let server = backend.server.as_ref().unwrap();
    let (id, tag) = cookie.split_once('=').unwrap().1.split_once('.').unwrap();
    let keys = server.keys("*").await;
    assert!(
        keys.iter()
            .any(|key| key.starts_with("portcullis:session:{")),
        "{keys:?}"
    );
    for key in &keys {
        let dump: Vec<u8> = server.ask(&["DUMP", key]).await;
        for secret in [id, tag] {
            let found = dump
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found && !key.contains(secret), "{key}");
        }
        let stored = key.rsplit(':').next().unwrap();
        for guess in [
            stored.to_owned(),
            format!("{stored}.{tag}"),
            format!("{id}.{stored}"),
        ] {
            let request =
                Request::get("/me").header(header::COOKIE, format!("__Host-session={guess}"));
            let answer = app.call(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
    }
}
