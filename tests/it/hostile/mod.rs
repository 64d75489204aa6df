//! Hostile bytes, and what must hold whatever they are: one function for each kind of input, which panics when it does not.
//!
//! `fuzz/` calls these functions with inputs that coverage guides; here they run over their seeds, which are valid inputs,
//! attacks written by hand, and everything that was ever found. `fuzz/README.md` says what each is about.

mod forge;
mod means;
mod world;

pub mod form;
pub mod near;
pub mod oauth;
pub mod replies;
pub mod requests;
pub mod settings;
pub mod stored;
pub mod tokens;

/// A kind of input: its name, what runs it, and inputs to begin with.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: &'static [&'static [u8]],
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "requests",
        run: requests::run,
        seeds: requests::SEEDS,
    },
    Target {
        name: "form",
        run: form::run,
        seeds: form::SEEDS,
    },
    Target {
        name: "tokens",
        run: tokens::run,
        seeds: tokens::SEEDS,
    },
    Target {
        name: "oauth",
        run: oauth::run,
        seeds: oauth::SEEDS,
    },
    Target {
        name: "stored",
        run: stored::run,
        seeds: stored::SEEDS,
    },
    Target {
        name: "replies",
        run: replies::run,
        seeds: replies::SEEDS,
    },
    Target {
        name: "near",
        run: near::run,
        seeds: near::SEEDS,
    },
    Target {
        name: "settings",
        run: settings::run,
        seeds: settings::SEEDS,
    },
];

/// Every seed, and each of them cut off and with a byte changed at every place.
#[test]
fn what_is_hostile_does_no_harm() {
    for target in TARGETS {
        for (number, seed) in target.seeds.iter().enumerate() {
            let run = |input: &[u8]| {
                let outcome = std::panic::catch_unwind(|| (target.run)(input));
                assert!(outcome.is_ok(), "{} {number}: {input:?}", target.name);
            };
            run(seed);
            // A server that falls silent is waited for.
            let most = if target.name == "near" { 0 } else { 400 };
            for at in 0..seed.len().min(most) {
                run(&seed[..at]);
                let mut changed = seed.to_vec();
                changed[at] ^= 1 << (at % 8);
                run(&changed);
            }
        }
    }
}
