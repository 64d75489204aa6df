//! Active sessions over a database that stops and fails where a test wants it to, in memory and over real Redis.

mod floods;
mod interleavings;
mod keeping;
mod mock;
mod outages;
mod rotation;
mod together;
mod trips;

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use portcullis::{
    Clock, Store,
    blacklist::BlacklistLayer,
    jwt::{Grant, VerifiedToken},
    near::Near,
    registry::{
        ActiveSessionLayer, ActiveSessions, ActiveSessionsBuilder, NewLogin, Registry, Revocation,
        SignedIn,
    },
};

use self::mock::Mock;
use crate::{
    blacklist::{issuer, status, verify},
    means::{redis::RedisServer, wait},
    session::bench::{App, Backend, both},
};

/// One node: its store, its handle, and a service behind the layer.
struct Node {
    store: Store,
    active: ActiveSessions,
    app: App,
    clock: Clock,
}

fn app(layer: ActiveSessionLayer, clock: &Clock) -> App {
    let router = Router::new()
        .route(
            "/me",
            get(async |token: Option<axum::Extension<VerifiedToken>>| {
                token.map_or_else(String::new, |token| token.sub().unwrap_or("").to_owned())
            }),
        )
        .layer(layer)
        .layer(verify(clock));
    App::of(router)
}

impl Node {
    fn new(store: &Store, mock: &Arc<Mock>, clock: &Clock) -> Self {
        Self::with(store, mock, clock, |builder| builder)
    }

    fn with(
        store: &Store,
        mock: &Arc<Mock>,
        clock: &Clock,
        settings: impl FnOnce(ActiveSessionsBuilder) -> ActiveSessionsBuilder,
    ) -> Self {
        Self::over(store, Arc::clone(mock) as _, clock, settings)
    }

    fn over(
        store: &Store,
        registry: Arc<dyn Registry>,
        clock: &Clock,
        settings: impl FnOnce(ActiveSessionsBuilder) -> ActiveSessionsBuilder,
    ) -> Self {
        let builder = ActiveSessions::builder(store, registry);
        let active = settings(builder).build().unwrap();
        Self {
            store: store.clone(),
            app: app(ActiveSessionLayer::new(&active), clock),
            active,
            clock: clock.clone(),
        }
    }

    async fn connect(url: &str, mock: &Arc<Mock>) -> Self {
        let store = Store::connect(url).await.unwrap();
        let node = Self::new(&store, mock, &Clock::system());
        assert!(node.active.ready().await);
        node
    }

    async fn sign_in(&self, user: &str) -> Seat {
        let signed = self.active.create(&NewLogin::new(user)).await.unwrap();
        Seat::of(user, &signed, &self.clock)
    }

    async fn status(&self, seat: &Seat) -> u16 {
        status(&self.app, &seat.token).await
    }

    /// The database's half went well, and so did the store's.
    async fn revoke(&self, seat: &Seat) {
        let revoked = self.active.revoke(&seat.sid).await.unwrap();
        assert_eq!(revoked, Revocation::Everywhere);
    }
}

#[derive(Clone)]
struct Seat {
    sid: String,
    token: String,
}

impl Seat {
    fn of(user: &str, signed: &SignedIn, clock: &Clock) -> Self {
        let grant = Grant::user(user).sid(&*signed.sid).auth_ms(signed.auth_ms);
        Self {
            sid: signed.sid.clone(),
            token: issuer(clock).mint(&grant).unwrap().token().to_owned(),
        }
    }

    /// A token for a session of which no database knows.
    fn unknown(sid: &str, clock: &Clock) -> Self {
        let signed = clock.now_millis();
        let grant = Grant::user("alice").sid(sid).auth_ms(signed);
        Self {
            sid: sid.to_owned(),
            token: issuer(clock).mint(&grant).unwrap().token().to_owned(),
        }
    }
}

/// Two nodes over one store, in memory and over Redis, and a database.
struct Bench {
    name: &'static str,
    one: Arc<Node>,
    two: Arc<Node>,
    mock: Arc<Mock>,
    clock: Clock,
    server: Option<RedisServer>,
}

impl Bench {
    fn of(backend: Backend) -> Self {
        let mock = Mock::new(&backend.clock);
        let node = |store| Arc::new(Node::new(store, &mock, &backend.clock));
        Self {
            name: backend.name,
            one: node(&backend.store),
            two: node(&backend.other),
            mock,
            clock: backend.clock,
            server: backend.server,
        }
    }
}

async fn benches() -> Vec<Bench> {
    let mut benches = Vec::new();
    for backend in both().await {
        let bench = Bench::of(backend);
        assert!(bench.one.active.ready().await && bench.two.active.ready().await);
        benches.push(bench);
    }
    benches
}

async fn near(store: &Store) -> Near {
    let near = store.near().max_staleness(Duration::from_millis(200));
    let near = near.start().unwrap();
    assert!(wait::within("the replica", near.ready()).await);
    near
}

/// Fails if: a session of nobody, of somebody else, of another tenant, without a `sid`, or one that ended passes; or a good
/// one does not.
#[tokio::test]
async fn only_the_active_session_of_the_tokens_own_user_passes() {
    for bench in benches().await {
        let (node, clock) = (&bench.one, &bench.clock);
        let seat = node.sign_in("alice").await;
        assert_eq!(node.status(&seat).await, 200, "{}", bench.name);
        assert_eq!(bench.two.status(&seat).await, 200);
        let mint = |grant: Grant| Seat {
            sid: seat.sid.clone(),
            token: issuer(clock).mint(&grant).unwrap().token().to_owned(),
        };
        let now = clock.now_millis();
        for grant in [
            Grant::user("mallory").sid(&*seat.sid),
            Grant::user("alice").sid("nobody-s"),
            Grant::user("alice"),
        ] {
            let wrong = mint(grant.auth_ms(now + 5));
            assert_eq!(node.status(&wrong).await, 401);
            assert_eq!(bench.two.status(&wrong).await, 401);
        }
        let reads = bench.mock.finds();
        assert_eq!(reads, 2, "one for each sid: the rest is remembered");
        // A token that was issued before the row's own cutoff is refused by its own moment.
        bench.one.revoke(&seat).await;
        assert_eq!(node.status(&seat).await, 401);
        assert_eq!(bench.two.status(&seat).await, 401);
    }
}

/// Fails if: signing out elsewhere leaves one signed in, signs out who asked, or a login right after "all" does not work.
#[tokio::test]
async fn devices_are_listed_and_ended() {
    for bench in benches().await {
        let (one, two) = (&bench.one, &bench.two);
        let seats = [
            one.sign_in("alice").await,
            two.sign_in("alice").await,
            one.sign_in("alice").await,
        ];
        let bob = one.sign_in("bob").await;
        let list = |current: String| async move {
            let devices = one.active.list("", "alice", Some(&current)).await.unwrap();
            let of = |d: &portcullis::device::Device| (d.sid().to_owned(), d.is_current());
            devices.iter().map(of).collect::<Vec<_>>()
        };
        let devices = list(seats[1].sid.clone()).await;
        assert_eq!(devices.len(), 3);
        assert!(devices.contains(&(seats[1].sid.clone(), true)));
        for seat in &seats {
            assert_eq!(two.status(seat).await, 200);
        }
        // Somebody else's is not ended by its number.
        let _ = one
            .active
            .revoke_one("", "bob", &seats[0].sid)
            .await
            .unwrap();
        assert_eq!(two.status(&seats[0]).await, 200, "{}", bench.name);
        let kicked = one.active.revoke_one("", "alice", &seats[0].sid).await;
        assert_eq!(kicked.unwrap(), Revocation::Everywhere);
        assert_eq!(two.status(&seats[0]).await, 401);
        let others = one.active.revoke_others("", "alice", &seats[1].sid).await;
        assert_eq!(others.unwrap(), Revocation::Everywhere);
        assert_eq!(two.status(&seats[2]).await, 401);
        assert_eq!(two.status(&seats[1]).await, 200);
        let all = one.active.revoke_all("", "alice").await;
        assert_eq!(all.unwrap(), Revocation::Everywhere);
        assert_eq!(two.status(&seats[1]).await, 401);
        let again = two.sign_in("alice").await;
        assert_eq!(one.status(&again).await, 200, "{}", bench.name);
        assert_eq!(one.status(&bob).await, 200);
        assert_eq!(list(String::new()).await.len(), 1);
    }
}

/// Fails if: the device limit leaves an evicted session working, or a cutoff that only Redis knows ends the login after it.
#[tokio::test]
async fn limits_and_cutoffs_of_redis_are_heeded_by_a_login() {
    for bench in benches().await {
        let one = &bench.one;
        let login = NewLogin::new("alice").max_devices(1);
        let first = one.active.create(&login).await.unwrap();
        let first = Seat::of("alice", &first, &bench.clock);
        assert_eq!(bench.two.status(&first).await, 200);
        let second = one.active.create(&login).await.unwrap();
        let second = Seat::of("alice", &second, &bench.clock);
        assert_eq!(bench.two.status(&first).await, 401, "{}", bench.name);
        assert_eq!(bench.two.status(&second).await, 200);
        // Raised without the database.
        let cutoffs = portcullis::cutoff::Cutoffs::new(&one.store);
        cutoffs.user("", "alice").await.unwrap();
        assert_eq!(bench.two.status(&second).await, 401);
        let third = one.sign_in("alice").await;
        assert_eq!(bench.two.status(&third).await, 200);
    }
}

/// Fails if: a wrong setting is taken, or the message does not name it.
#[tokio::test]
async fn settings_are_checked() {
    let (store, clock) = (Store::memory(), Clock::system());
    let mock = Mock::new(&clock);
    type Set = fn(ActiveSessionsBuilder) -> ActiveSessionsBuilder;
    let wrong: [(&str, Set); 9] = [
        ("cache_time", |b| b.cache_time(Duration::from_secs(301))),
        ("negative_cache_time", |b| {
            b.negative_cache_time(Duration::ZERO)
        }),
        ("database_outage", |b| {
            b.database_outage(Duration::from_secs(86_401))
        }),
        ("lease_time", |b| b.lease_time(Duration::from_secs(2))),
        ("wait_for_others", |b| {
            b.wait_for_others(Duration::from_secs(61))
        }),
        ("max_concurrent", |b| b.max_concurrent(0)),
        ("database_deadline", |b| b.database_deadline(Duration::ZERO)),
        ("sync_every", |b| b.sync_every(Duration::ZERO)),
        ("lifetime", |b| b.lifetime(Duration::from_secs(91 * 86_400))),
    ];
    for (field, set) in wrong {
        let builder = ActiveSessions::builder(&store, Arc::clone(&mock) as _);
        assert_eq!(set(builder).build().unwrap_err().field(), field);
    }
    let unlayered = BlacklistLayer::new(&store);
    drop(unlayered);
}
