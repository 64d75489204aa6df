//! What this node knows to have ended, for when nobody else can say.

use super::{check::name, outbox::Duty, truth::CutoffScope};
use crate::{
    blacklist::authenticated, jwt::VerifiedToken, recent::Recent, secret::sha256_of_parts,
};

/// Sessions and cutoffs that the database has ended and raised, as far as this node has told the store of them or tried to.
pub(super) struct Known {
    ended: Recent<16>,
    /// The latest moment of a scope.
    cutoffs: Recent<16>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            ended: Recent::new(),
            cutoffs: Recent::new(),
        }
    }

    pub(super) fn note(&self, duties: &[Duty]) {
        for duty in duties {
            match duty {
                Duty::End { sid, .. } => self.ended.note(name(sid), 0),
                Duty::Cut { scope, moment } => {
                    let scope = self::scope(scope);
                    let known = self.cutoffs.get(&scope).unwrap_or(0);
                    self.cutoffs.note(scope, known.max(*moment));
                }
            }
        }
    }

    /// Whether the session of this `sid` has ended, or a cutoff ended the token.
    pub(super) fn has_ended(&self, sid: Option<&str>, token: &VerifiedToken) -> bool {
        let ended = |sid| self.ended.get(&name(sid)).is_some();
        if sid.is_some_and(ended) {
            return true;
        }
        let tenant = token.tenant().unwrap_or("").to_owned();
        let user = token.sub().unwrap_or("").to_owned();
        // Another issuer's users are not those of the database.
        let is_own = token.issuer_index() == 0;
        let scopes = [
            Some(CutoffScope::Everyone),
            Some(CutoffScope::Tenant(tenant.clone())),
            is_own.then_some(CutoffScope::User { tenant, user }),
        ];
        let scopes = scopes.iter().flatten();
        let moments = scopes.filter_map(|it| self.cutoffs.get(&scope(it)));
        moments.max().is_some_and(|at| authenticated(token) <= at)
    }
}

fn scope(scope: &CutoffScope) -> [u8; 16] {
    let hash = match scope {
        CutoffScope::Everyone => sha256_of_parts(&[b"everyone"]),
        CutoffScope::Tenant(tenant) => sha256_of_parts(&[b"tenant", tenant.as_bytes()]),
        CutoffScope::User { tenant, user } => {
            sha256_of_parts(&[b"user", tenant.as_bytes(), user.as_bytes()])
        }
    };
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}
