use std::convert::Infallible;

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, header},
    routing::{get, post},
};
use serde_json::json;

use crate::means::http::Client;

/// Sets and removes a cookie, tells the cookies it was sent, and echoes bodies.
async fn serve() -> String {
    let cookies = async |headers: HeaderMap| {
        let line = headers
            .get(header::COOKIE)
            .map(|value| value.to_str().unwrap().to_owned());
        line.unwrap_or_default()
    };
    let app = Router::new()
        .route(
            "/set",
            get(async || [(header::SET_COOKIE, "id=1; Path=/; HttpOnly; Max-Age=60")]),
        )
        .route(
            "/unset",
            get(async || [(header::SET_COOKIE, "id=; Path=/; Max-Age=0")]),
        )
        .route("/cookies", get(cookies))
        .route("/echo", post(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    url
}

async fn echo(request: Request) -> Result<String, Infallible> {
    let kind = request.headers()[header::CONTENT_TYPE]
        .to_str()
        .unwrap()
        .to_owned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap();
    Ok(format!("{kind} {}", String::from_utf8_lossy(&body)))
}

#[tokio::test]
async fn cookies_are_kept_sent_shared_and_removed() {
    let url = serve().await;
    let cookies = format!("{url}/cookies");
    let client = Client::new();
    assert_eq!(client.get(&cookies).await.text(), "");
    assert_eq!(
        client.get(&format!("{url}/set")).await.set_cookies().len(),
        1
    );
    client.set_cookie("a", "b");
    assert_eq!(client.get(&cookies).await.text(), "a=b; id=1");
    let thief = client.clone_cookies();
    assert_eq!(client.get(&format!("{url}/unset")).await.status, 200);
    assert_eq!(client.get(&cookies).await.text(), "a=b");
    assert_eq!(
        client
            .get_with(&cookies, &[("Cookie", "own=1")])
            .await
            .text(),
        "own=1"
    );
    assert_eq!(thief.get(&cookies).await.text(), "a=b; id=1");
}

#[tokio::test]
async fn bodies_go_out_as_json_and_as_forms() {
    let url = format!("{}/echo", serve().await);
    let client = Client::new();
    let json = client.post_json(&url, &json!({ "a": 1 })).await;
    assert_eq!(json.text(), r#"application/json {"a":1}"#);
    let form = client.post_form(&url, &[("a", "1&2")]).await;
    assert_eq!(form.text(), "application/x-www-form-urlencoded a=1%262");
}
