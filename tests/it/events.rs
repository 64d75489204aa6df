//! What is told of a run, and what is not: one event each for what a monitor counts, and no secret in any of them.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
    routing::{get, post},
};
use portcullis::{
    Rejection, Store,
    blacklist::Blacklist,
    csrf::{CsrfLayer, CsrfToken},
    cutoff::Cutoffs,
    session::{Login, Session, SessionLayer},
};

use crate::{
    refresh::kit::{Events, MINUTE, SECRET as SIGNING, benches},
    session::bench::{Answer, App, Browser, SECRET, keys},
};

async fn login(session: Session) -> Result<(), Rejection> {
    session.login(Login::new("alice")).await?;
    Ok(())
}

async fn logout(session: Session) -> Result<(), Rejection> {
    Ok(session.destroy().await?)
}

async fn renew(session: Session) -> Result<(), Rejection> {
    Ok(session.renew().await?)
}

async fn page(token: CsrfToken) -> Result<String, Rejection> {
    Ok(token.token().await?)
}

/// A service with pages that show a token.
fn forms(store: &Store) -> App {
    let router = Router::new()
        .route("/page", get(page))
        .route("/login", post(login))
        .route("/renew", post(renew))
        .route("/logout", post(logout))
        .layer(CsrfLayer::new(&keys()))
        .layer(SessionLayer::new(store, &keys()));
    App::of(router)
}

async fn send(app: &App, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.call(request.body(Body::empty()).unwrap()).await
}

/// R131: whoever counts logins, refusals and thefts by their events counts each once, whatever layers it went through.
///
/// Fails if: one of these happens without an event or with two, or an event has no name.
#[tokio::test]
async fn r131_what_a_monitor_counts_is_told_once() {
    for bench in benches().await {
        let (node, name) = (&bench.one, bench.name);
        let events = Events::capture();
        let told = |what: &str, expected: &[&str]| {
            assert_eq!(events.take_names(), expected, "{name}: {what}");
        };
        let seat = node.sign_in("alice").await;
        told("a login", &["session.login"]);
        let other = node.sign_in("alice").await;
        let used = node.issue_for("alice", &seat).await.unwrap();
        let kept = node.issue_for("alice", &other).await.unwrap();
        let cookie = seat.browser.cookie_header().unwrap();
        events.take_names();

        assert_eq!(node.access(&used).await, 200);
        assert_eq!(seat.browser.get("/me").await.status, 200);
        node.rotate(used.refresh()).await.unwrap();
        told("what is as it should be", &[]);

        let forged = [("cookie", &*format!("{}A", &cookie[..cookie.len() - 1]))];
        send(&node.app, Method::GET, "/me", &forged).await;
        told("a forged session cookie", &["session.forged"]);
        let twice = [("cookie", &*format!("{}; {cookie}", forged[0].1))];
        send(&node.app, Method::GET, "/me", &twice).await;
        told("one that was planted beside the user's", &[]);

        node.bearer(&format!("{}A", used.access().token())).await;
        told("a token that fails", &["jwt.refused"]);
        node.rotate(&format!("{}A", used.refresh()))
            .await
            .unwrap_err();
        told("a forged refresh token", &["refresh.forged"]);

        let site = forms(&node.store);
        let cross = [("sec-fetch-site", "cross-site"), ("cookie", &*cookie)];
        assert_eq!(
            send(&site, Method::POST, "/logout", &cross).await.status,
            403
        );
        told("a request that another site caused", &["csrf.denied"]);

        bench.advance(MINUTE).await;
        node.rotate(used.refresh()).await.unwrap_err();
        told("a used refresh token", &["refresh.reused"]);
        node.rotate(used.refresh()).await.unwrap_err();
        told("once more", &[]);
        assert_eq!(node.access(&used).await, 401);
        told("an access token that ended with it", &["blacklist.refused"]);

        assert_eq!(other.browser.post("/logout").await.status, 200);
        told("a logout", &["session.logout"]);
        assert_eq!(node.access(&kept).await, 401);
        told("an access token after it", &["blacklist.refused"]);

        let third = node.sign_in("alice").await;
        events.take_names();
        node.devices.revoke("", "alice", &third.sid).await.unwrap();
        told("a device that is revoked", &["device.revoked"]);
        node.devices.revoke_all("", "alice").await.unwrap();
        told("all devices", &["devices.revoked"]);
        Blacklist::new(&node.store)
            .revoke_session("x")
            .await
            .unwrap();
        told("a login by its sid", &["session.revoked"]);
        Cutoffs::new(&node.store).tenant("acme").await.unwrap();
        told("a tenant", &["cutoff.raised"]);
        let fresh = node.issue("bob").await;
        told("a family", &["refresh.issued"]);
        node.rotation.revoke(fresh.refresh()).await.unwrap();
        told("a family that is revoked", &["refresh.revoked"]);

        let Some(server) = &bench.server else {
            continue;
        };
        let late = node.issue("bob").await;
        server.kill();
        events.take_names();
        assert_eq!(node.access(&late).await, 503);
        let names = events.take_names();
        let outages = names.iter().filter(|name| *name == "blacklist.outage");
        assert_eq!(outages.count(), 1, "{names:?}");
    }
}

/// The parts of what was handed out that would be worth something to whoever reads a log.
fn parts(secret: &str) -> impl Iterator<Item = &str> {
    let value = secret.split_once('=').map_or(secret, |(_, value)| value);
    // The header of an access token is the same for all of them, and the name of a family is its sid, which is no secret.
    value.split('.').filter(|part| part.len() > 8)
}

/// R6, R29: a browser and a client through a login, renewals, refreshes, refusals, a theft, an outage and a logout, with every
/// event of every crate written down.
///
/// Fails if: an event holds a cookie, a token, a part of one or a key; or a session id is in a body or another header.
#[tokio::test]
async fn r6_r29_no_log_of_a_run_holds_a_secret() {
    for bench in benches().await {
        let events = Events::capture_all();
        let site = forms(&bench.one.store);
        let browser = Browser::new(&site);
        let (mut secrets, mut outside) = (vec![SECRET.to_owned()], String::new());
        for (method, path) in [
            (Method::GET, "/page"),
            (Method::POST, "/login"),
            (Method::GET, "/page"),
            (Method::POST, "/renew"),
            (Method::GET, "/page"),
            (Method::POST, "/logout"),
            (Method::POST, "/login"),
        ] {
            let cookies = browser.cookie_header().unwrap_or_default();
            let shown = browser.get("/page").await.text;
            let headers = [("cookie", &*cookies), ("x-csrf-token", &*shown)];
            // A wrong token, another site, a forged cookie; then what the user means.
            let wrong = [
                ("cookie", &*cookies),
                ("x-csrf-token", &*secrets[0].replace(' ', "-")),
            ];
            send(&site, Method::POST, path, &wrong).await;
            send(
                &site,
                Method::POST,
                path,
                &[headers[0], ("sec-fetch-site", "cross-site")],
            )
            .await;
            send(
                &site,
                Method::GET,
                "/page",
                &[("cookie", &format!("{cookies}A"))],
            )
            .await;
            let headers = [("sec-fetch-site", "same-origin"), headers[1]];
            let answer = match method {
                Method::GET => browser.get(path).await,
                _ => browser.post_with(path, &headers).await,
            };
            assert_eq!(answer.status, 200, "{}: {path}", bench.name);
            let jar = browser.cookie_header().unwrap_or_default();
            secrets.extend(jar.split("; ").map(str::to_owned));
            if path != "/page" {
                outside.push_str(&answer.text);
            }
            for (name, value) in &answer.headers {
                if name != header::SET_COOKIE {
                    outside.push_str(value.to_str().unwrap());
                }
            }
            secrets.push(shown);
        }
        let seat = bench.one.sign_in("alice").await;
        let first = bench.one.issue_for("alice", &seat).await.unwrap();
        let next = bench.one.rotate(first.refresh()).await.unwrap();
        for token in [
            first.access().token(),
            next.access().token(),
            first.refresh(),
        ] {
            bench.one.bearer(token).await;
        }
        bench.advance(MINUTE).await;
        bench.one.rotate(first.refresh()).await.unwrap_err();
        bench.one.access(&next).await;
        if let Some(server) = &bench.server {
            server.kill();
            for _ in 0..2 {
                bench.one.access(&next).await;
                seat.browser.get("/me").await;
                browser
                    .post_with("/logout", &[("sec-fetch-site", "same-origin")])
                    .await;
                bench.one.rotate(next.refresh()).await.unwrap_err();
            }
        }
        for secret in [&first, &next] {
            secrets.extend([
                secret.refresh().to_owned(),
                secret.access().token().to_owned(),
            ]);
        }
        secrets.push(seat.browser.cookie_header().unwrap());
        secrets.push(String::from_utf8(SIGNING.to_vec()).unwrap());
        let text = events.text();
        for name in [
            "session.login",
            "csrf.denied",
            "session.forged",
            "refresh.reused",
        ] {
            assert!(text.contains(name), "{}: {name}", bench.name);
        }
        for secret in &secrets {
            for part in parts(secret) {
                assert!(!text.contains(part), "{}: {part}", bench.name);
            }
        }
        let sessions = secrets
            .iter()
            .filter(|secret| secret.starts_with("__Host-session"));
        for part in sessions.flat_map(|secret| parts(secret)) {
            assert!(!outside.contains(part), "{}: {part}", bench.name);
        }
    }
}
