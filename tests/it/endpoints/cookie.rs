//! The refresh token in a cookie, as a page has it.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Bench, error, refused};
use crate::means::http::{Answer, Client};

const NAME: &str = "refresh";

async fn post(bench: &Bench, page: &Client, path: &str) -> Answer {
    page.post_json(&bench.url(path), &json!({})).await
}

/// A page whose user is signed in, and its refresh token.
async fn page(bench: &Bench) -> (Client, String) {
    let page = Client::new();
    assert_eq!(post(bench, &page, "/cookie/login").await.status, 200);
    let token = page.cookie(NAME).expect("a cookie");
    (page, token)
}

fn without_cookie(answer: &Answer) {
    assert!(answer.set_cookies().is_empty(), "{:?}", answer.headers);
}

// Fails if: a script could read the refresh token, other sites could send it, or it did not rotate.
#[tokio::test]
async fn the_token_is_in_the_cookie_and_nowhere_else() {
    for bench in Bench::both().await {
        let (page, first) = page(&bench).await;
        let answer = post(&bench, &page, "/cookie/refresh").await;
        assert_eq!(answer.status, 200, "{}", bench.name);
        let [cookie] = answer.set_cookies()[..] else {
            panic!("{:?}", answer.headers);
        };
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=1209"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let body: Value = answer.json();
        assert!(body.get("refresh_token").is_none());
        assert!(
            bench
                .is_active(body["access_token"].as_str().unwrap())
                .await
        );
        assert_ne!(page.cookie(NAME), Some(first));
    }
}

// Fails if: browsers would send it over plain http by default, or the name's prefix is lost.
#[tokio::test]
async fn by_default_it_is_a_host_cookie() {
    use portcullis::endpoint::RefreshEndpoint;
    let bench = Bench::memory_with(|rotation| rotation).await;
    let endpoint = RefreshEndpoint::in_cookie(&bench.rotation).build().unwrap();
    let answer = endpoint.answer(&bench.login("alice").await);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-refresh=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    let wrong = RefreshEndpoint::in_cookie(&bench.rotation)
        .cookie_path("/token")
        .build();
    assert_eq!(wrong.unwrap_err().field(), "cookie_name");
    let wrong = RefreshEndpoint::in_cookie(&bench.rotation)
        .cookie_name("__Host-r")
        .insecure_plain_http()
        .build();
    assert_eq!(wrong.unwrap_err().field(), "cookie_name");
    let right = RefreshEndpoint::in_cookie(&bench.rotation)
        .cookie_name("__Secure-refresh")
        .cookie_path("/token");
    assert!(right.build().is_ok());
}

// Fails if: whoever lost a race, presented a token of an ended login, or met an outage, clears a cookie that by now may be
// another tab's (REQUIREMENTS 103).
#[tokio::test]
async fn no_refusal_clears_the_cookie() {
    for bench in Bench::both_with(portcullis::refresh::RotationBuilder::strict).await {
        let (page, first) = page(&bench).await;
        let late_tab = Client::new();
        late_tab.set_cookie(NAME, &first);
        assert_eq!(post(&bench, &page, "/cookie/refresh").await.status, 200);
        let held = page.cookie(NAME);
        for _ in 0..2 {
            let lost = post(&bench, &late_tab, "/cookie/refresh").await;
            assert_eq!(error(&lost), refused("invalid_grant"), "{}", bench.name);
            without_cookie(&lost);
        }
        late_tab.set_cookie(NAME, "forged");
        without_cookie(&post(&bench, &late_tab, "/cookie/refresh").await);
        if bench.outage().await {
            for path in ["/cookie/refresh", "/cookie/logout"] {
                let unknown = post(&bench, &page, path).await;
                assert_eq!(unknown.status, 503);
                without_cookie(&unknown);
            }
            assert_eq!(page.cookie(NAME), held);
        }
    }
}

// Fails if: a logout leaves the cookie or the login.
#[tokio::test]
async fn a_logout_removes_the_cookie() {
    for bench in Bench::both().await {
        let (page, token) = page(&bench).await;
        let access: Value = post(&bench, &page, "/cookie/refresh").await.json();
        assert_eq!(post(&bench, &page, "/cookie/logout").await.status, 204);
        assert_eq!(page.cookie(NAME), None, "{}", bench.name);
        assert!(
            !bench
                .is_active(access["access_token"].as_str().unwrap())
                .await
        );
        page.set_cookie(NAME, &token);
        let answer = post(&bench, &page, "/cookie/refresh").await;
        assert_eq!(error(&answer), refused("invalid_grant"));
        // Twice, and without a cookie at all, is fine.
        assert_eq!(
            post(&bench, &Client::new(), "/cookie/logout").await.status,
            204
        );
    }
}

// Fails if: a page of a sibling subdomain can rotate or log out by a form or by a request without a body.
#[tokio::test]
async fn what_a_page_can_send_without_being_asked_is_refused() {
    for bench in Bench::both().await {
        let (page, token) = page(&bench).await;
        for path in ["/cookie/refresh", "/cookie/logout"] {
            let url = bench.url(path);
            assert_eq!(page.post(&url).await.status, 415);
            assert_eq!(page.post_form(&url, &[("a", "b")]).await.status, 415);
            let text = [("content-type", "text/plain")];
            let answer = page
                .request(Method::POST, &url, &text, Bytes::from_static(b"{}"))
                .await;
            assert_eq!(answer.status, 415, "{}", bench.name);
            assert_eq!(page.get(&url).await.status, 405);
        }
        assert_eq!(page.cookie(NAME), Some(token));
        assert_eq!(post(&bench, &page, "/cookie/refresh").await.status, 200);
    }
}

// Fails if: a token in the body is taken beside the cookie, a planted cookie keeps the right one from being found, or of
// two right ones one is chosen, be the other behind more than what is looked at; or these keep a user signed in.
#[tokio::test]
async fn one_request_has_one_token() {
    for bench in Bench::both().await {
        let (page, token) = page(&bench).await;
        let url = bench.url("/cookie/refresh");
        let both = page
            .post_json(&url, &json!({ "refresh_token": token }))
            .await;
        assert_eq!(error(&both), refused("invalid_request"));
        let with = async |cookie: &str| {
            let headers = [("content-type", "application/json"), ("cookie", cookie)];
            page.request(Method::POST, &url, &headers, Bytes::new())
                .await
        };
        let other = bench.login("mallory").await;
        let two = with(&format!("refresh={}; refresh={token}", other.refresh())).await;
        assert_eq!(error(&two), refused("invalid_request"), "{}", bench.name);
        let between = "refresh=planted; ".repeat(3);
        let far = with(&format!(
            "refresh={}; {between}refresh={token}",
            other.refresh()
        ))
        .await;
        assert_eq!(error(&far), refused("invalid_request"), "{}", bench.name);
        let planted = with(&format!("refresh=planted; refresh={token}")).await;
        assert_eq!(planted.status, 200);
        assert_eq!(error(&with("other=1").await), refused("invalid_grant"));

        // A logout ends whatever was sent: nobody prevents it by cookies beside the user's.
        let junk: String = (0..4).map(|n| format!("refresh=planted{n}; ")).collect();
        let planted = format!("refresh={}; ", other.refresh());
        let hidden = format!("{planted}{between}");
        for before in ["", &planted, &hidden, &junk] {
            let token = bench.login("alice").await;
            let cookies = format!("{before}refresh={}", token.refresh());
            let headers = [
                ("content-type", "application/json"),
                ("cookie", cookies.as_str()),
            ];
            let url = bench.url("/cookie/logout");
            let answer = Client::new()
                .request(Method::POST, &url, &headers, Bytes::new())
                .await;
            assert_eq!(answer.status, 204, "{}: {before}", bench.name);
            assert_eq!(
                error(&with(&format!("refresh={}", token.refresh())).await),
                refused("invalid_grant"),
                "{}: {before}",
                bench.name
            );
        }
    }
}
