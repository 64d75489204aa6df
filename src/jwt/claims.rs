//! The application's own claims.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use http::Extensions;
use serde::Deserialize;

use super::{VerifiedToken, mark::JwtMark};
use crate::refuse::Rejection;

/// The claims of a verified token in the application's own type.
///
/// Behind a [`JwtVerifyLayer<C>`](super::JwtVerifyLayer), [`Claims::of`] finds them; a clone costs a counter.
///
/// ```
/// use http::Extensions;
/// use portcullis::jwt::Claims;
///
/// struct Mine {
///     email: String,
/// }
///
/// fn greeting(extensions: &Extensions) -> String {
///     match Claims::<Mine>::of(extensions) {
///         Some(claims) => format!("hello {}", claims.email),
///         None => "hello visitor".to_owned(),
///     }
/// }
///
/// // A test of a handler has no layer around it.
/// let mut extensions = Extensions::new();
/// assert_eq!(greeting(&extensions), "hello visitor");
/// extensions.insert(Claims::new(Mine { email: "a@b.example".into() }));
/// assert_eq!(greeting(&extensions), "hello a@b.example");
/// ```
pub struct Claims<C>(Arc<C>);

impl<C> Claims<C> {
    /// Wraps claims; for tests of handlers. Nothing is verified by this.
    #[must_use]
    pub fn new(claims: C) -> Self {
        Self(Arc::new(claims))
    }

    pub(super) fn shared(claims: Arc<C>) -> Self {
        Self(claims)
    }

    /// The shared claims.
    #[must_use]
    pub fn into_inner(self) -> Arc<C> {
        self.0
    }
}

impl<C: Send + Sync + 'static> Claims<C> {
    /// The claims that a layer verified for the request with these extensions: of several layers, those of the nearest
    /// one with this claims type. Without any, claims that were put into the extensions as they are.
    ///
    /// They travel inside of the [`VerifiedToken`], which saves a second extension on every request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let tokens = JwtMark::of(extensions).map_or(&[][..], JwtMark::tokens);
        let verified = tokens.iter().rev().find_map(VerifiedToken::claims);
        verified.or_else(|| extensions.get().cloned())
    }

    /// The claims of a request's token, for handlers that act for somebody; axum's and tonic's have shorter ways.
    ///
    /// # Errors
    ///
    /// [`MissingCredentials`](crate::RejectionKind::MissingCredentials) without a token, which an
    /// [`optional`](super::JwtVerifyBuilder::optional) layer lets pass; [`Internal`](crate::RejectionKind::Internal)
    /// without a [`JwtVerifyLayer<C>`](super::JwtVerifyLayer), also if there is one with claims of another type.
    pub fn required(extensions: &Extensions) -> Result<Self, Rejection> {
        Self::optional(extensions)?.ok_or_else(|| JwtMark::no_token(extensions))
    }

    /// The same for handlers that serve visitors as well: `None` without a token.
    ///
    /// # Errors
    ///
    /// [`Internal`](crate::RejectionKind::Internal) without a [`JwtVerifyLayer<C>`](super::JwtVerifyLayer).
    pub fn optional(extensions: &Extensions) -> Result<Option<Self>, Rejection> {
        let found = Self::of(extensions);
        if found.is_none() && extensions.get::<Absent<C>>().is_none() {
            return Err(Self::missing());
        }
        Ok(found)
    }

    fn missing() -> Rejection {
        JwtMark::missing(std::any::type_name::<Self>())
    }
}

/// Left by a layer that let a request without a token pass. Without it, claims of a type that no layer reads would look
/// like those of a visitor.
pub(super) struct Absent<C>(PhantomData<fn() -> C>);

impl<C> Absent<C> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<C> Clone for Absent<C> {
    fn clone(&self) -> Self {
        Self::new()
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
