//! Which keys are replicated, and what their names say.

use crate::store::{Namespace, Tag};

/// A list of revoked things.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum List {
    /// Tokens, by what their key has behind the blacklist prefix.
    Tokens,
    /// Logins, likewise, behind the prefix of their own.
    Logins,
}

/// Whom a cutoff concerns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Scope {
    Everyone,
    Tenant(Tag),
    User(Tag),
}

/// What a key is to the replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Name<'a> {
    Listed(List, &'a [u8]),
    Cutoff(Scope),
    /// Below one of the prefixes, and yet none of ours.
    Other,
}

/// The prefixes of one store.
#[derive(Debug)]
pub(super) struct Names {
    tokens: Box<[u8]>,
    logins: Box<[u8]>,
    cutoffs: Box<[u8]>,
}

const TENANT: &[u8] = b"tenant:";
const GLOBAL: &[u8] = b"global";

impl Names {
    pub(super) fn new(namespace: &Namespace) -> Self {
        Self {
            tokens: namespace.blacklist_prefix().as_bytes().into(),
            logins: namespace.denied_sid("").into_bytes().into(),
            cutoffs: namespace.plain("cutoff", "").into_bytes().into(),
        }
    }

    pub(super) fn read<'a>(&self, key: &'a [u8]) -> Name<'a> {
        if let Some(id) = key.strip_prefix(&*self.logins) {
            return Name::Listed(List::Logins, id);
        }
        if let Some(id) = key.strip_prefix(&*self.tokens) {
            return Name::Listed(List::Tokens, id);
        }
        let scope = key.strip_prefix(&*self.cutoffs).and_then(scope);
        scope.map_or(Name::Other, Name::Cutoff)
    }

    pub(super) fn listed(&self, list: List, id: &[u8]) -> Vec<u8> {
        let prefix = match list {
            List::Tokens => &self.tokens,
            List::Logins => &self.logins,
        };
        [&**prefix, id].concat()
    }

    pub(super) fn cutoff(&self, scope: Scope) -> Vec<u8> {
        match scope {
            Scope::Everyone => [&*self.cutoffs, GLOBAL].concat(),
            Scope::Tenant(tag) => [&*self.cutoffs, TENANT, tag.as_str().as_bytes()].concat(),
            Scope::User(tag) => [&*self.cutoffs, b"{", tag.as_str().as_bytes(), b"}"].concat(),
        }
    }

    /// What the server is to announce: it refuses a prefix that lies below another.
    pub(super) fn prefixes(&self) -> Vec<&[u8]> {
        let mut prefixes = vec![&*self.tokens, &*self.cutoffs];
        if !self.logins.starts_with(&self.tokens) {
            prefixes.push(&self.logins);
        }
        prefixes
    }

    /// What a scan is to find. Both lists begin alike, so that they cost one walk through the keys and not two.
    pub(super) fn patterns(&self) -> [Vec<u8>; 2] {
        let stem = self.tokens.strip_suffix(b":").unwrap_or(&self.tokens);
        [glob(stem), glob(&self.cutoffs)]
    }
}

fn scope(rest: &[u8]) -> Option<Scope> {
    if rest == GLOBAL {
        return Some(Scope::Everyone);
    }
    if let Some(tag) = rest.strip_prefix(TENANT) {
        return Tag::from_text(tag).map(Scope::Tenant);
    }
    let tag = rest.strip_prefix(b"{")?.strip_suffix(b"}")?;
    Tag::from_text(tag).map(Scope::User)
}

fn glob(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if b"*?[]\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(prefix: &str, blacklist: &str) -> Names {
        Names::new(&Namespace::new(prefix, blacklist).unwrap())
    }

    #[test]
    fn names_are_read_back() {
        for (prefix, blacklist, prefixes) in
            [("portcullis:", "jwt:blacklist:", 3), ("", "revoked", 2)]
        {
            let names = names(prefix, blacklist);
            let tag = Tag::from_bytes(&[7; Tag::BYTES]);
            for scope in [Scope::Everyone, Scope::Tenant(tag), Scope::User(tag)] {
                assert_eq!(names.read(&names.cutoff(scope)), Name::Cutoff(scope));
            }
            for list in [List::Tokens, List::Logins] {
                assert_eq!(
                    names.read(&names.listed(list, b"x")),
                    Name::Listed(list, b"x")
                );
            }
            assert_eq!(
                names.read(format!("{prefix}cutoff:latest").as_bytes()),
                Name::Other
            );
            assert_eq!(names.prefixes().len(), prefixes, "none below another");
        }
        assert_eq!(glob(b"a*[b]"), b"a\\*\\[b\\]*");
    }
}
