//! Families whose authentication began before a cutoff.

use portcullis::refresh::{RefreshErrorKind, RefreshLogin};

use super::kit::benches;

/// Fails if: issue.lua does not look at when the authentication began, or looks after it has written.
#[tokio::test]
async fn a_family_whose_authentication_began_before_a_cutoff_is_not_issued() {
    for bench in benches().await {
        for _ in 0..3 {
            let before = bench.one.rotation.auth_start().await.unwrap();
            bench.two.rotation.revoke_all("", "alice").await.unwrap();
            let after = bench.one.rotation.auth_start().await.unwrap();
            let stale = RefreshLogin::new("alice").not_before(before);
            let refused = bench.one.rotation.issue(&stale).await.unwrap_err();
            assert_eq!(refused.kind(), RefreshErrorKind::Outdated, "{}", bench.name);
            assert!(bench.two.sids("alice").await.is_empty(), "{}", bench.name);
            let fresh = RefreshLogin::new("alice").not_before(after);
            let pair = bench.one.rotation.issue(&fresh).await.unwrap();
            bench.assert_alive(&pair).await;
            let bob = RefreshLogin::new("bob").not_before(before);
            assert!(
                bench.one.rotation.issue(&bob).await.is_ok(),
                "{}: another",
                bench.name
            );
        }
        let began = bench.one.rotation.auth_start().await.unwrap();
        bench.two.cutoffs.tenant("acme").await.unwrap();
        let carol = RefreshLogin::new("carol").tenant("acme").not_before(began);
        let refused = bench.one.rotation.issue(&carol).await.unwrap_err();
        assert_eq!(refused.kind(), RefreshErrorKind::Outdated, "{}", bench.name);
        bench.two.cutoffs.everyone().await.unwrap();
        let alice = RefreshLogin::new("alice").not_before(began);
        let refused = bench.one.rotation.issue(&alice).await.unwrap_err();
        assert_eq!(refused.kind(), RefreshErrorKind::Outdated, "{}", bench.name);
    }
}
