//! Refresh families that a database keeps: what `issue.lua` and `rotate.lua` do in the store, by [`decide`] and a
//! compare-and-set on the hash of the current token.

use super::{
    decision::{Decision, Presented, decide, good_until},
    error::{RefreshError, RefreshErrorKind},
    inspect::Inspected,
    ops::{Asked, How, Issued, NewFamily, Next, Rotated as Outcome, hex, unhex},
    row::{Data, Family},
    token::Token,
};
use crate::{
    registry::{
        ActiveError, ActiveErrorKind, ActiveSessions, Found, Limit, NewSession, Registered,
        RegistryFamily, Rotated, began,
    },
    trace::event_warn,
};

/// How often a rotation is decided anew because another one was quicker.
const TRIES: usize = 8;

/// Writes a family.
pub(super) async fn issue(
    active: &ActiveSessions,
    token: &Token,
    key_id: [u8; 4],
    new: &NewFamily<'_>,
) -> Result<Issued, RefreshError> {
    let about = serde_json::from_str(new.about).unwrap_or_default();
    let family = Family {
        epoch: token.family.epoch(),
        client: new.client.to_owned(),
        scope: new.scope.to_owned(),
        resource: new.resource.to_owned(),
        kid: hex(key_id),
        idle_ms: new.idle_ms,
        absolute_ms: new.absolute_ms,
        login_ms: match (new.login_ms, new.auth_ms) {
            (0, auth) => auth,
            (login, _) => login,
        },
        ..Family::default()
    };
    let data = Data { about, family };
    if new.joins
        && let Some(found) = active.row(&token.family.sid()).await.map_err(failed)?
    {
        return join(active, token, new, data, found).await;
    }
    begin(active, token, new, &data).await
}

async fn begin(
    active: &ActiveSessions,
    token: &Token,
    new: &NewFamily<'_>,
    data: &Data,
) -> Result<Issued, RefreshError> {
    // What authenticated then, or began to, is dead if a cutoff came since.
    let (in_store, in_database) = began(new.started).map_err(failed)?;
    let authenticated = Some(new.auth_ms).filter(|moment| *moment > 0);
    let first = |started: Option<u64>| [started, authenticated].into_iter().flatten().min();
    let most = u32::try_from(new.most_devices).unwrap_or(u32::MAX);
    let session = NewSession {
        sid: token.family.sid(),
        tenant: new.tenant.to_owned(),
        user: new.user.to_owned(),
        token: token.hash(),
        data: data.to_text(),
        lifetime_ms: new.idle_ms.min(new.absolute_ms),
        auth_at_least_ms: new.auth_ms,
        not_before_ms: first(in_database),
        limit: (most > 0).then_some(Limit {
            most,
            evict: new.evict,
        }),
    };
    match active.begin(session, first(in_store)).await {
        Ok(signed_in) => Ok(Issued::Done {
            auth_ms: signed_in.auth_ms,
            ends_ms: signed_in.created_ms.saturating_add(new.absolute_ms),
            login_ms: match data.family.login_ms {
                0 => signed_in.auth_ms,
                login => login,
            },
        }),
        Err(error) if error.kind() == ActiveErrorKind::TooMany => Ok(Issued::Full),
        Err(error) if error.kind() == ActiveErrorKind::Cut && new.started.is_some() => {
            Ok(Issued::Outdated)
        }
        Err(error) if error.kind() == ActiveErrorKind::Cut => Ok(Issued::Cut),
        Err(error) => Err(failed(error)),
    }
}

/// On a device that is signed in already: its family from now on.
async fn join(
    active: &ActiveSessions,
    token: &Token,
    new: &NewFamily<'_>,
    mut data: Data,
    mut found: Found,
) -> Result<Issued, RefreshError> {
    let (_, started) = began(new.started).map_err(failed)?;
    for _ in 0..TRIES {
        let session = &found.session;
        let is_owner = session.tenant == new.tenant && session.user == new.user;
        if !is_owner || !found.is_active() {
            return Ok(Issued::Cut);
        }
        if found
            .cutoff_ms
            .zip(started)
            .is_some_and(|(at, began)| at >= began)
        {
            return Ok(Issued::Outdated);
        }
        data.family.began_ms = Some(found.now_ms);
        let next = Rotated {
            token: token.hash(),
            data: data.to_text(),
            lifetime_ms: new.idle_ms.min(new.absolute_ms),
        };
        let (sid, old) = (session.sid.clone(), session.token.clone());
        let ends_ms = data.family.ends_ms(session);
        let (auth_ms, login_ms) = (session.auth_ms, data.family.login_ms);
        if active.rotate_row(&sid, &old, next).await.map_err(failed)? {
            return Ok(Issued::Done {
                auth_ms,
                ends_ms,
                login_ms: if login_ms == 0 { auth_ms } else { login_ms },
            });
        }
        match active.row(&sid).await.map_err(failed)? {
            Some(row) => found = row,
            None => return Ok(Issued::Cut),
        }
    }
    Err(RefreshError::new(RefreshErrorKind::Store))
}

/// Decides about a presented token, and writes what follows.
pub(super) async fn rotate(
    active: &ActiveSessions,
    token: &Token,
    next: &Next<'_>,
    asked: &Asked<'_>,
) -> Result<Outcome, RefreshError> {
    let Next {
        successor,
        nonce,
        key_id,
    } = *next;
    let hash = token.hash();
    let presented = Presented {
        epoch: &token.family.epoch(),
        hash: &hash,
        generation: token.generation,
        nonce,
        grace_ms: asked.grace_ms,
        client: asked.client,
        scope: asked.scope,
        resource: asked.resource,
    };
    let rotation = Rotation {
        successor,
        nonce,
        key_id,
        previous: &hash,
    };
    let mut lost = None;
    for _ in 0..TRIES {
        match attempt(active, token, &rotation, &presented).await {
            Ok(Some(outcome)) => return Ok(outcome),
            // Somebody else was quicker.
            Ok(None) => {}
            // Perhaps it was written: the next look knows our own nonce.
            Err(error) if error.kind() == RefreshErrorKind::Store && lost.is_none() => {
                lost = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(lost.unwrap_or(RefreshError::new(RefreshErrorKind::Store)))
}

/// `None` if another rotation came in between.
async fn attempt(
    active: &ActiveSessions,
    token: &Token,
    rotation: &Rotation<'_>,
    presented: &Presented<'_>,
) -> Result<Option<Outcome>, RefreshError> {
    let sid = token.family.sid();
    let Some(RegistryFamily { found, cutoff_ms }) = active.family(&sid).await.map_err(failed)?
    else {
        return Ok(Some(Outcome::Unknown));
    };
    let Some(mut data) = Data::of(&found.session.data) else {
        return Ok(Some(Outcome::Unknown));
    };
    let stored = data.family.stored(&found.session);
    let decision = decide(&stored, found.now_ms, cutoff_ms, presented);
    let decision = decision.unwrap_or(Decision::Unknown);
    let Decision::Rotate { rolled } = decision else {
        let outcome = settle(active, decision, &sid, &data.family, &found).await;
        return outcome.map(Some);
    };
    let next = rotation.next(&mut data, &found, token.generation);
    let written = active.rotate_row(&sid, &found.session.token, next).await;
    if !written.map_err(failed)? {
        return Ok(None);
    }
    let how = if rolled { How::Rolled } else { How::Rotated };
    let nonce = rotation.nonce.to_owned();
    good(how, nonce, &data.family, &found.session).map(Some)
}

/// What a rotation writes down.
struct Rotation<'a> {
    successor: &'a Token,
    nonce: &'a str,
    key_id: [u8; 4],
    previous: &'a str,
}

impl Rotation<'_> {
    fn next(&self, data: &mut Data, found: &Found, generation: u64) -> Rotated {
        let family = &mut data.family;
        family.prev = Some(self.previous.to_owned());
        family.nonce = Some(self.nonce.to_owned());
        family.kid = hex(self.key_id);
        family.generation = generation + 1;
        family.rotated_ms = Some(found.now_ms);
        let left = family
            .ends_ms(&found.session)
            .saturating_sub(found.now_ms)
            .max(1);
        let lifetime_ms = family.idle_ms.min(left);
        Rotated {
            token: self.successor.hash(),
            data: data.to_text(),
            lifetime_ms,
        }
    }
}

/// A decision that writes nothing, or ends the login.
async fn settle(
    active: &ActiveSessions,
    decision: Decision,
    sid: &str,
    family: &Family,
    found: &Found,
) -> Result<Outcome, RefreshError> {
    let session = &found.session;
    match decision {
        Decision::Ended(why) if why == "evicted" => Ok(Outcome::Ended("elsewhere".to_owned())),
        Decision::Ended(why) => Ok(Outcome::Ended(why)),
        Decision::Unknown | Decision::Rotate { .. } => Ok(Outcome::Unknown),
        Decision::Expired => Ok(Outcome::Expired),
        Decision::Client => Ok(Outcome::Client),
        Decision::Scope => Ok(Outcome::Scope),
        Decision::Resource => Ok(Outcome::Resource),
        Decision::Replayed => {
            let nonce = family.nonce.clone().unwrap_or_default();
            good(How::Replayed, nonce, family, session)
        }
        Decision::Current => good(How::Current, String::new(), family, session),
        Decision::Cut => {
            end(active, session, sid, "cut").await?;
            Ok(Outcome::Ended("revoked".to_owned()))
        }
        Decision::Reused => {
            end(active, session, sid, "reused").await?;
            Ok(Outcome::Reused)
        }
    }
}

/// In the database now; in the store now or when it can be told.
async fn end(
    active: &ActiveSessions,
    session: &Registered,
    sid: &str,
    reason: &'static str,
) -> Result<(), RefreshError> {
    let ended = active.end_row(&session.tenant, &session.user, sid, reason);
    let _ = ended.await.map_err(failed)?;
    Ok(())
}

fn good(
    how: How,
    nonce: String,
    family: &Family,
    session: &Registered,
) -> Result<Outcome, RefreshError> {
    let Some(key_id) = unhex(&family.kid) else {
        event_warn!(
            event = "refresh.corrupt",
            "a family in the database names no key"
        );
        return Err(RefreshError::new(RefreshErrorKind::Store));
    };
    Ok(Outcome::Good {
        how,
        nonce,
        key_id,
        of: family.owner(session),
    })
}

/// What a token is good for, without using it.
pub(super) async fn inspect(
    active: &ActiveSessions,
    token: &Token,
    grace_ms: u64,
) -> Result<Option<Inspected>, RefreshError> {
    let sid = token.family.sid();
    let Some(RegistryFamily { found, cutoff_ms }) = active.family(&sid).await.map_err(failed)?
    else {
        return Ok(None);
    };
    let presented = Presented {
        epoch: &token.family.epoch(),
        hash: &token.hash(),
        generation: token.generation,
        nonce: "",
        grace_ms,
        client: "",
        scope: "",
        resource: "",
    };
    let session = &found.session;
    let Some(Data { family, .. }) = Data::of(&session.data) else {
        return Ok(None);
    };
    let stored = family.stored(session);
    let good = good_until(&stored, found.now_ms, cutoff_ms, &presented);
    Ok(good.map(|(until_ms, since_ms)| {
        let of = family.owner(session);
        Inspected {
            until_ms,
            since_ms,
            user: of.user,
            tenant: of.tenant,
            client: of.client,
            scope: of.scope,
            login_ms: of.login_ms,
            sid,
        }
    }))
}

/// The client that a token's family belongs to, if there is such a family.
pub(super) async fn client(
    active: &ActiveSessions,
    token: &Token,
) -> Result<Option<String>, RefreshError> {
    let found = active.row(&token.family.sid()).await.map_err(failed)?;
    let data = found.and_then(|found| Data::of(&found.session.data));
    Ok(data.map(|data| data.family.client))
}

/// Ends the login of a token; says whether it was one. `None` if the database has never heard of it.
pub(super) async fn revoke(
    active: &ActiveSessions,
    token: &Token,
) -> Result<Option<bool>, RefreshError> {
    let sid = token.family.sid();
    let Some(found) = active.row(&sid).await.map_err(failed)? else {
        return Ok(None);
    };
    let data = Data::of(&found.session.data);
    let is_its = data.is_some_and(|data| data.family.epoch == token.family.epoch());
    if !is_its || found.session.ended.is_some() {
        return Ok(Some(false));
    }
    end(active, &found.session, &sid, "revoked").await?;
    Ok(Some(true))
}

pub(super) fn failed(error: ActiveError) -> RefreshError {
    let kind = match error.kind() {
        ActiveErrorKind::TooMany => RefreshErrorKind::TooManyDevices,
        ActiveErrorKind::Cut => RefreshErrorKind::Revoked,
        ActiveErrorKind::Invalid => RefreshErrorKind::Invalid,
        _ => RefreshErrorKind::Store,
    };
    RefreshError::caused_by(kind, error)
}
