//! Many at once.

use std::sync::Arc;

use portcullis::registry::{Created, CutoffScope, Limit, Registry, Rotated, Which};

use super::{active, created, new, on_all, sids};

type Any = Arc<dyn Registry>;

const CROWD: usize = 50;
const MOST: u32 = 3;

on_all! {
    a_crowd_of_logins_never_gets_one_more
    a_crowd_of_logins_evicts_all_but_the_limit
    a_crowd_with_one_token_rotates_once
    a_crowd_of_revocations_ends_each_session_once
    one_create_tried_by_a_crowd_is_one_session
    no_login_slips_past_a_cutoff
}

async fn crowd<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    each: impl Fn(usize) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..CROWD).map(|at| tokio::spawn(each(at))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

async fn login(registry: Any, at: usize, evict: bool) -> Created {
    let mut session = new(&format!("s{at}"), "alice");
    session.limit = Some(Limit { most: MOST, evict });
    registry.create(&session).await.unwrap()
}

/// Fails if: counting and writing are two steps that others can come between.
async fn a_crowd_of_logins_never_gets_one_more(registry: Any) {
    let answers = crowd(|at| login(registry.clone(), at, false)).await;
    let full = answers.iter().filter(|answer| **answer == Created::Full);
    assert_eq!(full.count(), CROWD - MOST as usize);
    assert_eq!(sids(&*registry, "", "alice").await.len(), MOST as usize);
}

async fn a_crowd_of_logins_evicts_all_but_the_limit(registry: Any) {
    let answers = crowd(|at| login(registry.clone(), at, true)).await;
    let mut ended: Vec<String> = Vec::new();
    for answer in answers {
        let Created::Active { evicted, .. } = answer else {
            panic!("{answer:?}");
        };
        ended.extend(evicted);
    }
    // Each evicted one is told to exactly one login, and all the others are there.
    assert_eq!(ended.len(), CROWD - MOST as usize);
    let left = sids(&*registry, "", "alice").await;
    assert_eq!(left.len(), MOST as usize);
    assert!(left.iter().all(|sid| !ended.contains(sid)));
}

async fn a_crowd_with_one_token_rotates_once(registry: Any) {
    let session = new("s", "alice");
    created(&*registry, &session).await;
    let answers = crowd(|at| {
        let (registry, expected) = (registry.clone(), session.token.clone());
        async move {
            let next = Rotated {
                token: format!("{at}"),
                ..Rotated::default()
            };
            let next = Rotated {
                lifetime_ms: super::HOUR,
                ..next
            };
            registry.rotate("s", &expected, &next).await.unwrap()
        }
    })
    .await;
    let winners: Vec<_> = (0..CROWD).filter(|at| answers[*at]).collect();
    assert_eq!(winners.len(), 1);
    let found = registry.find("s").await.unwrap().unwrap();
    assert_eq!(found.session.token, winners[0].to_string());
}

async fn a_crowd_of_revocations_ends_each_session_once(registry: Any) {
    for at in 0..10 {
        created(&*registry, &new(&format!("s{at}"), "alice")).await;
    }
    let answers = crowd(|at| {
        let registry = registry.clone();
        async move {
            let (tenant, user) = (String::new(), "alice".to_owned());
            let which = match at % 3 {
                0 => Which::All { tenant, user },
                1 => Which::Others {
                    tenant,
                    user,
                    keep: format!("s{}", at % 10),
                },
                _ => Which::Sid(format!("s{}", at % 10)),
            };
            registry.revoke(&which, "logout").await.unwrap()
        }
    })
    .await;
    // Who ends all others is told of what ended a moment ago as well.
    let others = answers.iter().skip(1).step_by(3);
    let (mut ended, told): (Vec<_>, Vec<_>) = (Vec::new(), others.flatten().cloned().collect());
    for (at, sids) in answers.iter().enumerate() {
        ended.extend(sids.iter().filter(|_| at % 3 != 1).cloned());
    }
    ended.sort();
    let times = ended.len();
    ended.dedup();
    assert_eq!(ended.len(), times, "none ended twice");
    ended.extend(told);
    ended.sort();
    ended.dedup();
    assert_eq!(
        ended,
        (0..10).map(|at| format!("s{at}")).collect::<Vec<_>>()
    );
}

async fn one_create_tried_by_a_crowd_is_one_session(registry: Any) {
    let answers = crowd(|_| {
        let registry = registry.clone();
        async move { registry.create(&new("s", "alice")).await.unwrap() }
    })
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(sids(&*registry, "", "alice").await, ["s"]);
}

/// Fails if: a cutoff and a create miss each other: neither is the login refused nor its session ended. The order is
/// forced in `postgres::a_cutoff_under_way_is_waited_for`.
async fn no_login_slips_past_a_cutoff(registry: Any) {
    for round in 0..20 {
        let (cutter, login) = (registry.clone(), registry.clone());
        let user = format!("user-{round}");
        let scope = CutoffScope::User {
            tenant: String::new(),
            user: user.clone(),
        };
        let cut = tokio::spawn(async move { cutter.put_cutoff(&scope, None).await.unwrap() });
        let mut session = new(&user, &user);
        session.not_before_ms = Some(0);
        let login = tokio::spawn(async move { login.create(&session).await.unwrap() });
        cut.await.unwrap();
        login.await.unwrap();
        assert!(!active(&*registry, &user).await);
    }
}
