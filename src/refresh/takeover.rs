//! Families that the store holds from before there was a registry: with their next use they move to the database.
//!
//! The store decides about the token as ever, and what follows is written as the session's row. Whoever lost the answer, or was
//! second, is given the same successor by the store, and writes the same row: that is one write. From then on there is a row,
//! and nobody asks the store.

use serde_json::{Map, Value};

use super::{
    error::{RefreshError, RefreshErrorKind},
    ops::{self, Asked, How, Next, Owner, Rotated, hex},
    registered::{self, failed},
    rotation::Inner,
    row::{Data, Family},
    token::Token,
};
use crate::{
    clock::millis,
    registry::{ActiveErrorKind, ActiveSessions, NewSession},
    trace::event_info,
};

impl Inner {
    /// The database decides; about a token that it does not know, the store.
    pub(super) async fn by_registry(
        &self,
        active: &ActiveSessions,
        token: &Token,
        next: &Next<'_>,
        asked: &Asked<'_>,
    ) -> Result<Rotated, RefreshError> {
        let decide = || registered::rotate(active, token, next, asked);
        let decided = decide().await?;
        if !matches!(decided, Rotated::Unknown) {
            return Ok(decided);
        }
        // A row by now: somebody has just taken it over. Or this is another family than the row's.
        let row = active.row(&token.family.sid()).await.map_err(failed)?;
        match row {
            Some(_) => decide().await,
            None => self.take_over(active, token, next, asked).await,
        }
    }

    async fn take_over(
        &self,
        active: &ActiveSessions,
        token: &Token,
        next: &Next<'_>,
        asked: &Asked<'_>,
    ) -> Result<Rotated, RefreshError> {
        let sid = token.family.sid();
        let call = ops::rotate(&self.store, token, next, asked);
        let outcome = ops::rotated(self.store.run_twice(call).await?)?;
        let Rotated::Good {
            how,
            nonce,
            key_id,
            of,
        } = &outcome
        else {
            return Ok(outcome);
        };
        let current = match how {
            How::Current => Some(token.clone()),
            _ => token.successor(nonce.as_bytes(), *key_id, &self.keys),
        };
        let current = current.ok_or(RefreshError::new(RefreshErrorKind::KeyMissing))?;
        let mut family = Family {
            epoch: token.family.epoch(),
            client: of.client.clone(),
            scope: of.scope.clone(),
            resource: of.resource.clone(),
            kid: hex(*key_id),
            generation: current.generation,
            login_ms: of.login_ms,
            ..Family::default()
        };
        if *how != How::Current {
            (family.prev, family.nonce) = (Some(token.hash()), Some(nonce.clone()));
        }
        let row = self.row_of(&sid, &current, family, of).await;
        match active.begin(row, Some(of.auth_ms)).await {
            Ok(_) => {
                active.forget(&sid).await;
                event_info!(event = "refresh.taken_over", %sid, "a family moved from the store to the database");
                Ok(outcome)
            }
            Err(error) if error.kind() == ActiveErrorKind::Cut => {
                Ok(Rotated::Ended("revoked".to_owned()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn row_of(
        &self,
        sid: &str,
        current: &Token,
        mut family: Family,
        of: &Owner,
    ) -> NewSession {
        // The store's moment by this node's clock: if they differ, the family ends that much later, and never later than a
        // new one.
        let left = of.ends_ms.saturating_sub(self.store.clock().now_millis());
        family.absolute_ms = left.clamp(1, millis(self.settings.absolute));
        family.idle_ms = millis(self.settings.idle);
        let lifetime_ms = family.idle_ms.min(family.absolute_ms);
        let about = self.about(sid, of).await;
        NewSession {
            sid: sid.to_owned(),
            tenant: of.tenant.clone(),
            user: of.user.clone(),
            token: current.hash(),
            data: Data { about, family }.to_text(),
            lifetime_ms,
            auth_at_least_ms: of.auth_ms,
            not_before_ms: Some(of.auth_ms),
            limit: None,
        }
    }

    /// What the store knows of the device; nothing if it cannot say.
    async fn about(&self, sid: &str, of: &Owner) -> Map<String, Value> {
        let devices = self.devices.list(&of.tenant, &of.user, None).await;
        let devices = devices.unwrap_or_default();
        let Some(device) = devices.iter().find(|device| device.sid() == sid) else {
            return Map::new();
        };
        let known = [
            ("name", device.name()),
            ("ip", device.ip()),
            ("ua", device.user_agent()),
        ];
        let known = known.into_iter();
        known
            .filter_map(|(name, text)| Some((name.to_owned(), text?.into())))
            .collect()
    }
}
