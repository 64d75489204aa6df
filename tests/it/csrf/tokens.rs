//! Tokens over real servers: what they are bound to, and when they end.

use bytes::Bytes;
use http::Method;
use portcullis::{Clock, KeyRing, Store, csrf::CsrfLayer};

use super::site::{EVERYWHERE, On, SECRET, Site, keys};
use crate::means::http::{Answer, Client};

const PRE: &str = "__Host-csrf";
const SESSION: &str = "__Host-session";

async fn site(on: On) -> Site {
    Site::start(on, CsrfLayer::new(&keys()), &Store::memory()).await
}

/// A POST of a program: its cookies, a token, and nothing that says who caused it.
async fn post(client: &Client, site: &Site, path: &str, token: &str) -> Answer {
    let headers = [("x-csrf-token", token)];
    client
        .request(Method::POST, &site.at(path), &headers, Bytes::new())
        .await
}

async fn token(client: &Client, site: &Site) -> String {
    client.get(&site.at("/token")).await.text()
}

fn refused(answer: &Answer, code: &str) {
    let body: serde_json::Value = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &body["code"]),
        (403, &code.into()),
        "{body}"
    );
}

/// R46, R50: a visitor's token is good for the login form, and every step after it has its own.
// Fails if: the binding is not asked for anew at each token, the pre-session survives a login, or the token binds to the
// login instead of the id.
#[tokio::test]
async fn r46_a_token_ends_with_login_renewal_and_logout() {
    for on in EVERYWHERE {
        let site = site(on).await;
        let client = Client::new();
        let visitor = token(&client, &site).await;
        assert!(client.cookie(PRE).is_some() && client.cookie(SESSION).is_none());
        assert_eq!(post(&client, &site, "/echo", &visitor).await.status, 200);
        refused(&client.post(&site.at("/login")).await, "token_missing");
        refused(&post(&client, &site, "/login", "x").await, "token_wrong");
        assert_eq!(site.calls(), 2, "{on:?}");

        assert_eq!(post(&client, &site, "/login", &visitor).await.status, 200);
        assert!(client.cookie(PRE).is_none(), "removed at login");
        refused(
            &post(&client, &site, "/echo", &visitor).await,
            "token_wrong",
        );
        let before = token(&client, &site).await;
        assert_eq!(post(&client, &site, "/renew", &before).await.status, 200);
        refused(&post(&client, &site, "/echo", &before).await, "token_wrong");
        let after = token(&client, &site).await;
        assert_eq!(post(&client, &site, "/logout", &after).await.status, 200);
        assert!(client.cookies().is_empty());
        let next = token(&client, &site).await;
        for old in [&visitor, &before, &after] {
            refused(&post(&client, &site, "/echo", old).await, "token_wrong");
        }
        assert_eq!(post(&client, &site, "/echo", &next).await.status, 200);
    }
}

/// R46 within one request.
// Fails if: the token is made when the request comes in.
#[tokio::test]
async fn r46_take_the_token_after_the_login() {
    let site = site(On::Axum).await;
    for (path, good) in [("/login-token", true), ("/token-login", false)] {
        let client = Client::new();
        let shown = client.post(&site.at(path)).await.text();
        let status = post(&client, &site, "/echo", &shown).await.status;
        assert_eq!(status.is_success(), good, "{path}");
        assert!(client.cookie(PRE).is_none(), "{path}");
    }
}

/// A visitor's session must not void what other tabs show; a login must.
// Fails if: the pre-session is not attached to a session that is made (`token_then_visit`), or is attached at a login.
#[tokio::test]
async fn a_visitor_who_gets_a_session_keeps_the_tokens() {
    for on in EVERYWHERE {
        let site = site(on).await;
        for path in ["/visit-token", "/token-visit"] {
            let client = Client::new();
            let shown = client.get(&site.at(path)).await.text();
            assert!(client.cookie(SESSION).is_some());
            assert_eq!(
                post(&client, &site, "/echo", &shown).await.status,
                200,
                "{path}"
            );
        }
        let client = Client::new();
        let shown = token(&client, &site).await;
        let plain = client.clone_cookies();
        client.get(&site.at("/visit")).await;
        assert!(client.cookie(SESSION).is_some());
        assert_eq!(post(&client, &site, "/echo", &shown).await.status, 200);
        assert_eq!(
            post(&client, &site, "/echo", &token(&client, &site).await)
                .await
                .status,
            200
        );
        // The cookie as it was before is attached to nothing.
        let attached = client.cookie(PRE).unwrap();
        client.set_cookie(PRE, &plain.cookie(PRE).unwrap());
        refused(&post(&client, &site, "/echo", &shown).await, "token_wrong");
        // And the attached one is no visitor's.
        plain.set_cookie(PRE, &attached);
        refused(&post(&plain, &site, "/echo", &shown).await, "token_wrong");
        client.set_cookie(PRE, &attached);
        assert_eq!(post(&client, &site, "/login", &shown).await.status, 200);
        assert!(client.cookie(PRE).is_none());
        refused(&post(&client, &site, "/echo", &shown).await, "token_wrong");
        client.set_cookie(PRE, &attached);
        refused(&post(&client, &site, "/echo", &shown).await, "token_wrong");
    }
}

// Fails if: a logout leaves the cookie that was attached to the session.
#[tokio::test]
async fn a_logout_ends_an_attached_pre_session() {
    let site = site(On::Hyper).await;
    let client = Client::new();
    let shown = client.get(&site.at("/token-visit")).await.text();
    assert_eq!(client.cookies().len(), 2);
    assert_eq!(post(&client, &site, "/logout", &shown).await.status, 200);
    assert!(client.cookies().is_empty());
}

/// A page that follows an expired session and begins the next one.
// Fails if: the token binds to the id that the request came with.
#[tokio::test]
async fn a_token_shown_after_a_change_is_of_the_session_to_come() {
    let clock = Clock::settable(1_000_000);
    let store = Store::builder().clock(clock.clone()).memory();
    let site = Site::start(On::Axum, CsrfLayer::new(&keys()), &store).await;
    let client = Client::new();
    client.get(&site.at("/visit")).await;
    let dead = client.cookie(SESSION).unwrap();
    clock.advance(std::time::Duration::from_secs(3_601));
    let shown = client.get(&site.at("/visit-token")).await.text();
    assert_ne!(client.cookie(SESSION).unwrap(), dead);
    assert_eq!(post(&client, &site, "/echo", &shown).await.status, 200);
}

/// Which of two tokens was meant?
// Fails if: the first of several headers is taken.
#[tokio::test]
async fn a_token_comes_once() {
    let site = site(On::Axum).await;
    let client = Client::new();
    let good = token(&client, &site).await;
    for other in ["x", &good] {
        let headers = [("x-csrf-token", good.as_str()), ("x-csrf-token", other)];
        let answer = client
            .request(Method::POST, &site.at("/echo"), &headers, Bytes::new())
            .await;
        refused(&answer, "token_wrong");
    }
}

/// R47: what a sibling domain can plant is a cookie of its own and the token that goes with it.
// Fails if: a plain pre-session counts beside a session, or the first of two authentic cookies is taken.
#[tokio::test]
async fn r47_planted_cookies_do_not_help() {
    for on in EVERYWHERE {
        let site = site(on).await;
        let (victim, attacker) = (Client::new(), Client::new());
        let theirs = token(&attacker, &site).await;
        let planted = attacker.cookie(PRE).unwrap();

        // Over the session of a victim, whose own token goes on working.
        assert_eq!(victim.post(&site.at("/login")).await.status, 200);
        let session = victim.cookie(SESSION).unwrap();
        let own = token(&victim, &site).await;
        refused(&post(&victim, &site, "/echo", &theirs).await, "token_wrong");
        victim.set_cookie(PRE, &planted);
        refused(&post(&victim, &site, "/echo", &theirs).await, "token_wrong");
        assert_eq!(post(&victim, &site, "/echo", &own).await.status, 200);

        // Beside a visitor's own, with more between them than is looked at or without.
        let visitor = Client::new();
        token(&visitor, &site).await;
        for between in ["".to_owned(), format!("{PRE}=x; ").repeat(3)] {
            let own = visitor.cookie(PRE).unwrap();
            let both = format!("{PRE}={planted}; {between}{PRE}={own}");
            let headers = [("cookie", both.as_str()), ("x-csrf-token", &theirs)];
            let answer = visitor
                .request(Method::POST, &site.at("/echo"), &headers, Bytes::new())
                .await;
            refused(&answer, "token_wrong");
        }

        // A session of the attacker's beside the victim's: the request is nobody's.
        assert_eq!(post(&attacker, &site, "/login", &theirs).await.status, 200);
        let of_their_session = token(&attacker, &site).await;
        let both = format!(
            "{SESSION}={}; {SESSION}={session}",
            attacker.cookie(SESSION).unwrap()
        );
        for token in [&of_their_session, &own] {
            let headers = [("cookie", both.as_str()), ("x-csrf-token", token.as_str())];
            let answer = victim
                .request(Method::POST, &site.at("/echo"), &headers, Bytes::new())
                .await;
            refused(&answer, "token_wrong");
        }
        // A forged session cookie is none, and its bearer a visitor.
        attacker.set_cookie(SESSION, &session.replace('.', "x"));
        refused(
            &post(&attacker, &site, "/echo", &of_their_session).await,
            "token_wrong",
        );
    }
}

/// R49.
// Fails if: the mask is left out or fixed.
#[tokio::test]
async fn r49_each_token_is_another_text_and_all_are_good() {
    let site = site(On::Hyper).await;
    let client = Client::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let token = token(&client, &site).await;
        assert_eq!(post(&client, &site, "/echo", &token).await.status, 200);
        seen.insert(token);
    }
    assert_eq!(seen.len(), 8);
}

/// R114, R117 and the caches: one cookie per name, small ones, and nobody keeps a page with a token.
// Fails if: the cookie is appended instead of put, lacks an attribute, or is set where no token was shown.
#[tokio::test]
async fn the_cookie_and_what_goes_with_it() {
    for on in EVERYWHERE {
        let site = site(on).await;
        let client = Client::new();
        let quiet = client.get(&site.at("/")).await;
        assert_eq!(quiet.set_cookies().len(), 0, "nothing was shown");
        assert_eq!(quiet.header("cache-control"), "");
        let page = client.get(&site.at("/token-visit")).await;
        let lines = page.set_cookies();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let pre = lines.iter().find(|line| line.starts_with(PRE)).unwrap();
        for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(pre.contains(attribute), "{pre}");
        }
        assert!(!pre.contains("Domain") && !pre.contains("Max-Age"), "{pre}");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("vary"), "cookie");
        let cookies = client.cookies();
        let length: usize = cookies
            .iter()
            .map(|(name, value)| name.len() + value.len() + 3)
            .sum();
        assert!(length <= 300, "{length} bytes of cookies");
        let again = client.get(&site.at("/token")).await;
        assert_eq!(again.set_cookies().len(), 0, "as it was");
        assert_eq!(again.header("cache-control"), "no-store");
        assert_eq!(again.header("vary"), "cookie");
        assert_eq!(
            client.get(&site.at("/names")).await.text(),
            "x-csrf-token csrf_token"
        );
    }
}

/// Two instances with one secret are one site; a new secret is taken over by both.
// Fails if: a key is made per process or per layer, or only the signing key verifies.
#[tokio::test]
async fn instances_take_each_others_tokens() {
    let store = Store::memory();
    let next = "the next secret of these tests, long enough";
    let rolled = KeyRing::new(next).unwrap().verify_with(SECRET).unwrap();
    let one = site_with(&keys(), &store).await;
    let two = site_with(&keys(), &store).await;
    let three = site_with(&rolled, &store).await;
    let other = site_with(&KeyRing::new(next).unwrap(), &store).await;
    let client = Client::new();
    let visitor = token(&client, &one).await;
    for site in [&one, &two, &three] {
        assert_eq!(post(&client, site, "/echo", &visitor).await.status, 200);
    }
    refused(
        &post(&client, &other, "/echo", &visitor).await,
        "token_wrong",
    );
    assert_eq!(post(&client, &two, "/login", &visitor).await.status, 200);
    let user = token(&client, &two).await;
    for site in [&one, &two, &three] {
        assert_eq!(post(&client, site, "/echo", &user).await.status, 200);
    }
    refused(&post(&client, &other, "/echo", &user).await, "token_wrong");
}

async fn site_with(keys: &KeyRing, store: &Store) -> Site {
    Site::start_with(On::Axum, CsrfLayer::new(keys), store, keys).await
}
