//! Whether the sessions of verified tokens are active: this node, then the store, then the database.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    error::{ActiveError, ActiveErrorKind},
    flight::Answer,
    inner::{Inner, Kept},
    ops::{self, Read},
    standing::{Standing, fingerprint},
};
use crate::{
    blacklist::{self, Heard},
    jwt::VerifiedToken,
    near,
    secret::sha256_of_parts,
    store::{Call, Rider, StoreError, StoreErrorKind, Value},
};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What was found out about a token.
#[derive(Debug)]
pub(super) enum Verdict {
    Active,
    /// Its session is active, and whether the token itself was revoked nobody can say.
    Unlisted(ActiveError),
    /// Revoked, cut off, of a session that is not active, or of somebody else's: no difference is made.
    Gone,
    /// Nobody can say.
    Unknown(ActiveError),
}

/// A token, and what the store said about its session.
struct Asked<'a> {
    token: &'a VerifiedToken,
    /// What a lease would hold; none where the store was not asked.
    lease: Option<Lease>,
    heard: Result<Heard, StoreError>,
    read: Result<Read, StoreError>,
}

/// A lease that was given, or may have been: given back if it is dropped.
struct Lease {
    inner: Arc<Inner>,
    sid: String,
    text: String,
    given: bool,
}

impl Lease {
    fn read(&self) -> Call {
        let Inner {
            store, settings, ..
        } = &*self.inner;
        ops::read(store, &self.sid, &self.text, settings.lease_ms)
    }

    /// What the store said; from here on it is known whether it was given.
    fn was_read(&mut self, reply: Result<Value, StoreError>) -> Result<Read, StoreError> {
        let read = reply.and_then(ops::what_was_read);
        self.given = matches!(read, Ok(Read::Lease { .. }));
        read
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.given {
            let release = ops::release(&self.inner.store, &self.sid, &self.text);
            let store = self.inner.store.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                drop(runtime.spawn(async move { store.run(release).await }));
            }
        }
    }
}

/// Where and when the question was asked.
#[derive(Clone, Copy)]
struct Moment {
    era: Option<u64>,
    connection: Option<u64>,
    from_ms: u64,
}

impl Inner {
    /// What this node can say by itself.
    pub(super) fn look(&self, tokens: &[VerifiedToken]) -> blacklist::Verdict {
        let verdicts = tokens.iter().map(|token| self.look_one(token));
        verdicts.max().unwrap_or(blacklist::Verdict::Clear)
    }

    fn look_one(&self, token: &VerifiedToken) -> blacklist::Verdict {
        use blacklist::Verdict::{Ask, Clear, Dead};
        if own_sid(token).is_some_and(|sid| self.outbox.has_ended(sid)) {
            return Dead;
        }
        let Some(near) = near::of(&self.store) else {
            return Ask;
        };
        let view = near.view();
        let kept = own_sid(token).and_then(|sid| self.local.get(&name(sid)));
        let auth_ms = kept.map(|kept| kept.auth_ms);
        let verdict = blacklist::look_one(&view, self.store.namespace(), token, auth_ms);
        if verdict != Clear || own_sid(token).is_none() {
            return verdict;
        }
        let now = self.store.clock().now_millis();
        // The era is read after the view was found to be fresh: if anything was lost in between, it is another one.
        let holds = |kept: Kept| {
            (kept.from_ms..kept.until_ms).contains(&now)
                && kept.era == view.era()
                && kept.owner == owner_of(token)
                // Else something may have ended that this node could not remember, or the store has yet to be told of.
                && self.is_told()
        };
        let (tenant, user) = (token.tenant().unwrap_or(""), token.sub().unwrap_or(""));
        if kept.is_some_and(|kept| self.outbox.has_cut(tenant, user, kept.auth_ms)) {
            return Dead;
        }
        if kept.is_some_and(holds) { Clear } else { Ask }
    }

    /// Asks the store, and whoever else has to be asked; one verdict for each token.
    pub(super) async fn examine(
        self: &Arc<Self>,
        tokens: &[VerifiedToken],
        rider: Option<Arc<dyn Rider>>,
    ) -> Vec<Verdict> {
        self.start();
        let era = near::of(&self.store).map(|near| near.view().era());
        let believed = self.believed().await;
        let from_ms = self.store.clock().now_millis();
        let mut asked = self.ask(tokens, rider, believed.is_some()).await;
        // Another connection meanwhile may have led to a server that does not know what this one did.
        let connection = believed.filter(|_| self.store.connection() == believed);
        let moment = Moment {
            era,
            connection,
            from_ms,
        };
        let mut verdicts = Vec::with_capacity(tokens.len());
        for one in &mut asked {
            verdicts.push(self.conclude(one, moment).await);
        }
        verdicts
    }

    /// The one trip.
    async fn ask<'a>(
        self: &Arc<Self>,
        tokens: &'a [VerifiedToken],
        rider: Option<Arc<dyn Rider>>,
        reads: bool,
    ) -> Vec<Asked<'a>> {
        let mut calls = vec![ops::marked(&self.store)];
        let mut leases = Vec::with_capacity(tokens.len());
        for token in tokens {
            calls.extend(blacklist::question(self.store.namespace(), token));
            let lease = own_sid(token).filter(|_| reads).map(|sid| {
                let lease = self.lease(sid);
                calls.push(lease.read());
                lease
            });
            leases.push(lease);
        }
        let outcome = self.store.trip_with(calls, rider).await;
        let mut replies = outcome.map(IntoIterator::into_iter);
        let mut next = || match &mut replies {
            Ok(replies) => replies.next().unwrap_or_else(|| Err(missing())),
            Err(error) => Err(error.clone()),
        };
        if matches!(next(), Ok(Value::Int(0))) {
            self.sync.wake.notify_one();
        }
        let pairs = tokens.iter().zip(leases);
        let asked = pairs.map(|(token, mut lease)| Asked {
            token,
            heard: Heard::of(token, std::iter::repeat_with(&mut next)),
            read: match &mut lease {
                None => Err(StoreError::new(StoreErrorKind::Unavailable)),
                Some(lease) => lease.was_read(next()),
            },
            lease,
        });
        asked.collect()
    }

    fn lease(self: &Arc<Self>, sid: &str) -> Lease {
        Lease {
            inner: Arc::clone(self),
            sid: sid.to_owned(),
            text: self.next_lease(),
            given: true,
        }
    }

    async fn conclude(self: &Arc<Self>, asked: &mut Asked<'_>, moment: Moment) -> Verdict {
        let heard = match &asked.heard {
            Ok(heard) if heard.is_dead(asked.token, None) => return Verdict::Gone,
            Ok(heard) => Some(*heard),
            Err(error) if error.is_outage() => None,
            Err(error) => return Verdict::Unknown(error.clone().into()),
        };
        let Some(sid) = own_sid(asked.token) else {
            // Whether such a token passes was decided before; what the lists say of it must be known.
            return match &asked.heard {
                Ok(_) => Verdict::Active,
                Err(error) => Verdict::Unknown(error.clone().into()),
            };
        };
        let read = std::mem::replace(&mut asked.read, Err(missing()));
        let answer = match read {
            Ok(read) if moment.connection.is_some() => {
                self.standing(sid, read, asked.lease.take(), moment).await
            }
            _ => self.by_itself(sid).await,
        };
        let verdict = match answer {
            Ok((standing, fresh_ms)) => self.judge(asked.token, &standing, heard, fresh_ms, moment),
            Err(error) => Verdict::Unknown(error),
        };
        match (verdict, &asked.heard) {
            (Verdict::Active, Err(error)) => Verdict::Unlisted(error.clone().into()),
            (verdict, _) => verdict,
        }
    }

    async fn by_itself(self: &Arc<Self>, sid: &str) -> Answer {
        let answer = self.direct(sid).await;
        answer.unwrap_or(Err(ActiveError::new(ActiveErrorKind::Database)))
    }

    /// What the store's word comes to.
    async fn standing(
        self: &Arc<Self>,
        sid: &str,
        read: Read,
        lease: Option<Lease>,
        moment: Moment,
    ) -> Answer {
        let (answer, old) = match read {
            Read::Hit(standing, fresh_ms) => return Ok((standing, fresh_ms)),
            Read::Lease { generation, old } => {
                let Some(mut lease) = lease else {
                    return self.by_itself(sid).await;
                };
                lease.given = false;
                let awaited = self.lead(sid, &lease.text, generation);
                (landed(awaited.answer().await), old)
            }
            Read::Wait { lease, old } => (self.wait(sid, lease, moment).await, old),
        };
        match (answer, old) {
            // The database is away: what it said last goes on for a while.
            (Err(_), Some(old)) => Ok((old, 0)),
            (answer, _) => answer,
        }
    }

    /// Somebody else is asking: waits for the answer, and asks alone if it does not come.
    async fn wait(self: &Arc<Self>, sid: &str, mut held: String, moment: Moment) -> Answer {
        let end = Instant::now() + self.settings.wait;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(awaited) = self.flights.under(&held)
                && let Ok(answer) = timeout_at(end, awaited.answer()).await
            {
                return landed(answer);
            }
            if Instant::now() + pause >= end {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let mut lease = self.lease(sid);
            let reply = self.store.run(lease.read()).await;
            match lease.was_read(reply) {
                Ok(_) if self.store.connection() != moment.connection => break,
                Ok(Read::Hit(standing, fresh_ms)) => return Ok((standing, fresh_ms)),
                Ok(Read::Lease { generation, .. }) => {
                    lease.given = false;
                    let awaited = self.lead(sid, &lease.text, generation);
                    return landed(awaited.answer().await);
                }
                Ok(Read::Wait { lease, .. }) => held = lease,
                Err(_) => break,
            }
        }
        self.by_itself(sid).await
    }

    fn judge(
        &self,
        token: &VerifiedToken,
        standing: &Standing,
        heard: Option<Heard>,
        fresh_ms: u64,
        moment: Moment,
    ) -> Verdict {
        let Standing::Active(owner) = standing else {
            return Verdict::Gone;
        };
        let is_owner =
            token.sub() == Some(&*owner.user) && token.tenant().unwrap_or("") == owner.tenant;
        let is_dead = heard.is_some_and(|heard| heard.is_dead(token, Some(owner.auth_ms)));
        // Once more: it may have been ended here while the store was asked.
        let ended = own_sid(token).is_some_and(|sid| self.outbox.has_ended(sid))
            || self
                .outbox
                .has_cut(&owner.tenant, &owner.user, owner.auth_ms);
        if !is_owner || is_dead || ended {
            return Verdict::Gone;
        }
        if let (Some(era), Some(_), Some(sid)) = (moment.era, moment.connection, own_sid(token))
            && fresh_ms > 0
        {
            let kept = Kept {
                owner: owner_of(token),
                auth_ms: owner.auth_ms,
                from_ms: moment.from_ms,
                until_ms: moment.from_ms.saturating_add(fresh_ms),
                era,
            };
            self.local.note(name(sid), kept);
        }
        Verdict::Active
    }
}

fn landed(answer: Option<Answer>) -> Answer {
    answer.unwrap_or(Err(ActiveError::new(ActiveErrorKind::Database)))
}

/// The session of a token of the first issuer, which is this application: others name their logins, and their users, by
/// themselves.
pub(super) fn own_sid(token: &VerifiedToken) -> Option<&str> {
    token.sid().filter(|_| token.issuer_index() == 0)
}

fn owner_of(token: &VerifiedToken) -> [u8; 16] {
    fingerprint(token.tenant().unwrap_or(""), token.sub().unwrap_or(""))
}

/// What this node remembers a session by.
pub(super) fn name(sid: &str) -> [u8; 16] {
    let hash = sha256_of_parts(&[b"sid", sid.as_bytes()]);
    let mut name = [0; 16];
    name.copy_from_slice(&hash[..16]);
    name
}

fn missing() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt)
}
