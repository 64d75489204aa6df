//! "Everything authenticated before now is dead": a user, a tenant, everyone.

use portcullis::{Store, cutoff::Cutoffs};
use tokio::task::JoinSet;

use super::{Pair, signed_in};
use crate::means::http::Client;

/// Cutoffs of a third program, with the same prefix.
async fn cutoffs(pair: &Pair) -> Cutoffs {
    Cutoffs::new(&Store::connect(&pair.redis.url()).await.unwrap())
}

/// Two sessions of alice and two of bob, who belongs to a tenant; one of each made by each process.
async fn four(pair: &Pair) -> [Client; 4] {
    [
        signed_in(&pair.one, "alice").await,
        signed_in(&pair.two, "alice").await,
        signed_in(&pair.one, "bob").await,
        signed_in(&pair.two, "bob").await,
    ]
}

/// What `/me` says to each of them, the same on both processes.
async fn answers(pair: &Pair, clients: &[Client; 4]) -> [u16; 4] {
    let mut answers = [0; 4];
    for (answer, client) in answers.iter_mut().zip(clients) {
        let [one, two] = pair.me(client).await;
        assert_eq!(one, two);
        *answer = one;
    }
    answers
}

// Fails if: `/logout-everywhere` only ended its own session, or `loaded` did not compare with the user's cutoff.
#[tokio::test]
async fn logout_everywhere_ends_all_sessions_of_the_user_and_of_nobody_else() {
    let pair = Pair::of("axum", "hyper", &[]).await;
    for node in pair.nodes() {
        let clients = four(&pair).await;
        assert_eq!(answers(&pair, &clients).await, [200; 4]);
        let answer = node.post(&clients[0], "/logout-everywhere").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answers(&pair, &clients).await, [401, 401, 200, 200]);
        for again in pair.nodes() {
            let client = signed_in(again, "alice").await;
            assert_eq!(
                pair.me(&client).await,
                [200, 200],
                "a login right after works"
            );
        }
    }
}

// Fails if: `loaded` left out the tenant's cutoff, or a session without a tenant were compared with one.
#[tokio::test]
async fn a_tenants_cutoff_ends_the_sessions_of_the_tenant() {
    let pair = Pair::start().await;
    let clients = four(&pair).await;
    cutoffs(&pair).await.tenant("builders").await.unwrap();
    assert_eq!(answers(&pair, &clients).await, [200, 200, 401, 401]);
    let client = signed_in(&pair.two, "bob").await;
    assert_eq!(pair.me(&client).await, [200, 200]);
}

// Fails if: a login took the time alone as its moment of authentication (`auth = now` in `login.lua`), or a session were
// dead only if it is older than the cutoff (`<` for `<=` in `is_cut`), or a cutoff ignored logins ahead of the clock.
#[tokio::test]
async fn everyones_cutoff_ends_all_sessions_and_a_login_in_the_same_millisecond_works() {
    let pair = Pair::start().await;
    let clients = four(&pair).await;
    let cutoffs = cutoffs(&pair).await;
    cutoffs.everyone().await.unwrap();
    assert_eq!(answers(&pair, &clients).await, [401; 4]);
    for round in 0..20 {
        // Faster than one a millisecond, so that the cutoff runs ahead of the clock and every login with it.
        let mut raised = JoinSet::new();
        for _ in 0..100 {
            let cutoffs = cutoffs.clone();
            raised.spawn(async move { cutoffs.everyone().await });
        }
        while let Some(raised) = raised.join_next().await {
            raised.unwrap().unwrap();
        }
        let node = pair.nodes()[round % 2];
        let before = signed_in(node, "alice").await;
        cutoffs.everyone().await.unwrap();
        let client = signed_in(node, "alice").await;
        assert_eq!(pair.me(&before).await, [401, 401], "round {round}");
        assert_eq!(pair.me(&client).await, [200, 200], "round {round}");
    }
}
