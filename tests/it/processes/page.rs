//! The page of the axum example, used as a browser does.

use super::{COOKIE, Pair};
use crate::means::http::Client;

// Fails if: a form gets the answer of a program, or a redirect that repeats the POST (307).
#[tokio::test]
async fn the_page_signs_in_by_a_form() {
    let pair = Pair::start().await;
    let browser = Client::new();
    let page = async || pair.two.get(&browser, "/").await;
    assert!(
        page()
            .await
            .text()
            .contains(r#"<form method="post" action="/login">"#)
    );

    let url = pair.one.app.url("/login");
    let wrong = [("username", "alice"), ("password", "looking glass")];
    let answer = browser.post_form(&url, &wrong).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (401, "text/html; charset=utf-8")
    );
    assert!(answer.text().contains("wrong user name or password"));
    assert!(browser.cookies().is_empty());

    let right = [("username", "alice"), ("password", "wonderland")];
    let answer = browser.post_form(&url, &right).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (303, "/")
    );
    assert!(
        page()
            .await
            .text()
            .contains("Signed in as <strong>alice</strong>")
    );
}

// Fails if: as above, or the cookie stays.
#[tokio::test]
async fn the_buttons_sign_out() {
    let pair = Pair::start().await;
    let browser = Client::new();
    let right = [("username", "bob"), ("password", "builder")];
    for path in ["/logout", "/logout-everywhere"] {
        browser.post_form(&pair.one.app.url("/login"), &right).await;
        let page = pair.two.get(&browser, "/").await.text();
        assert!(page.contains(&format!(r#"<form method="post" action="{path}">"#)));
        let answer = browser.post_form(&pair.one.app.url(path), &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (303, "/")
        );
        assert_eq!(browser.cookie(COOKIE), None);
        let page = pair.two.get(&browser, "/").await.text();
        assert!(page.contains("Not signed in"));
    }
}

// Fails if: the page took "the store cannot say" for "nobody is signed in".
#[tokio::test]
async fn the_page_of_a_user_never_says_not_signed_in_during_an_outage() {
    let pair = Pair::start().await;
    let browser = super::signed_in(&pair.one, "alice").await;
    pair.redis.kill();
    let answer = pair.one.get(&browser, "/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("You are not logged out"));
    assert!(browser.cookie(COOKIE).is_some());
    assert_eq!(pair.one.get(&Client::new(), "/").await.status, 200);
}
