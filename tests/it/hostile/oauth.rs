//! Refresh tokens and the endpoints around them: a byte that says which, a line with the content type, a line with the
//! cookies, and the body.

use std::str;

use bytes::Bytes;
use http::{Request, Response, header};
use portcullis::{
    endpoint::{
        Client, Endpoint, IntrospectionEndpoint, JwksEndpoint, RefreshEndpoint, RevocationEndpoint,
    },
    refresh::RefreshRequest,
};

use super::{
    forge::{carries, expand},
    means::block_on,
    world::*,
};

pub const SEEDS: &[&[u8]] = &[
    b"\x00application/x-www-form-urlencoded\n\ngrant_type=refresh_token&refresh_token=\x06&client_id=web",
    b"\x00application/json\n\n{\"refresh_token\":\"\x06\",\"client_id\":\"web\",\"scope\":\"read\",\"resource\":[\"https://a.example\"]}",
    b"\x01application/json\n__Host-refresh=\x06; a=b\n{\"client_id\":\"web\"}",
    b"\x02application/json\n__Host-refresh=\x06\n",
    b"\x03application/x-www-form-urlencoded\n\nrefresh_token=\x06",
    b"\x04application/x-www-form-urlencoded\n\ntoken=\x06&token_type_hint=refresh_token",
    b"\x04application/x-www-form-urlencoded\n\ntoken=\x05",
    b"\x05application/x-www-form-urlencoded\n\ntoken=\x06&token_type_hint=refresh_token",
    b"\x05application/json\n\n{\"token\":\"\\u0065x\x05\",\"token\":null}",
    b"\x06\n\n",
    b"\x07\n\n\x06",
    b"\x17\n\n\x16\x40\x20A",
    b"\x45application/x-www-form-urlencoded\n\ntoken=\x16\x40\x24\x01",
    b"\x80application/json; charset=x\n\n{\"a\":[1,{\"b\":[\"c\"]},\"d\"],\"refresh_token\":[\"\x06\"]}",
];

pub fn run(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let (Some([which, content_type @ ..]), Some(cookies), Some(body)) =
        (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    block_on(async {
        let world = World::in_memory().await;
        let cookies = expand(cookies, &world.credentials);
        let body = expand(body, &world.credentials);
        if which % 8 == 7 {
            return present(&world, &body, which & 0x10 != 0).await;
        }
        let request = Request::post("/token")
            .header(header::CONTENT_TYPE, content_type)
            .header(header::COOKIE, &*cookies);
        let Ok(mut request) = request.body(()) else {
            return;
        };
        if which & 0x40 != 0 {
            request.extensions_mut().insert(Client::new("web"));
        }
        let (head, ()) = request.into_parts();
        let response = answer(&world, which % 8, &head, &body).await;
        let (status, trips) = (response.status().as_u16(), world.trips());
        assert!(matches!(status, 200 | 204 | 400..500), "{status}");
        let good = |which: usize| {
            let credential = &world.credentials[which];
            carries(&body, credential) || carries(&cookies, credential)
        };
        let (refresh, access) = (good(REFRESH_TOKEN), good(ACCESS_TOKEN));
        assert!(refresh || access || trips == 0, "{trips} trips");
        let text = String::from_utf8_lossy(response.body());
        assert!(refresh || !text.contains("access_token"), "a forged token");
        assert!(
            refresh || access || !text.contains("\"active\":true"),
            "a forged token"
        );
    });
}

async fn answer(
    world: &World,
    which: u8,
    head: &http::request::Parts,
    body: &[u8],
) -> Response<Bytes> {
    let in_cookie = || {
        RefreshEndpoint::in_cookie(&world.rotation)
            .build()
            .expect("an endpoint")
    };
    match which {
        0 => {
            RefreshEndpoint::new(&world.rotation)
                .handle(head, body)
                .await
        }
        1 => in_cookie().handle(head, body).await,
        2 => in_cookie().logout().handle(head, body).await,
        3 => {
            RefreshEndpoint::new(&world.rotation)
                .logout()
                .handle(head, body)
                .await
        }
        4 => {
            RevocationEndpoint::new(&world.rotation, &world.jwt)
                .handle(head, body)
                .await
        }
        5 => {
            let endpoint = IntrospectionEndpoint::new(&world.store, &world.jwt);
            endpoint
                .refresh_tokens(&world.rotation)
                .handle(head, body)
                .await
        }
        _ => {
            JwksEndpoint::new(world.issuer_keys.clone())
                .handle(head, body)
                .await
        }
    }
}

/// A refresh token that comes in another way than through an endpoint.
async fn present(world: &World, text: &[u8], revoke: bool) {
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let good = text == world.credentials[REFRESH_TOKEN];
    if revoke {
        let _ = world.rotation.revoke(text).await;
    } else {
        let request = RefreshRequest::new().client("web");
        assert_eq!(world.rotation.rotate(text, request).await.is_ok(), good);
    }
    assert_eq!(world.trips() > 0, good, "a forged token reached the store");
}
