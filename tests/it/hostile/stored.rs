//! Values in the store that nobody of us wrote: lines of a byte that says which of the stored texts, and what is there
//! instead, in which `0x01` stands for what was there (see `forge`).

use http::header;
use portcullis::{
    endpoint::{Endpoint, IntrospectionEndpoint},
    refresh::RefreshRequest,
    testing,
};

use super::{
    forge::expand,
    means::{Pieces, block_on},
    world::*,
};

pub const SEEDS: &[&[u8]] = &[
    b"",
    b"\x00",
    b"\x00\x01\n\x01\x01\n\x02\x01\n\x03\x01\n\x04\x01",
    b"\x1f\x11\x00\x20\x39\n\x1e\x11\x0b\x00\x39\n\x1d\x11\x10\x05\x00\n\x1c\x01999999999999999",
    b"\x1f\x01999:x\n\x1e1000000000000000000000000000000000000000000000\n\x1d>\x01\n\x1c-1",
    b"\x0018446744073709551615\n\x0199999999999999999999999\n\x02-0\n\x03\n\x04{}\n\x05\xff\xfe\n\x06nan\n\x07\x01\x01\n\x081e400",
    b"\x09\n\x0a\n\x0b\n\x0c\n\x0d\n\x0e\n\x0f\n\x10\n\x11\n\x12\n\x13\n\x14\n\x15\n\x16\n\x17",
];

/// Where the store is asked to keep so much in the end, the test has done it and not the input.
const MOST: usize = 64 * 1024;

pub fn run(input: &[u8]) {
    if input.len() > MOST {
        return;
    }
    block_on(async {
        let world = World::in_memory().await;
        // Cutoffs of all kinds and a denied login are among what is stored.
        let _ = world.cutoffs.user("", "bob").await;
        let _ = world.blacklist.revoke_session("somebody's").await;
        let changes: Vec<_> = input
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split_first())
            .collect();
        let (mut number, mut sizes) = (0_u8, 0);
        let changed = testing::change_everything(&world.store, |_, text| {
            for (_, instead) in changes.iter().filter(|(which, _)| **which % 64 == number) {
                let before = String::from_utf8_lossy(text).into_owned();
                *text = expand(instead, &[before]);
                sizes += text.len();
            }
            number = number.wrapping_add(1) % 64;
        });
        if changed.await.is_ok() && sizes < MOST {
            exercise(&world).await;
        }
    });
}

/// Everything that reads or changes what is stored. Whatever comes of it, it comes.
pub async fn exercise(world: &World) {
    let cookie = world.credentials.get(SESSION_COOKIE).map(String::as_str);
    let good = |which: usize| world.credentials.get(which).map_or("", String::as_str);
    for second in [false, true] {
        read(world, cookie).await;
        let mut post = request("POST", "/", cookie);
        let token = header::HeaderValue::from_str(good(CSRF_TOKEN));
        let bearer = header::HeaderValue::from_str(&format!("Bearer {}", good(ACCESS_TOKEN)));
        if let (Ok(token), Ok(bearer)) = (token, bearer) {
            post.headers_mut().insert("x-csrf-token", token);
            post.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        *post.body_mut() = Pieces::whole(b"x");
        let _ = world.call(post).await;
        let _ = world.call_strict(request("GET", "/", cookie)).await;
        introspect(world, good(REFRESH_TOKEN)).await;
        let asked = RefreshRequest::new().client("web");
        if let Ok(pair) = world.rotation.rotate(good(REFRESH_TOKEN), asked).await {
            let _ = world.rotation.rotate(pair.refresh(), asked).await;
        }
        let _ = world.devices.list("", "alice", Some(&world.sid)).await;
        let _ = world.cutoffs.auth_start().await;
        let _ = world.store.check().await;
        if second {
            break;
        }
        later(world);
    }
    for act in [Act::Others, Act::Login, Act::Renew, Act::Destroy] {
        let _ = world.act(act, cookie).await;
    }
    let _ = world.devices.revoke("", "alice", &world.sid).await;
    let _ = world.devices.revoke_others("", "alice", &world.sid).await;
    let _ = world.rotation.revoke(good(REFRESH_TOKEN)).await;
    let _ = world.rotation.revoke_all("", "alice").await;
    let _ = world.cutoffs.everyone().await;
    let _ = world.devices.revoke_all("", "alice").await;
    read(world, cookie).await;
}

async fn read(world: &World, cookie: Option<&str>) {
    let _ = world.call(request("GET", "/", cookie)).await;
}

async fn introspect(world: &World, token: &str) {
    let endpoint =
        IntrospectionEndpoint::new(&world.store, &world.jwt).refresh_tokens(&world.rotation);
    let request =
        http::Request::post("/").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let body = format!("token={token}&token_type_hint=refresh_token");
    let _ = endpoint.handle(&head, body.as_bytes()).await;
}
