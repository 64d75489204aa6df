//! Rotation, devices, logouts and cutoffs in any order against a model that knows none of the crate's data: a list of
//! devices with what lives on them. Run on the in-memory store and on Redis.

use std::collections::BTreeSet;

use portcullis::{
    refresh::{RefreshErrorKind, TokenPair},
    session::OnLimit,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::kit::{Bench, DAY, MINUTE, SECOND, Settings, benches_with};
use crate::session::bench::Browser;

const HOUR: u64 = 60 * MINUTE;
const GRACE: u64 = 10 * SECOND;
const SESSION_ABSOLUTE: u64 = DAY;
const FAMILY_IDLE: u64 = 14 * DAY;
const FAMILY_ABSOLUTE: u64 = 60 * DAY;
const MOST: usize = 3;

/// What may happen. Numbers choose among the devices there have been, the dead ones too.
#[derive(Clone, Debug)]
enum Step {
    Login,
    LoginAgain(usize),
    Issue,
    IssueFor(usize),
    /// The newest token of a device, or one that many generations before.
    Rotate(usize, usize),
    /// A token of an earlier issue on the device.
    RotateStale(usize),
    RevokeToken(usize),
    Renew(usize),
    Logout(usize),
    Revoke(usize),
    Others(usize),
    All,
    CutUser,
    CutEveryone,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let device = 0..12_usize;
    // None of the sums comes near a limit: on Redis real time passes as well.
    let waits = prop::sample::select(vec![4 * SECOND, 11 * SECOND, 13 * HOUR, 8 * DAY]);
    let step = prop_oneof![
        3 => Just(Step::Login),
        2 => device.clone().prop_map(Step::LoginAgain),
        2 => Just(Step::Issue),
        4 => device.clone().prop_map(Step::IssueFor),
        12 => (device.clone(), prop::sample::select(vec![0, 0, 0, 0, 0, 1, 1, 2])).prop_map(|(d, k)| Step::Rotate(d, k)),
        1 => device.clone().prop_map(Step::RotateStale),
        1 => device.clone().prop_map(Step::RevokeToken),
        1 => device.clone().prop_map(Step::Renew),
        1 => device.clone().prop_map(Step::Logout),
        1 => device.clone().prop_map(Step::Revoke),
        1 => device.prop_map(Step::Others),
        1 => Just(Step::All),
        1 => Just(Step::CutUser),
        1 => Just(Step::CutEveryone),
        5 => waits.prop_map(Step::Wait),
    ];
    vec(step, 1..40)
}

/// A device as the model knows it.
struct Device {
    sid: String,
    browser: Option<Browser>,
    /// When its session began, if it has one.
    session: Option<u64>,
    family: Option<Family>,
    /// Tokens of families that others replaced.
    stale: Vec<String>,
    /// Later logins have larger ones.
    order: usize,
    evicted: bool,
}

struct Family {
    tokens: Vec<String>,
    started: u64,
    rotated: u64,
}

struct World<'a> {
    bench: &'a Bench,
    user: String,
    now: u64,
    logins: usize,
    devices: Vec<Device>,
    /// Access tokens since time last moved: those stored are not aged with the rest.
    access: Vec<(usize, TokenPair)>,
    /// Those of a device that was kept, of before.
    dead_access: Vec<TokenPair>,
}

impl Device {
    fn has_session(&self, now: u64) -> bool {
        self.session
            .is_some_and(|began| now < began + SESSION_ABSOLUTE)
    }

    fn has_family(&self, now: u64) -> bool {
        let lives = |f: &Family| now < f.rotated + FAMILY_IDLE && now < f.started + FAMILY_ABSOLUTE;
        self.family.as_ref().is_some_and(lives)
    }

    fn is_alive(&self, now: u64) -> bool {
        self.has_session(now) || self.has_family(now)
    }

    fn end(&mut self) {
        self.session = None;
        if let Some(family) = self.family.take() {
            self.stale.extend(family.tokens);
        }
    }
}

impl World<'_> {
    async fn wait(&mut self, ms: u64) {
        self.bench.advance(ms).await;
        self.now += ms;
        self.access.clear();
        self.dead_access.clear();
    }

    fn pick(&self, number: usize) -> Option<usize> {
        (!self.devices.is_empty()).then(|| number % self.devices.len())
    }

    /// Room for one more.
    fn admit(&mut self) {
        let now = self.now;
        let mut alive: Vec<_> = self
            .devices
            .iter_mut()
            .filter(|d| d.is_alive(now))
            .collect();
        alive.sort_by_key(|device| device.order);
        let over = (alive.len() + 1).saturating_sub(MOST);
        for device in alive.into_iter().take(over) {
            device.end();
            device.evicted = true;
        }
    }

    fn add(&mut self, sid: String, browser: Option<Browser>, pair: Option<TokenPair>) {
        self.admit();
        self.logins += 1;
        self.devices.push(Device {
            sid,
            session: browser.is_some().then_some(self.now),
            browser,
            family: pair.as_ref().map(|pair| self.family(pair)),
            stale: Vec::new(),
            order: self.logins,
            evicted: false,
        });
        let index = self.devices.len() - 1;
        self.access.extend(pair.map(|pair| (index, pair)));
    }

    fn family(&self, pair: &TokenPair) -> Family {
        Family {
            tokens: vec![pair.refresh().to_owned()],
            started: self.now,
            rotated: self.now,
        }
    }

    fn node(&self) -> &super::kit::Node {
        self.bench.nodes()[self.logins % 2]
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Login => self.log_in(Browser::new(&self.node().app.clone())).await,
            Step::LoginAgain(number) => {
                let device = self.pick(number).map(|index| &self.devices[index]);
                if let Some(browser) = device.and_then(|device| device.browser.clone()) {
                    self.log_in(browser).await;
                }
            }
            Step::Issue => {
                self.wait(5).await;
                let pair = self.node().issue(&self.user).await;
                self.add(pair.sid().to_owned(), None, Some(pair));
            }
            Step::IssueFor(number) => self.issue_for(number).await,
            Step::Rotate(number, back) => self.rotate(number, back).await,
            Step::RotateStale(number) => {
                let token = self
                    .pick(number)
                    .and_then(|index| self.devices[index].stale.first());
                if let Some(token) = token {
                    assert_ne!(self.node().rotate(token).await.err(), None);
                    assert_ne!(
                        self.node().rotate(token).await.err(),
                        Some(RefreshErrorKind::Reused)
                    );
                }
            }
            Step::Wait(ms) => self.wait(ms).await,
            _ => self.end(step).await,
        }
    }

    async fn log_in(&mut self, browser: Browser) {
        self.wait(5).await;
        let now = self.now;
        let answer = browser.post(&format!("/login/{}", self.user)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sid = answer.text.split(' ').next().unwrap().to_owned();
        // The browser's session of before is either this one, or it was dead.
        let same = self.devices.iter().position(|device| device.sid == sid);
        let before = browser.cookie_header();
        for device in &mut self.devices {
            if device
                .browser
                .as_ref()
                .is_some_and(|other| other.cookie_header() == before)
            {
                assert_eq!(
                    device.has_session(now),
                    device.sid == sid,
                    "the same login goes on"
                );
            }
        }
        match same {
            Some(index) => {
                self.logins += 1;
                let device = &mut self.devices[index];
                (device.session, device.order) = (Some(now), self.logins);
            }
            None => self.add(sid, Some(browser), None),
        }
    }

    async fn issue_for(&mut self, number: usize) {
        let Some(index) = self.pick(number) else {
            return;
        };
        let device = &self.devices[index];
        let Some(browser) = &device.browser else {
            return;
        };
        let answer = browser.copy_at(&self.node().app).get("/me").await;
        let Some((sid, auth_ms)) = answer.text.split_once(' ').filter(|_| answer.status == 200)
        else {
            return;
        };
        if *sid != device.sid {
            return; // The browser has signed in anew since, as another device.
        }
        let seat = super::kit::Seat {
            sid: sid.to_owned(),
            auth_ms: auth_ms.parse().unwrap(),
            browser: browser.clone(),
        };
        let pair = self.node().issue_for(&self.user, &seat).await.unwrap();
        let family = self.family(&pair);
        let device = &mut self.devices[index];
        let replaced = device.family.replace(family);
        device
            .stale
            .extend(replaced.into_iter().flat_map(|family| family.tokens));
        self.access.push((index, pair));
    }

    async fn rotate(&mut self, number: usize, back: usize) {
        let Some(index) = self.pick(number) else {
            return;
        };
        let (now, device) = (self.now, &self.devices[index]);
        let Some(family) = &device.family else {
            if let Some(token) = device.stale.last() {
                let refused = self.node().rotate(token).await.unwrap_err();
                let told = [RefreshErrorKind::Elsewhere, RefreshErrorKind::Unknown];
                assert!(!device.evicted || told.contains(&refused), "{refused:?}");
            }
            return;
        };
        let newest = family.tokens.len() - 1;
        let Some(at) = newest.checked_sub(back) else {
            return;
        };
        let outcome = self.node().rotate(&family.tokens[at]).await;
        let in_grace = now < family.rotated + GRACE;
        if !device.has_family(now) {
            let kind = outcome.unwrap_err();
            assert!(
                matches!(kind, RefreshErrorKind::Unknown | RefreshErrorKind::Expired),
                "{kind:?}"
            );
        } else if newest > 0 && back <= 1 && in_grace {
            let pair = outcome.unwrap();
            assert_eq!(pair.refresh(), family.tokens[newest], "the same successor");
            self.access.push((index, pair));
        } else if back == 0 {
            let pair = outcome.unwrap();
            let family = self.devices[index].family.as_mut().unwrap();
            assert!(!family.tokens.iter().any(|token| token == pair.refresh()));
            family.tokens.push(pair.refresh().to_owned());
            family.rotated = now;
            self.access.push((index, pair));
        } else {
            assert_eq!(outcome.unwrap_err(), RefreshErrorKind::Reused);
            self.devices[index].end();
        }
    }

    /// The steps that end something.
    async fn end(&mut self, step: &Step) {
        let (user, now) = (self.user.clone(), self.now);
        let node = self.node().clone();
        match *step {
            Step::All => drop(node.devices.revoke_all("", &user).await.unwrap()),
            Step::CutUser => drop(node.cutoffs.user("", &user).await.unwrap()),
            Step::CutEveryone => drop(node.cutoffs.everyone().await.unwrap()),
            Step::RevokeToken(number)
            | Step::Renew(number)
            | Step::Logout(number)
            | Step::Revoke(number)
            | Step::Others(number) => {
                if let Some(index) = self.pick(number) {
                    self.end_one(step, index).await;
                }
                return;
            }
            _ => unreachable!("a step that ends"),
        }
        assert!(
            self.devices
                .iter()
                .filter(|device| device.is_alive(now))
                .count()
                <= MOST
        );
        self.devices.iter_mut().for_each(Device::end);
    }

    async fn end_one(&mut self, step: &Step, index: usize) {
        let (now, node, user) = (self.now, self.node().clone(), self.user.clone());
        let device = &mut self.devices[index];
        let own_browser = device.browser.clone().filter(|_| device.has_session(now));
        match *step {
            Step::RevokeToken(_) => {
                let Some(family) = &device.family else { return };
                node.rotation.revoke(&family.tokens[0]).await.unwrap();
                device.end();
            }
            Step::Renew(_) => {
                let Some(browser) = own_browser else { return };
                assert_eq!(browser.post("/renew").await.status, 200);
            }
            Step::Logout(_) => {
                let Some(browser) = own_browser else { return };
                assert_eq!(browser.post("/logout").await.status, 200);
                device.end();
            }
            Step::Revoke(_) => {
                let was = node.devices.revoke("", &user, &device.sid).await.unwrap();
                // What has expired may be listed until somebody looks.
                assert!(was || !device.is_alive(now));
                device.end();
            }
            _ => {
                node.devices
                    .revoke_others("", &user, &device.sid)
                    .await
                    .unwrap();
                let keeps = device.is_alive(now);
                self.logins += 1;
                device.order = self.logins;
                let held = self.access.drain(..).map(|(_, pair)| pair);
                self.dead_access.extend(held);
                for (other, device) in self.devices.iter_mut().enumerate() {
                    if !keeps || other != index {
                        device.end();
                    }
                }
            }
        }
    }

    /// Everything that can be asked agrees with the model, on both nodes.
    async fn check(&self) {
        let alive = self
            .devices
            .iter()
            .filter(|device| device.is_alive(self.now));
        let expected: BTreeSet<_> = alive.map(|device| device.sid.clone()).collect();
        for node in self.bench.nodes() {
            assert_eq!(node.sids(&self.user).await, expected, "listed");
        }
        for device in &self.devices {
            let Some(browser) = &device.browser else {
                continue;
            };
            let answer = browser.copy_at(&self.bench.two.app).get("/me").await;
            let is_in = answer.status == 200 && answer.text.starts_with(&device.sid);
            assert_eq!(is_in, device.has_session(self.now), "session");
        }
        for (index, pair) in &self.access {
            let family = self.devices[*index].family.is_some();
            let expected = if family { 200 } else { 401 };
            assert_eq!(self.bench.two.access(pair).await, expected, "access token");
        }
        for pair in &self.dead_access {
            assert_eq!(
                self.bench.one.access(pair).await,
                401,
                "access token of before"
            );
        }
    }
}

async fn run(bench: &Bench, case: usize, steps: &[Step]) {
    if let Some(server) = &bench.server {
        server.cli(&["FLUSHALL"]).await;
    }
    let mut world = World {
        bench,
        user: format!("alice{case}"),
        now: 1_000,
        logins: 0,
        devices: Vec::new(),
        access: Vec::new(),
        dead_access: Vec::new(),
    };
    for step in steps {
        world.step(step).await;
        world.check().await;
    }
}

fn explore(on_redis: bool, cases: u32) {
    let settings = Settings {
        rotation: |builder| builder.max_devices(MOST as u32),
        session: |builder| {
            builder
                .max_devices(MOST as u32, OnLimit::EvictOldest)
                .no_idle_timeout()
        },
        ..Settings::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [memory, redis] = runtime.block_on(benches_with(&settings));
    let bench = if on_redis { redis } else { memory };
    let case = std::cell::Cell::new(0);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        case.set(case.get() + 1);
        runtime.block_on(run(&bench, case.get(), &steps));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{}: {error}", bench.name));
}

/// Fails if: almost anything in rotate.lua's twin, or that of the device scripts, is changed.
#[test]
fn the_memory_store_does_what_the_model_does() {
    explore(false, 400);
}

/// Fails if: almost anything in rotate.lua, issue.lua, index.lua or devices.lua is changed.
#[test]
fn redis_does_what_the_model_does() {
    explore(true, 60);
}
