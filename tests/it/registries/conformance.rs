//! Each rule of the trait's docs.

use std::sync::Arc;

use portcullis::registry::{
    Created, CutoffScope, Limit, NewSession, Registry, RegistryErrorKind, Rotated, Which,
};

use super::{FUTURE, HOUR, active, created, new, on_all, sids, sorted};

type Any = Arc<dyn Registry>;

on_all! {
    a_session_is_found_as_it_was_written
    a_second_create_answers_as_the_first_and_writes_nothing
    a_second_create_names_the_evicted_again
    a_login_is_after_every_cutoff_that_applies
    a_cutoff_is_after_everything_before_it
    a_cutoff_ends_what_is_in_its_scope_and_nothing_else
    a_cutoff_during_a_login_refuses_it
    an_authentication_begins_after_every_cutoff_and_before_the_next
    a_full_user_is_refused_or_the_oldest_make_room
    only_active_sessions_of_the_user_count
    a_rotation_replaces_what_it_says_and_extends
    a_rotation_of_anything_but_the_active_token_changes_nothing
    revoking_returns_those_that_had_not_ended
    ended_stays_ended
    the_list_has_active_sessions_in_order
    what_changed_lately
    a_noted_cutoff_is_what_it_was
    a_use_is_noted
}

fn user(tenant: &str, user: &str) -> CutoffScope {
    let (tenant, user) = (tenant.to_owned(), user.to_owned());
    CutoffScope::User { tenant, user }
}

fn rotated(token: &str) -> Rotated {
    Rotated {
        token: token.to_owned(),
        data: "{}".to_owned(),
        lifetime_ms: 2 * HOUR,
    }
}

fn limited(sid: &str, most: u32, evict: bool) -> NewSession {
    let mut session = new(sid, "alice");
    session.limit = Some(Limit { most, evict });
    session
}

/// Fails if: a field is lost, swapped or computed wrongly.
async fn a_session_is_found_as_it_was_written(registry: Any) {
    assert_eq!(registry.find("s").await.unwrap(), None);
    let mut session = new("s", "alice");
    session.tenant = "t".to_owned();
    let (auth_ms, created_ms, evicted) = created(&*registry, &session).await;
    assert_eq!((auth_ms, &evicted[..]), (created_ms, &[][..]));
    let found = registry.find("s").await.unwrap().unwrap();
    assert!(found.is_active() && found.cutoff_ms.is_none());
    assert!(found.now_ms >= created_ms && found.now_ms < created_ms + HOUR);
    let it = found.session;
    assert_eq!(
        (&it.sid[..], &it.tenant[..], &it.user[..]),
        ("s", "t", "alice")
    );
    assert_eq!(
        (it.auth_ms, it.created_ms, it.last_used_ms),
        (auth_ms, created_ms, created_ms)
    );
    assert_eq!(it.expires_ms, created_ms + HOUR);
    assert_eq!(
        (it.ended, it.token, it.data),
        (None, session.token, session.data)
    );
}

async fn a_second_create_answers_as_the_first_and_writes_nothing(registry: Any) {
    let session = new("s", "alice");
    let first = registry.create(&session).await.unwrap();
    // Neither a cutoff nor a limit of now is asked: the session is there.
    registry
        .put_cutoff(&CutoffScope::Everyone, None)
        .await
        .unwrap();
    let mut again = session.clone();
    again.not_before_ms = Some(0);
    again.limit = Some(Limit {
        most: 0,
        evict: false,
    });
    again.data = "{}".to_owned();
    assert_eq!(registry.create(&again).await.unwrap(), first);
    registry
        .revoke(&Which::Sid("s".to_owned()), "logout")
        .await
        .unwrap();
    assert_eq!(registry.create(&session).await.unwrap(), first);
    let found = registry.find("s").await.unwrap().unwrap();
    assert_eq!(found.session.ended.as_deref(), Some("logout"));
    assert_eq!(found.session.data, session.data);

    let other_token = NewSession {
        token: "another".to_owned(),
        ..session.clone()
    };
    let other_user = NewSession {
        user: "mallory".to_owned(),
        ..session.clone()
    };
    let other_tenant = NewSession {
        tenant: "t".to_owned(),
        ..session
    };
    for other in [other_token, other_user, other_tenant] {
        let refused = registry.create(&other).await.unwrap_err();
        assert_eq!(refused.kind(), RegistryErrorKind::Failed);
    }
}

/// Fails if: a retry of a create whose answer was lost does not tell whom to forget in the caches.
async fn a_second_create_names_the_evicted_again(registry: Any) {
    for sid in ["a", "b", "c"] {
        registry.create(&new(sid, "alice")).await.unwrap();
    }
    let session = limited("d", 2, true);
    let first = registry.create(&session).await.unwrap();
    assert!(matches!(&first, Created::Active { evicted, .. } if *evicted == ["a", "b"]));
    assert_eq!(registry.create(&session).await.unwrap(), first);
    let found = registry.find("a").await.unwrap().unwrap();
    assert_eq!(found.session.ended.as_deref(), Some("evicted"));
}

async fn a_login_is_after_every_cutoff_that_applies(registry: Any) {
    let tenant = CutoffScope::Tenant("t".to_owned());
    let scopes = [
        (user("t", "alice"), 1),
        (tenant, 3),
        (CutoffScope::Everyone, 2),
    ];
    for (scope, ahead) in &scopes {
        registry
            .put_cutoff(scope, Some(FUTURE + ahead))
            .await
            .unwrap();
    }
    let mut session = new("s", "alice");
    session.tenant = "t".to_owned();
    assert_eq!(created(&*registry, &session).await.0, FUTURE + 4);
    let found = registry.find("s").await.unwrap().unwrap();
    assert!(found.is_active());
    assert_eq!(found.cutoff_ms, Some(FUTURE + 3));
    // Of another user and tenant, only everyone's counts.
    assert_eq!(created(&*registry, &new("o", "bob")).await.0, FUTURE + 3);
    session.sid = "later".to_owned();
    session.auth_at_least_ms = FUTURE + 10;
    let (auth_ms, created_ms, _) = created(&*registry, &session).await;
    assert_eq!(auth_ms, FUTURE + 10);
    assert!(created_ms < FUTURE);
}

async fn a_cutoff_is_after_everything_before_it(registry: Any) {
    let begun = created(&*registry, &new("s", "alice")).await.1;
    let scope = user("", "alice");
    let first = registry.put_cutoff(&scope, None).await.unwrap();
    assert!(first >= begun && first < begun + HOUR);
    let second = registry.put_cutoff(&scope, None).await.unwrap();
    assert!(second > first);
    assert_eq!(
        registry.put_cutoff(&scope, Some(FUTURE)).await.unwrap(),
        FUTURE
    );
    assert_eq!(registry.put_cutoff(&scope, None).await.unwrap(), FUTURE + 1);
    // The latest login of all, whosever it is, as one that ran ahead of the clock could be anybody's.
    assert_eq!(
        created(&*registry, &new("next", "alice")).await.0,
        FUTURE + 2
    );
    let other = registry
        .put_cutoff(&CutoffScope::Everyone, None)
        .await
        .unwrap();
    assert_eq!(other, FUTURE + 2);
    assert!(!active(&*registry, "next").await);
    let known = registry.recent_cutoffs(u64::MAX).await.unwrap();
    assert_eq!(known.len(), 2);
    assert!(known.contains(&(scope, FUTURE + 1)));
}

async fn a_cutoff_ends_what_is_in_its_scope_and_nothing_else(registry: Any) {
    let people = [
        ("", "alice"),
        ("", "bob"),
        ("t", "alice"),
        ("t", "bob"),
        ("u", "alice"),
    ];
    let scopes = [
        (user("t", "alice"), vec![2]),
        (user("", "alice"), vec![0]),
        (CutoffScope::Tenant("t".to_owned()), vec![2, 3]),
        (CutoffScope::Tenant(String::new()), vec![0, 1]),
        (user("nobody", "alice"), vec![]),
        (CutoffScope::Everyone, vec![0, 1, 2, 3, 4]),
    ];
    for (round, (scope, ended)) in scopes.iter().enumerate() {
        let sid = |at: usize| format!("{round}-{at}");
        for (at, (tenant, name)) in people.iter().enumerate() {
            let mut session = new(&sid(at), name);
            (*tenant).clone_into(&mut session.tenant);
            registry.create(&session).await.unwrap();
        }
        registry.put_cutoff(scope, None).await.unwrap();
        for (at, (tenant, name)) in people.iter().enumerate() {
            let lives = !ended.contains(&at);
            assert_eq!(active(&*registry, &sid(at)).await, lives, "{scope:?} {at}");
            let listed = sids(&*registry, tenant, name).await.contains(&sid(at));
            assert_eq!(listed, lives, "{scope:?} {at}");
        }
    }
}

/// Fails if: a login by the old password survives the change of the password that came while it was checked.
async fn a_cutoff_during_a_login_refuses_it(registry: Any) {
    registry
        .put_cutoff(&CutoffScope::Everyone, Some(FUTURE))
        .await
        .unwrap();
    let at = registry
        .put_cutoff(&user("", "alice"), Some(FUTURE + 5))
        .await
        .unwrap();
    for (begun, cut) in [(0, true), (at - 1, true), (at, true), (at + 1, false)] {
        let mut session = new(&format!("s{begun}"), "alice");
        session.not_before_ms = Some(begun);
        let answer = registry.create(&session).await.unwrap();
        assert_eq!(answer == Created::Cut, cut, "{begun} {answer:?}");
        assert_eq!(registry.find(&session.sid).await.unwrap().is_none(), cut);
    }
    let mut other = new("other", "bob");
    other.not_before_ms = Some(FUTURE + 1);
    created(&*registry, &other).await;
    // Cut comes before full: the password was wrong, as it is now.
    let mut both = limited("both", 0, false);
    both.not_before_ms = Some(0);
    assert_eq!(registry.create(&both).await.unwrap(), Created::Cut);
}

/// Fails if: the moment at which an authentication begins is the clock's, so that a clock which is set back hides the next
/// cutoff from the login; or a cutoff of somebody else that is ahead of the clock makes it later than cutoffs to come.
async fn an_authentication_begins_after_every_cutoff_and_before_the_next(registry: Any) {
    let scopes = [
        CutoffScope::Everyone,
        CutoffScope::Tenant("t".to_owned()),
        user("t", "alice"),
        user("", "bob"),
    ];
    assert_eq!(registry.auth_start().await.unwrap(), 1);
    registry.put_cutoff(&scopes[0], Some(5)).await.unwrap();
    assert_eq!(registry.auth_start().await.unwrap(), 6);
    let mut session = new("s", "carol");
    session.not_before_ms = Some(6);
    created(&*registry, &session).await;
    for (ahead, scope) in (0..).zip(&scopes) {
        let noted = registry.put_cutoff(scope, Some(FUTURE + 100 * ahead)).await;
        for other in &scopes {
            let start = registry.auth_start().await.unwrap();
            assert!(start > *noted.as_ref().unwrap());
            let raised = registry.put_cutoff(other, None).await.unwrap();
            assert!(raised >= start, "{other:?}: {raised} {start}");
        }
    }
}

async fn a_full_user_is_refused_or_the_oldest_make_room(registry: Any) {
    for sid in ["a", "b", "c"] {
        created(&*registry, &limited(sid, 3, false)).await;
    }
    assert_eq!(
        registry.create(&limited("d", 3, false)).await.unwrap(),
        Created::Full
    );
    assert_eq!(registry.find("d").await.unwrap(), None);
    assert_eq!(created(&*registry, &limited("d", 3, true)).await.2, ["a"]);
    assert_eq!(sids(&*registry, "", "alice").await, ["b", "c", "d"]);
    // A limit that was lowered since.
    assert_eq!(
        created(&*registry, &limited("e", 1, true)).await.2,
        ["b", "c", "d"]
    );
    assert_eq!(sids(&*registry, "", "alice").await, ["e"]);
    for evict in [true, false] {
        assert_eq!(
            registry.create(&limited("f", 0, evict)).await.unwrap(),
            Created::Full
        );
    }
    assert!(active(&*registry, "e").await);
}

async fn only_active_sessions_of_the_user_count(registry: Any) {
    created(&*registry, &new("cut", "alice")).await;
    registry.put_cutoff(&user("", "alice"), None).await.unwrap();
    created(&*registry, &new("ended", "alice")).await;
    registry
        .revoke(&Which::Sid("ended".to_owned()), "logout")
        .await
        .unwrap();
    let expired = NewSession {
        lifetime_ms: 0,
        ..new("expired", "alice")
    };
    created(&*registry, &expired).await;
    created(&*registry, &new("other user", "bob")).await;
    let other = NewSession {
        tenant: "t".to_owned(),
        ..new("other tenant", "alice")
    };
    created(&*registry, &other).await;
    assert_eq!(
        created(&*registry, &limited("a", 1, false)).await.2,
        [""; 0]
    );
    assert_eq!(
        registry.create(&limited("b", 1, false)).await.unwrap(),
        Created::Full
    );
}

async fn a_rotation_replaces_what_it_says_and_extends(registry: Any) {
    let (auth_ms, created_ms, _) = created(&*registry, &new("s", "alice")).await;
    assert!(
        registry
            .rotate("s", "token of s", &rotated("2"))
            .await
            .unwrap()
    );
    let found = registry.find("s").await.unwrap().unwrap();
    let it = found.session;
    assert_eq!((&it.token[..], &it.data[..]), ("2", "{}"));
    assert_eq!((it.auth_ms, it.created_ms), (auth_ms, created_ms));
    assert!(it.expires_ms >= created_ms + 2 * HOUR && it.expires_ms <= found.now_ms + 2 * HOUR);
    assert_eq!(it.expires_ms - it.last_used_ms, 2 * HOUR);
    assert!(
        !registry
            .rotate("s", "token of s", &rotated("3"))
            .await
            .unwrap()
    );
    assert!(registry.rotate("s", "2", &rotated("3")).await.unwrap());
}

async fn a_rotation_of_anything_but_the_active_token_changes_nothing(registry: Any) {
    created(&*registry, &new("cut", "alice")).await;
    registry.put_cutoff(&user("", "alice"), None).await.unwrap();
    created(
        &*registry,
        &NewSession {
            lifetime_ms: 0,
            ..new("expired", "alice")
        },
    )
    .await;
    created(&*registry, &new("ended", "alice")).await;
    registry
        .revoke(&Which::Sid("ended".to_owned()), "logout")
        .await
        .unwrap();
    created(&*registry, &new("good", "alice")).await;
    for (sid, token) in [
        ("cut", "token of cut"),
        ("expired", "token of expired"),
        ("ended", "token of ended"),
        ("good", "token of GOOD"),
        ("good", ""),
        ("GOOD", "token of good"),
        ("none", ""),
    ] {
        let before = registry.find(sid).await.unwrap().map(|found| found.session);
        assert!(
            !registry.rotate(sid, token, &rotated("2")).await.unwrap(),
            "{sid} {token}"
        );
        let after = registry.find(sid).await.unwrap().map(|found| found.session);
        assert_eq!(before, after);
    }
}

async fn revoking_returns_those_that_had_not_ended(registry: Any) {
    let one = |name: &str, sid: &str| Which::One {
        tenant: String::new(),
        user: name.to_owned(),
        sid: sid.to_owned(),
    };
    let all = || Which::All {
        tenant: String::new(),
        user: "alice".to_owned(),
    };
    let others = |keep: &str| Which::Others {
        tenant: String::new(),
        user: "alice".to_owned(),
        keep: keep.to_owned(),
    };
    for sid in ["a", "b", "c", "d", "e"] {
        created(&*registry, &new(sid, "alice")).await;
    }
    created(
        &*registry,
        &NewSession {
            lifetime_ms: 0,
            ..new("expired", "alice")
        },
    )
    .await;
    created(&*registry, &new("x", "bob")).await;
    created(
        &*registry,
        &NewSession {
            tenant: "t".to_owned(),
            ..new("y", "alice")
        },
    )
    .await;

    let revoke = async |which: Which| sorted(registry.revoke(&which, "why").await.unwrap());
    assert_eq!(revoke(Which::Sid("a".to_owned())).await, ["a"]);
    assert_eq!(revoke(Which::Sid("a".to_owned())).await, [""; 0]);
    assert_eq!(revoke(Which::Sid("none".to_owned())).await, [""; 0]);
    assert_eq!(revoke(one("bob", "b")).await, [""; 0]);
    assert_eq!(revoke(one("alice", "a")).await, [""; 0]);
    assert_eq!(revoke(one("alice", "b")).await, ["b"]);
    // With those that ended lately: the answer of a try before may have been lost.
    let all_but_c = ["a", "b", "d", "e", "expired"];
    assert_eq!(revoke(others("c")).await, all_but_c);
    assert_eq!(revoke(others("c")).await, all_but_c);
    assert!(active(&*registry, "c").await);
    let ended = registry.find("a").await.unwrap().unwrap().session;
    assert_eq!(
        revoke(others("none")).await,
        ["a", "b", "c", "d", "e", "expired"]
    );
    let after = registry.find("a").await.unwrap().unwrap().session;
    assert_eq!(after, ended, "told of, and not ended again");
    assert_eq!(revoke(all()).await, [""; 0]);
    assert!(active(&*registry, "x").await && active(&*registry, "y").await);
    created(&*registry, &new("f", "alice")).await;
    assert_eq!(revoke(all()).await, ["f"]);
    let found = registry.find("f").await.unwrap().unwrap();
    assert_eq!(found.session.ended.as_deref(), Some("why"));
}

async fn ended_stays_ended(registry: Any) {
    let session = new("s", "alice");
    created(&*registry, &session).await;
    // A reason may be anything; having ended is not a matter of its text.
    registry
        .revoke(&Which::Sid("s".to_owned()), "")
        .await
        .unwrap();
    let before = registry.find("s").await.unwrap().unwrap().session;
    assert_eq!(before.ended.as_deref(), Some(""));
    registry.create(&session).await.unwrap();
    registry.touch("s").await.unwrap();
    registry
        .rotate("s", &session.token, &rotated("2"))
        .await
        .unwrap();
    registry
        .put_cutoff(&CutoffScope::Everyone, None)
        .await
        .unwrap();
    registry
        .revoke(&Which::Sid("s".to_owned()), "again")
        .await
        .unwrap();
    registry.create(&limited("t", 1, true)).await.unwrap();
    assert_eq!(registry.find("s").await.unwrap().unwrap().session, before);
}

async fn the_list_has_active_sessions_in_order(registry: Any) {
    assert_eq!(sids(&*registry, "", "alice").await, [""; 0]);
    // Within a millisecond the order is that of the names, byte by byte: capitals first.
    for sid in ["b", "B", "a", "é", "z", "A"] {
        created(&*registry, &new(sid, "alice")).await;
    }
    let list = registry.list("", "alice").await.unwrap();
    assert_eq!(list.len(), 6);
    let ordered = list
        .windows(2)
        .all(|pair| (pair[0].created_ms, &pair[0].sid) < (pair[1].created_ms, &pair[1].sid));
    assert!(ordered, "{list:?}");
    assert_eq!(
        Some(&list[0]),
        registry
            .find(&list[0].sid)
            .await
            .unwrap()
            .map(|f| f.session)
            .as_ref()
    );

    created(
        &*registry,
        &NewSession {
            lifetime_ms: 0,
            ..new("expired", "alice")
        },
    )
    .await;
    registry
        .revoke(&Which::Sid("a".to_owned()), "logout")
        .await
        .unwrap();
    let list = sorted(sids(&*registry, "", "alice").await);
    assert_eq!(list, ["A", "B", "b", "z", "é"]);
    for (tenant, name) in [("", "Alice"), ("t", "alice"), ("", "alice "), ("", "")] {
        assert_eq!(sids(&*registry, tenant, name).await, [""; 0]);
    }
}

async fn what_changed_lately(registry: Any) {
    for sid in ["a", "b", "c"] {
        created(&*registry, &new(sid, "alice")).await;
    }
    assert_eq!(registry.recently_ended(u64::MAX).await.unwrap(), [""; 0]);
    assert_eq!(registry.recent_cutoffs(u64::MAX).await.unwrap(), []);
    registry
        .revoke(&Which::Sid("a".to_owned()), "logout")
        .await
        .unwrap();
    created(&*registry, &limited("d", 2, true)).await;
    for age in [HOUR, u64::MAX] {
        let ended = registry.recently_ended(age).await.unwrap();
        assert_eq!(sorted(ended), ["a", "b"]);
    }
    crate::means::wait::until("the database's clock to move on", async || {
        let ended = registry.recently_ended(0).await.unwrap();
        ended.is_empty().then_some(())
    })
    .await;

    let now = registry.find("a").await.unwrap().unwrap().now_ms;
    let known = [
        (user("t", "alice"), 1),
        (CutoffScope::Tenant("t".to_owned()), now - HOUR),
        (CutoffScope::Everyone, FUTURE),
    ];
    for (scope, at) in &known {
        assert_eq!(registry.put_cutoff(scope, Some(*at)).await.unwrap(), *at);
    }
    for (age, expected) in [(0, 1), (HOUR / 2, 1), (2 * HOUR, 2), (u64::MAX, 3)] {
        let mut cutoffs = registry.recent_cutoffs(age).await.unwrap();
        cutoffs.sort_by_key(|(_, at)| *at);
        assert_eq!(cutoffs, known[3 - expected..], "{age}");
    }
}

/// Fails if: a cutoff that is noted ends more than it had ended, or takes back one that is later.
async fn a_noted_cutoff_is_what_it_was(registry: Any) {
    let (begun, ..) = created(&*registry, &new("s", "alice")).await;
    let scope = user("", "alice");
    let note = async |moment| registry.put_cutoff(&scope, Some(moment)).await.unwrap();
    assert_eq!(note(begun - 1).await, begun - 1);
    assert_eq!(note(begun - 1).await, begun - 1);
    assert_eq!(note(begun - 2).await, begun - 1);
    assert!(active(&*registry, "s").await);
    assert_eq!(note(begun).await, begun);
    assert!(!active(&*registry, "s").await);
}

async fn a_use_is_noted(registry: Any) {
    let (_, created_ms, _) = created(&*registry, &new("s", "alice")).await;
    registry.touch("none").await.unwrap();
    let last_used = async || {
        registry.touch("s").await.unwrap();
        let found = registry.find("s").await.unwrap().unwrap();
        assert_eq!(found.session.expires_ms, created_ms + HOUR);
        let used = found.session.last_used_ms;
        assert!(used <= found.now_ms);
        used
    };
    // The database's clock moves on by itself.
    crate::means::wait::until("a later use", async || {
        (last_used().await > created_ms).then_some(())
    })
    .await;
}

/// The same end to end, by clocks of which each is behind or ahead of the one before.
#[tokio::test]
async fn a_clock_that_is_set_back_hides_no_cutoff() {
    use portcullis::{Clock, registry::MemoryRegistry};
    let registry = MemoryRegistry::new();
    let at = |moment| registry.clone().clock(Clock::settable(moment));
    let mut login = new("s", "alice");
    login.not_before_ms = Some(at(FUTURE).auth_start().await.unwrap());
    let cutting = at(FUTURE - HOUR);
    let cutoff = cutting.put_cutoff(&user("", "alice"), None).await.unwrap();
    assert_eq!(cutoff, FUTURE - HOUR);
    let later = at(FUTURE + HOUR);
    assert_eq!(later.create(&login).await.unwrap(), Created::Cut);
    login.not_before_ms = Some(at(FUTURE - HOUR).auth_start().await.unwrap());
    created(&later, &login).await;
}
