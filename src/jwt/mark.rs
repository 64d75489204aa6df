//! What the [`JwtVerifyLayer`](super::JwtVerifyLayer)s outside of here found, and the sign that there was one at all.
//!
//! A layer that needs a verified token and finds no sign is misplaced; that is not the same as no token. The usual case,
//! one layer and its token, costs one extension: the token is the sign.

use std::borrow::Cow;

use http::Extensions;

use super::VerifiedToken;
use crate::{
    refuse::{Rejection, RejectionKind},
    trace::event_error,
};

/// All verified tokens of a request, outermost layer first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JwtMark<'h>(&'h [VerifiedToken]);

/// A layer was passed without a token. Without fields, so that it takes no memory.
#[derive(Clone, Copy)]
struct Passed;

/// The protection space of a layer that was passed without a token, where it has a name.
#[derive(Clone)]
struct Realm(Cow<'static, str>);

/// Several layers each verified a token of their own, outermost first.
#[derive(Clone)]
struct Several(Vec<VerifiedToken>);

impl<'h> JwtMark<'h> {
    /// `None` if no layer was passed.
    pub(crate) fn of(extensions: &'h Extensions) -> Option<Self> {
        if let Some(Several(tokens)) = extensions.get() {
            return Some(Self(tokens));
        }
        if let Some(token) = extensions.get() {
            return Some(Self(std::slice::from_ref(token)));
        }
        extensions.get().map(|Passed| Self(&[]))
    }

    /// Whoever revokes must ask about each of them.
    pub(crate) fn tokens(self) -> &'h [VerifiedToken] {
        self.0
    }

    /// The token of the nearest layer that found one, for `reader`, which needs it.
    pub(super) fn nearest(
        extensions: &'h Extensions,
        reader: &str,
    ) -> Result<&'h VerifiedToken, Rejection> {
        let mark = Self::of(extensions).ok_or_else(|| JwtMark::missing(reader))?;
        mark.0.last().ok_or_else(|| JwtMark::no_token(extensions))
    }
}

impl JwtMark<'_> {
    /// The refusal where a layer that `reader`'s token is to come from is not there.
    pub(super) fn missing(reader: &str) -> Rejection {
        event_error!(
            event = "jwt.missing",
            reader,
            "no JwtVerifyLayer around what reads its token: add one outside of it"
        );
        let fix = format!("{reader} found no JwtVerifyLayer around it: add one outside of it");
        let misplaced = Rejection::new(RejectionKind::Internal).code("jwt_layer_missing");
        misplaced.caused_by(fix)
    }

    /// The refusal of a request that nobody made out to be anybody's, in the name of the layer that let it pass.
    pub(super) fn no_token(extensions: &Extensions) -> Rejection {
        let rejection = Rejection::new(RejectionKind::MissingCredentials);
        match extensions.get() {
            Some(Realm(realm)) => rejection.realm(realm.clone()),
            None => rejection,
        }
    }
}

/// One more layer found this.
pub(super) fn leave(extensions: &mut Extensions, token: VerifiedToken) {
    let before = extensions.insert(token.clone());
    if let Some(Several(tokens)) = extensions.get_mut() {
        tokens.push(token);
    } else if let Some(before) = before {
        extensions.insert(Several(vec![before, token]));
    }
}

/// One more layer found nothing.
pub(super) fn leave_none(extensions: &mut Extensions, realm: Option<&Cow<'static, str>>) {
    extensions.get_or_insert_with(|| Passed);
    if let Some(realm) = realm {
        extensions.insert(Realm(realm.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, request};

    use super::*;
    use crate::{
        gate::{Entry, Step, Steps},
        jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey, VerifiedToken},
    };

    fn pass(layer: &JwtVerifyLayer<NoClaims>, head: request::Parts) -> request::Parts {
        match layer.gate().enter(head) {
            Step::Now(Entry::Pass(head, ())) => head,
            _ => panic!("refused"),
        }
    }

    fn marked(head: &request::Parts) -> Vec<&str> {
        let mark = JwtMark::of(&head.extensions).expect("a mark");
        mark.tokens().iter().map(VerifiedToken::iss).collect()
    }

    #[test]
    fn every_layer_leaves_its_mark() {
        let parties = [
            "https://a.example",
            "https://b.example",
            "https://c.example",
        ]
        .map(|iss| {
            let key = SigningKey::generate(JwtAlgorithm::EdDsa).expect("a key");
            let layer = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
                .issuer(iss)
                .audience("api")
                .header(&iss[8..9])
                .optional()
                .build()
                .expect("a layer");
            let issuer = Issuer::new(key, iss)
                .audience("api")
                .lifetime(Duration::from_secs(60))
                .build();
            (
                layer,
                issuer
                    .expect("an issuer")
                    .mint(&Grant::user("u"))
                    .expect("a token"),
            )
        });
        let head = |with: &[usize]| {
            let request = with.iter().fold(Request::builder(), |request, &at| {
                request.header(["a", "b", "c"][at], parties[at].1.token())
            });
            let head = request.body(()).expect("a request").into_parts().0;
            parties
                .iter()
                .fold(head, |head, (layer, _)| pass(layer, head))
        };
        assert!(marked(&head(&[])).is_empty());
        assert_eq!(marked(&head(&[1])), ["https://b.example"]);
        // All of them, outermost first; the nearest is the one in the extensions. A layer without a token takes nothing away.
        let all = head(&[0, 1, 2]);
        assert_eq!(
            marked(&all),
            [
                "https://a.example",
                "https://b.example",
                "https://c.example"
            ]
        );
        let two = head(&[0, 1]);
        assert_eq!(marked(&two), ["https://a.example", "https://b.example"]);
        assert_eq!(
            two.extensions
                .get::<VerifiedToken>()
                .map(VerifiedToken::iss),
            Some("https://b.example")
        );
    }
}
