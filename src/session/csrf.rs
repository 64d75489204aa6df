//! What CSRF tokens need to know of a session: a value that changes with its id, and no answer of the store.
//!
//! The value comes from the id in the authentic cookie. Whether that session still exists is not asked: a token proves
//! who caused a request, not who is signed in.

use super::{Session, id::SessionId, state::State};
use crate::{
    secret::sha256_of_parts,
    store::{Key, Namespace, Store},
};

/// A hash of a session's id.
pub(crate) type CsrfBinding = [u8; 32];

/// Where a visitor's response leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CsrfAfter {
    /// Without a session.
    Visitor,
    /// With a session of nobody that this request made, or is about to make.
    Made(CsrfBinding),
    /// With a session that was there before, under whatever id it has now, or that a login began.
    Session(CsrfBinding),
}

/// The key of a session, and the one beside it for its CSRF secret.
pub(crate) struct CsrfPlace {
    pub(crate) store: Store,
    pub(crate) session: Key,
    pub(crate) secret: Key,
}

impl Session {
    /// What tokens of this session bind to: another value after every login, renewal and logout, `None` for a visitor
    /// without a session.
    pub(crate) fn csrf_binding(&self) -> Option<CsrfBinding> {
        self.state().id.as_ref().map(SessionId::csrf_binding)
    }

    /// The same for a token that is made now: what was set makes a session when the response leaves, and the next
    /// request comes with that one's id. The id is chosen here if so.
    pub(crate) fn csrf_binding_ahead(&self) -> Result<Option<CsrfBinding>, getrandom::Error> {
        let mut state = self.state();
        if state.will_be_made() {
            return planned(&mut state).map(Some);
        }
        Ok(state.id.as_ref().map(SessionId::csrf_binding))
    }

    /// The state after this response, whose changes are saved if `saves`.
    pub(crate) fn csrf_after(&self, saves: bool) -> Result<CsrfAfter, getrandom::Error> {
        let mut state = self.state();
        if saves && state.will_be_made() {
            return planned(&mut state).map(CsrfAfter::Made);
        }
        Ok(match state.id.as_ref().map(SessionId::csrf_binding) {
            None => CsrfAfter::Visitor,
            Some(binding) if state.made => CsrfAfter::Made(binding),
            Some(binding) => CsrfAfter::Session(binding),
        })
    }

    /// Where the CSRF secret of this session lies, if there is a session.
    pub(crate) fn csrf_place(&self) -> Option<CsrfPlace> {
        let id = self.state().id?;
        let store = &self.config().store;
        let namespace = store.namespace();
        Some(CsrfPlace {
            session: id.key(namespace),
            secret: id.csrf_key(namespace),
            store: store.clone(),
        })
    }
}

impl SessionId {
    /// Not the hash under which the session is stored.
    fn csrf_binding(&self) -> CsrfBinding {
        sha256_of_parts(&[b"csrf binding", self.as_bytes()])
    }

    fn csrf_key(&self, namespace: &Namespace) -> Key {
        namespace.tagged("csrf", &self.tag(), &self.hash())
    }
}

fn planned(state: &mut State) -> Result<CsrfBinding, getrandom::Error> {
    let id = match state.planned {
        Some(id) => id,
        None => *state.planned.insert(SessionId::anonymous()?),
    };
    Ok(id.csrf_binding())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slot;

    #[test]
    fn the_secret_lies_in_the_slot_of_its_session() {
        let namespace = Namespace::new("portcullis:", "jwt:blacklist:").expect("good prefixes");
        let tag = namespace.user_tag("", "", "alice");
        let user = SessionId::of_user(&tag, None).expect("randomness");
        for id in [user, SessionId::anonymous().expect("randomness")] {
            let (session, secret) = (id.key(&namespace), id.csrf_key(&namespace));
            assert_ne!(session, secret);
            assert_eq!(slot(&session), slot(&secret));
        }
    }

    #[test]
    fn a_binding_is_of_one_id_and_is_not_its_name_in_the_store() {
        let id = SessionId::anonymous().expect("randomness");
        let next = id.successor().expect("randomness");
        assert_ne!(id.csrf_binding(), next.csrf_binding());
        assert_ne!(crate::secret::encode(id.csrf_binding()), id.hash());
    }
}
