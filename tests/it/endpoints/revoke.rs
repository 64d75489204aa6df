//! RFC 7009.

use crate::means::http::{Answer, Client};

use super::{Bench, error, refused};

async fn revoke(bench: &Bench, path: &str, token: &str) -> Answer {
    let fields = [("token", token), ("token_type_hint", "refresh_token")];
    Client::new().post_form(&bench.url(path), &fields).await
}

// Fails if: an access token goes on, takes its whole login along, or its hint is believed; or a refresh token leaves
// anything of its login alive; or either takes more than a turn.
#[tokio::test]
async fn both_kinds_are_revoked() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        let (turns, answer) = bench
            .turns(revoke(&bench, "/revoke", pair.access().token()))
            .await;
        assert_eq!(answer.status, 200);
        assert!(turns.is_none_or(|turns| turns == 1));
        assert!(
            !bench.is_active(pair.access().token()).await,
            "{}",
            bench.name
        );
        let next = bench.refresh_token(pair.refresh()).await;
        assert_eq!(next.status, 200);
        let next: serde_json::Value = next.json();
        let (access, refresh) = (&next["access_token"], &next["refresh_token"]);
        let (access, refresh) = (access.as_str().unwrap(), refresh.as_str().unwrap());
        assert!(bench.is_active(access).await);
        let (turns, answer) = bench.turns(revoke(&bench, "/revoke", refresh)).await;
        assert_eq!(answer.status, 200);
        assert!(turns.is_none_or(|turns| turns == 1));
        assert!(!bench.is_active(access).await);
        assert_eq!(bench.refresh_token(refresh).await.status, 400);
    }
}

// Fails if: an unknown token is told from a known one (RFC 7009 §2.2), or none at all is fine.
#[tokio::test]
async fn unknown_tokens_are_revoked_already() {
    for bench in Bench::both().await {
        let gone = bench.login("alice").await;
        revoke(&bench, "/revoke", gone.refresh()).await;
        for token in ["forged", "a.b.c", "a.0.b.c", gone.refresh()] {
            let answer = revoke(&bench, "/revoke", token).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, String::new())
            );
        }
        let nothing = Client::new().post_form(&bench.url("/revoke"), &[]).await;
        assert_eq!(
            error(&nothing),
            refused("invalid_request"),
            "{}",
            bench.name
        );
    }
}

// Fails if: one client can end the logins of another.
#[tokio::test]
async fn a_client_revokes_its_own_tokens_only() {
    for bench in Bench::both().await {
        let pair = bench.login("alice").await;
        for token in [pair.refresh(), pair.access().token()] {
            let foreign = revoke(&bench, "/revoke/as/mobile", token).await;
            assert_eq!(error(&foreign), refused("invalid_grant"), "{}", bench.name);
            assert!(bench.is_active(pair.access().token()).await);
        }
        assert_eq!(
            revoke(&bench, "/revoke/as/web", pair.refresh())
                .await
                .status,
            200
        );
        assert!(!bench.is_active(pair.access().token()).await);
    }
}

// Fails if: a revocation that nobody confirmed is reported as done.
#[tokio::test]
async fn an_outage_is_said() {
    let bench = Bench::redis_with(|rotation| rotation).await;
    let pair = bench.login("alice").await;
    bench.outage().await;
    for token in [pair.refresh(), pair.access().token()] {
        let answer = revoke(&bench, "/revoke", token).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (503, "1")
        );
    }
}
