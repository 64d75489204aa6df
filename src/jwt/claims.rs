//! The application's own claims.

use std::{fmt, ops::Deref, sync::Arc};

use serde::Deserialize;

/// The claims of a verified token in the application's own type.
///
/// In the request's extensions behind a [`JwtVerifyLayer<C>`](super::JwtVerifyLayer); a clone costs a counter.
///
/// ```
/// use portcullis::jwt::Claims;
///
/// struct Mine {
///     email: String,
/// }
///
/// fn greeting(claims: &Claims<Mine>) -> String {
///     format!("hello {}", claims.email)
/// }
///
/// assert_eq!(greeting(&Claims::new(Mine { email: "a@b.example".into() })), "hello a@b.example");
/// ```
pub struct Claims<C>(Arc<C>);

impl<C> Claims<C> {
    /// Wraps claims; for tests of handlers. Nothing is verified by this.
    #[must_use]
    pub fn new(claims: C) -> Self {
        Self(Arc::new(claims))
    }

    /// The shared claims.
    #[must_use]
    pub fn into_inner(self) -> Arc<C> {
        self.0
    }
}

impl<C> Deref for Claims<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

// Not derived: that would ask for `C: Clone`.
impl<C> Clone for Claims<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: fmt::Debug> fmt::Debug for Claims<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claims").field(&*self.0).finish()
    }
}

/// The claims type of an application that needs no claims of its own: everything is in
/// [`VerifiedToken`](super::VerifiedToken).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct NoClaims {}
