//! The same steps, drawn from a seed, on all registries: they answer alike, the clock apart. The one in memory is the
//! model; its rules are few enough to be read.

use std::{
    fmt::Write,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use portcullis::registry::{
    Created, CutoffScope, Limit, NewSession, Registered, Registry, RegistryError, Rotated, Which,
};

use super::{Bench, FUTURE, HOUR, sorted};

const STEPS: usize = 80;

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create(NewSession),
    Find(String),
    List(String, String),
    Revoke(Which),
    Touch(String),
    Rotate(String, String, Rotated),
    Cut(CutoffScope, Option<u64>),
    Cutoffs,
    Ended,
}

fn step(dice: &mut Dice, number: usize) -> Step {
    let tenant = dice.one(&["", "t"]).to_owned();
    let user = dice.one(&["alice", "bob"]).to_owned();
    let sid = format!("s{:03}", dice.below(number as u64 + 1));
    match dice.below(20) {
        0..=6 => Step::Create(create(dice, number, tenant, user)),
        7 | 8 => Step::Find(sid),
        9 | 10 => Step::List(tenant, user),
        11 => Step::Revoke(dice.one(&[
            Which::Sid(sid.clone()),
            Which::One {
                tenant: tenant.clone(),
                user: user.clone(),
                sid: sid.clone(),
            },
            Which::Others {
                tenant: tenant.clone(),
                user: user.clone(),
                keep: sid,
            },
            Which::All { tenant, user },
        ])),
        12 => Step::Touch(sid),
        13..=16 => {
            let expected = dice.one(&["0", "0", "1", "2"]).to_owned();
            let next = Rotated {
                token: dice.one(&["0", "1", "2"]).to_owned(),
                data: format!("{number}"),
                lifetime_ms: dice.one(&[HOUR, HOUR, 0]),
            };
            Step::Rotate(sid, expected, next)
        }
        17 => {
            let scopes = [
                CutoffScope::Everyone,
                CutoffScope::Tenant(tenant.clone()),
                CutoffScope::User { tenant, user },
            ];
            Step::Cut(
                dice.one(&scopes),
                dice.one(&[None, None, Some(5), Some(FUTURE + number as u64)]),
            )
        }
        18 => Step::Cutoffs,
        _ => Step::Ended,
    }
}

fn create(dice: &mut Dice, number: usize, tenant: String, user: String) -> NewSession {
    // Now and then one that may be there already.
    let number = dice.one(&[number, number, number, number / 2]);
    let limit = Limit {
        most: dice.below(4) as u32,
        evict: dice.below(2) == 0,
    };
    NewSession {
        sid: format!("s{number:03}"),
        tenant,
        user,
        token: "0".to_owned(),
        data: String::new(),
        lifetime_ms: dice.one(&[HOUR, HOUR, HOUR, 0]),
        auth_at_least_ms: dice.one(&[0, 0, 0, FUTURE + number as u64]),
        not_before_ms: dice.one(&[None, None, Some(0), Some(FUTURE + 40)]),
        limit: dice.one(&[None, Some(limit)]),
    }
}

/// A moment of the clock is like any other; one that was computed is itself.
fn moment(ms: u64) -> String {
    if ms >= FUTURE {
        format!("+{}", ms - FUTURE)
    } else {
        "now".to_owned()
    }
}

fn session(it: &Registered) -> String {
    // To the half hour: a use that was noted takes off what the clock went on.
    let lifetime = (it.expires_ms.saturating_sub(it.last_used_ms) + HOUR / 4) / (HOUR / 2);
    format!(
        "{} {} {} {} {} {:?} {} {}",
        it.sid,
        it.tenant,
        it.user,
        moment(it.auth_ms),
        lifetime,
        it.ended,
        it.token,
        it.data
    )
}

async fn answer(registry: &dyn Registry, step: &Step) -> Result<String, RegistryError> {
    Ok(match step {
        Step::Create(new) => match registry.create(new).await? {
            Created::Active {
                auth_ms, evicted, ..
            } => format!("{} {evicted:?}", moment(auth_ms)),
            other => format!("{other:?}"),
        },
        Step::Find(sid) => registry.find(sid).await?.map_or_else(String::new, |found| {
            let cutoff = found.cutoff_ms.map(moment);
            format!(
                "{} {cutoff:?} {}",
                session(&found.session),
                found.is_active()
            )
        }),
        Step::List(tenant, user) => {
            let list = registry.list(tenant, user).await?;
            list.iter().map(session).collect::<Vec<_>>().join("\n")
        }
        Step::Revoke(which) => format!("{:?}", sorted(registry.revoke(which, "why").await?)),
        Step::Touch(sid) => format!("{:?}", registry.touch(sid).await?),
        Step::Rotate(sid, expected, next) => {
            registry.rotate(sid, expected, next).await?.to_string()
        }
        Step::Cut(scope, moment) => self::moment(registry.put_cutoff(scope, *moment).await?),
        Step::Cutoffs => {
            let mut cutoffs = registry.recent_cutoffs(u64::MAX).await?;
            cutoffs.sort();
            let line = |(scope, at)| format!("{scope:?} {}", moment(at));
            cutoffs.into_iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Step::Ended => format!("{:?}", sorted(registry.recently_ended(u64::MAX).await?)),
    })
}

/// Until the clock has gone on: which of two sessions is the older one must not depend on how fast a registry is.
async fn tick() {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis()
    };
    let begun = now();
    while now() == begun {
        tokio::task::yield_now().await;
    }
}

/// Runs the steps of a seed on each; the answers of the first are those of all.
async fn alike(seed: u64, registries: &[(&str, Arc<dyn Registry>)]) {
    let mut dice = Dice(seed);
    let mut story = String::new();
    for number in 0..STEPS {
        let step = step(&mut dice, number);
        if matches!(step, Step::Create(_)) {
            tick().await;
        }
        let mut answers = Vec::new();
        for (_, registry) in registries {
            let answer = answer(&**registry, &step).await;
            answers.push(answer.map_err(|error| error.kind()));
        }
        writeln!(story, "{step:?}\n    {:?}", answers[0]).unwrap();
        for ((name, _), answer) in registries.iter().zip(&answers) {
            assert_eq!(answer, &answers[0], "{name}, seed {seed}:\n{story}");
        }
    }
}

/// Fails if: an implementation differs from the others in any order of operations.
#[tokio::test]
async fn the_same_steps_have_the_same_answers_everywhere() {
    for seed in 0..12 {
        let benches = [
            Bench::memory().await,
            Bench::sqlite().await,
            Bench::postgres().await,
            Bench::pooled().await,
        ];
        let names = ["memory", "sqlite", "postgres", "pooled"];
        let registries: Vec<_> = names
            .into_iter()
            .zip(benches.iter().map(|bench| bench.registry.clone()))
            .collect();
        alike(seed, &registries).await;
    }
}

/// The cheap two get more.
#[tokio::test]
async fn many_more_steps_in_memory_and_in_sqlite() {
    for seed in 1_000..1_060 {
        let benches = [Bench::memory().await, Bench::sqlite().await];
        let registries: Vec<_> = ["memory", "sqlite"]
            .into_iter()
            .zip(benches.iter().map(|bench| bench.registry.clone()))
            .collect();
        alike(seed, &registries).await;
    }
}
