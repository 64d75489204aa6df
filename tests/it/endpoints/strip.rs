//! Headers that only one's own proxies may send.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    routing::get,
};
use portcullis::peer::{ClientIp, StripHeadersBuilder, StripHeadersLayer};
use tokio::net::TcpListener;

use crate::means::http::Client;

/// What the handler sees: the names of headers that speak of the client, and the client's address.
async fn seen(request: Request) -> String {
    let names = request.headers().keys().map(|name| name.as_str());
    let told = names.filter(|name| !["host", "accept", "content-length"].contains(name));
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    let client = request.extensions().get::<ClientIp>();
    let client = client.map(|client| client.addr().to_string());
    format!("{} {}", told.join(","), client.unwrap_or_default())
}

/// A real server: the address of the connection is the kernel's word.
async fn serve(builder: StripHeadersBuilder, connect_info: bool) -> String {
    let strip = builder
        .peer(|extensions| {
            extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|info| info.0.ip())
        })
        .build()
        .unwrap();
    let app = Router::new().route("/", get(seen)).layer(strip);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        if connect_info {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, app).await
        } else {
            axum::serve(listener, app).await
        }
    });
    format!("http://{address}/")
}

const LIES: [(&str, &str); 9] = [
    ("x-forwarded-for", "6.6.6.6, 203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-user", "admin"),
    ("x_forwarded_for", "6.6.6.6"),
    ("forwarded", "for=6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
    ("x-user-id", "admin"),
    ("x-tenant-id", "acme"),
    ("x-username", "mine"),
];

async fn ask(url: &str) -> String {
    Client::new().get_with(url, &LIES).await.text()
}

// Fails if: anybody can say who they are, a spelling slips through, or what says nothing about the client goes too.
#[tokio::test]
async fn nobody_is_believed_by_default() {
    let url = serve(StripHeadersLayer::builder().header("x-tenant-*"), true).await;
    assert_eq!(ask(&url).await, "x-username 127.0.0.1");
    let elsewhere = StripHeadersLayer::builder().trusted_proxy("10.0.0.0/8");
    let url = serve(elsewhere, true).await;
    assert_eq!(ask(&url).await, "x-tenant-id,x-username 127.0.0.1");
}

// Fails if: a proxy's word about the client is lost, what it does not write is believed because it came through it, or a
// client chooses its own address.
#[tokio::test]
async fn a_listed_proxy_is_believed_for_what_it_writes() {
    let proxy = || StripHeadersLayer::builder().trusted_proxy("127.0.0.0/8");
    let url = serve(proxy(), true).await;
    assert_eq!(
        ask(&url).await,
        "x-forwarded-for,x-tenant-id,x-username 203.0.113.7"
    );
    let url = serve(proxy().kept("X-Forwarded-Proto"), true).await;
    assert_eq!(
        ask(&url).await,
        "x-forwarded-proto,x-tenant-id,x-username 127.0.0.1"
    );
}

// Fails if: a proxy is trusted and, for want of an address, everybody or nobody is taken for it.
#[tokio::test]
async fn a_missing_address_is_a_fault_of_the_setup() {
    let url = serve(
        StripHeadersLayer::builder().trusted_proxy("127.0.0.1"),
        false,
    )
    .await;
    let answer = Client::new().get(&url).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains(r#""code":"peer_missing""#));
    let url = serve(StripHeadersLayer::builder(), false).await;
    assert_eq!(ask(&url).await, "x-tenant-id,x-username ");
}

// Fails if: a typing error leaves a hole.
#[test]
fn settings_are_checked_when_built() {
    let builder = StripHeadersLayer::builder;
    for (wrong, field) in [
        (builder().header("x user"), "header"),
        (builder().header("*"), "header"),
        (builder().kept(""), "kept"),
        (builder().trusted_proxy("10.0.0.1/8"), "trusted_proxy"),
        (builder().trusted_proxy("proxy.internal"), "trusted_proxy"),
    ] {
        assert_eq!(wrong.build().unwrap_err().field(), field);
    }
}
