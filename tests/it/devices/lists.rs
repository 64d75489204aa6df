//! What a user sees of the own devices: every living one once, no dead one, and no secret. (R26)

use portcullis::{
    device::Device,
    refresh::{RefreshLogin, RefreshRequest},
};

use crate::{
    refresh::kit::{Bench, DAY, MINUTE, SECOND, Settings, benches, benches_with},
    session::bench::Browser,
};

async fn list(bench: &Bench, user: &str, current: Option<&str>) -> Vec<Device> {
    bench.two.devices.list("", user, current).await.unwrap()
}

async fn only(bench: &Bench, user: &str) -> Device {
    let mut list = list(bench, user, None).await;
    assert_eq!(list.len(), 1, "{}: {list:?}", bench.name);
    list.pop().unwrap()
}

/// Fails if: about, created or the current one are mixed up; a device with a session and tokens is listed twice; tokens
/// for a session's device wipe what the login said about it.
#[tokio::test]
async fn a_device_is_listed_once_with_what_its_login_said() {
    for bench in benches().await {
        let seat = bench.one.sign_in("alice").await;
        bench.one.issue_for("alice", &seat).await.unwrap();
        let login = RefreshLogin::new("alice")
            .device("Telefon \"ü\" {}")
            .ip("2001:db8::1")
            .user_agent("Mozilla/5.0 \u{1F600}");
        let phone = bench.two.rotation.issue(&login).await.unwrap();
        let bare = bench.two.issue("alice").await;
        bench.one.sign_in("bob").await;
        let list = list(&bench, "alice", Some(phone.sid())).await;
        assert_eq!(list.len(), 3, "{}: {list:?}", bench.name);
        let device = |sid: &str| list.iter().find(|device| device.sid() == sid).unwrap();
        let known = |device: &Device| {
            let texts = [device.name(), device.ip(), device.user_agent()];
            (
                texts.map(|text| text.unwrap_or("-").to_owned()),
                device.is_current(),
            )
        };
        let said = |texts: [&str; 3], current| (texts.map(str::to_owned), current);
        let browser = known(device(&seat.sid));
        assert_eq!(browser, said(["a browser", "192.0.2.1", "-"], false));
        let phone = known(device(phone.sid()));
        let texts = ["Telefon \"ü\" {}", "2001:db8::1", "Mozilla/5.0 \u{1F600}"];
        assert_eq!(phone, said(texts, true));
        assert_eq!(known(device(bare.sid())), said(["-", "-", "-"], false));
        assert_eq!(device(&seat.sid).created_ms(), seat.auth_ms);
        for device in &list {
            let age = device.last_used_ms() - device.created_ms();
            assert!(age < 10 * SECOND, "{} {age}", bench.name);
        }
    }
}

/// Texts come from clients: they are cut, and no text breaks the list.
///
/// Fails if: a text is stored unbounded, or cut within a character.
#[tokio::test]
async fn long_and_odd_texts_are_cut_and_listed() {
    for bench in benches().await {
        let long = "ü".repeat(10_000);
        let odd = "\u{0}\r\n\\\"'<script>{}[]";
        let login = RefreshLogin::new("alice")
            .device(&*long)
            .ip(&long)
            .user_agent(odd);
        bench.one.rotation.issue(&login).await.unwrap();
        let device = only(&bench, "alice").await;
        assert_eq!(device.name().map(str::len), Some(256), "{}", bench.name);
        assert_eq!(device.ip().map(str::len), Some(256), "{}", bench.name);
        assert_eq!(device.user_agent(), Some(odd), "{}", bench.name);
        assert!(!format!("{device:?}").contains("script"));
    }
}

/// The last use is that of session or tokens, whichever is later; a request notes it at intervals, a rotation always.
///
/// Fails if: `index_last_use` reads one of the two alone.
#[tokio::test]
async fn the_last_use_is_that_of_session_or_tokens() {
    for bench in benches().await {
        let seat = bench.one.sign_in("alice").await;
        let pair = bench.one.issue_for("alice", &seat).await.unwrap();
        let idle = async |bench: &Bench| {
            let device = only(bench, "alice").await;
            (device.last_used_ms() - device.created_ms()) / (5 * MINUTE)
        };
        assert_eq!(idle(&bench).await, 0, "{}", bench.name);
        bench.advance(6 * MINUTE).await;
        assert!(seat.is_in(&bench.two).await);
        assert_eq!(idle(&bench).await, 1, "{}: the session", bench.name);
        bench.advance(6 * MINUTE).await;
        bench.two.rotate(pair.refresh()).await.unwrap();
        assert_eq!(idle(&bench).await, 2, "{}: the tokens", bench.name);
        bench.advance(6 * MINUTE).await;
        assert_eq!(idle(&bench).await, 2, "{}: neither", bench.name);
    }
}

/// What has expired, was logged out or cut off is not listed, and leaves the index.
///
/// Fails if: an entry stays when its session and family are gone; the list ignores the cutoffs.
#[tokio::test]
async fn no_dead_device_is_listed() {
    for bench in benches().await {
        let seat = bench.one.sign_in("alice").await;
        let pair = bench.one.issue("alice").await;
        let both = bench.one.sign_in("alice").await;
        bench.one.issue_for("alice", &both).await.unwrap();
        assert_eq!(bench.two.sids("alice").await.len(), 3, "{}", bench.name);
        // The sessions have expired; one device has tokens still.
        bench.advance(2 * 60 * MINUTE).await;
        let left = bench.two.sids("alice").await;
        assert_eq!(
            left,
            [both.sid.clone(), pair.sid().to_owned()].into(),
            "{}",
            bench.name
        );
        assert!(!seat.is_in(&bench.one).await && !both.is_in(&bench.one).await);
        bench.one.rotation.revoke(pair.refresh()).await.unwrap();
        assert_eq!(
            bench.two.sids("alice").await,
            [both.sid].into(),
            "{}",
            bench.name
        );
        bench.advance(15 * DAY).await;
        assert!(bench.two.sids("alice").await.is_empty(), "{}", bench.name);
        for what in ["user", "everyone", "logout"] {
            let seat = bench.one.sign_in("alice").await;
            assert_eq!(
                bench.two.sids("alice").await.len(),
                1,
                "{} {what}",
                bench.name
            );
            match what {
                "user" => drop(bench.one.cutoffs.user("", "alice").await.unwrap()),
                "everyone" => drop(bench.one.cutoffs.everyone().await.unwrap()),
                _ => drop(seat.browser.post("/logout").await),
            }
            assert!(
                bench.two.sids("alice").await.is_empty(),
                "{} {what}",
                bench.name
            );
        }
    }
}

/// A tenant's devices are its own, and its cutoff ends them.
///
/// Fails if: the tenant is not part of the tag, or its cutoff not among the keys of the list.
#[tokio::test]
async fn the_devices_of_a_tenant_are_apart() {
    for bench in benches().await {
        let login = RefreshLogin::new("alice").tenant("acme");
        let pair = bench.one.rotation.issue(&login).await.unwrap();
        let other = bench.one.issue("alice").await;
        let of_acme = bench.two.devices.list("acme", "alice", None).await.unwrap();
        assert_eq!(of_acme.len(), 1, "{}", bench.name);
        assert_eq!(of_acme[0].sid(), pair.sid());
        let pair = bench
            .two
            .rotation
            .rotate(pair.refresh(), RefreshRequest::new())
            .await
            .unwrap();
        bench.two.cutoffs.tenant("acme").await.unwrap();
        assert!(
            bench
                .one
                .devices
                .list("acme", "alice", None)
                .await
                .unwrap()
                .is_empty()
        );
        bench.assert_dead(&pair).await;
        bench.assert_alive(&other).await;
        let anew = bench.one.rotation.issue(&login).await.unwrap();
        bench.assert_alive(&anew).await;
        assert_eq!(
            bench.two.devices.revoke_all("acme", "alice").await.unwrap(),
            1
        );
        bench.assert_dead(&anew).await;
        bench.assert_alive(&other).await;
    }
}

/// The index heals itself: a session that is gone without a word, because the server lost or evicted it, is neither listed
/// nor counted.
///
/// Fails if: list or limit believe the index alone.
#[tokio::test]
async fn a_session_that_the_server_lost_is_neither_listed_nor_counted() {
    let settings = Settings {
        session: |builder| builder.max_devices(2, portcullis::session::OnLimit::Refuse),
        ..Settings::default()
    };
    let [_, bench] = benches_with(&settings).await;
    let server = bench.server.as_ref().unwrap();
    bench.one.sign_in("alice").await;
    bench.two.sign_in("alice").await;
    let refused = Browser::new(&bench.one.app).post("/login/alice").await;
    assert_eq!(refused.status, 409);
    for key in server.keys("portcullis:session:*").await {
        server.cli(&["DEL", &key]).await;
    }
    let seat = bench.one.sign_in("alice").await;
    assert_eq!(bench.two.sids("alice").await, [seat.sid].into());
    for key in server.keys("portcullis:devices:*").await {
        let cards = [&["ZCARD", &*key], &["HLEN", &*key]];
        let count = match server.try_cli(cards[0]).await {
            Ok(_) => server.ask::<u64>(cards[0]).await,
            Err(_) => server.ask(cards[1]).await,
        };
        assert_eq!(count, 1, "{key}");
    }
}
