//! Where in a request the token is.
//!
//! A request that says who it is in two ways may be one that two parties understand differently: it is refused
//! (RFC 6750 §2). Tokens in the query or the body are not looked at (RFC 9700 §4.3.2).

use std::{borrow::Cow, fmt, sync::Arc};

use http::{
    HeaderMap,
    header::{AUTHORIZATION, COOKIE, HeaderName},
    request,
};

/// One place to look at.
#[derive(Clone)]
pub(super) enum Source {
    /// `Authorization: Bearer ..`
    Bearer,
    Header(HeaderName),
    Cookie(Box<str>),
    Custom(Arc<dyn Fn(&request::Parts) -> Option<String> + Send + Sync>),
}

/// More than one token, or a credential without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// The token of the request, if there is exactly one.
pub(super) fn find<'h>(
    sources: &[Source],
    head: &'h request::Parts,
) -> Result<Option<Cow<'h, [u8]>>, Unclear> {
    let mut found = None;
    for source in sources {
        let token = source.look(head)?;
        if token.is_some() && std::mem::replace(&mut found, token).is_some() {
            return Err(Unclear);
        }
    }
    Ok(found)
}

impl Source {
    fn look<'h>(&self, head: &'h request::Parts) -> Result<Option<Cow<'h, [u8]>>, Unclear> {
        let borrowed = match self {
            Self::Bearer => bearer(&head.headers),
            Self::Header(name) => header(&head.headers, name),
            Self::Cookie(name) => cookie(&head.headers, name),
            Self::Custom(look) => return Ok(look(head).map(|token| Cow::Owned(token.into_bytes()))),
        };
        Ok(borrowed?.map(Cow::Borrowed))
    }
}

/// The only value of a header.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, Unclear> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first.map(http::HeaderValue::as_bytes)),
        _ => Err(Unclear),
    }
}

/// Another scheme than Bearer is somebody else's credential, not a bad token; Bearer without a token is malformed.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Unclear> {
    let Some(value) = only(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };
    match after_scheme(value) {
        Some([]) => Err(Unclear),
        token => Ok(token),
    }
}

/// What follows `Bearer`, in any case, and at least one space.
fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at(
        value
            .iter()
            .position(|byte| *byte == b' ')
            .unwrap_or(value.len()),
    );
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| rest.trim_ascii_start())
}

/// A header of its own carries the bare token; some proxies leave the scheme in front.
fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, Unclear> {
    let value = only(headers, name)?.map(|value| after_scheme(value).unwrap_or(value));
    Ok(value.filter(|token| !token.is_empty()))
}

/// HTTP/2 splits the `Cookie` header, and other cookies may hold any bytes. The same token twice is one token; a second
/// one was planted by somebody, and which one is not to be seen from here.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h [u8]>, Unclear> {
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .map(http::HeaderValue::as_bytes);
    let pairs = lines
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii);
    let mut values = pairs
        .filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .filter(|value| !value.is_empty());
    let first = values.next();
    if values.any(|other| Some(other) != first) {
        Err(Unclear)
    } else {
        Ok(first)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("Bearer"),
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Cookie(name) => f.debug_tuple("Cookie").field(name).finish(),
            Self::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn look(sources: &[Source], headers: &[(&str, &str)]) -> Result<Option<String>, Unclear> {
        let request = headers
            .iter()
            .fold(Request::builder(), |request, (name, value)| {
                request.header(*name, *value)
            });
        let (head, ()) = request.body(()).expect("a request").into_parts();
        find(sources, &head)
            .map(|found| found.map(|token| String::from_utf8_lossy(&token).into_owned()))
    }

    fn some(token: &str) -> Result<Option<String>, Unclear> {
        Ok(Some(token.to_owned()))
    }

    #[test]
    fn bearer_in_any_case_and_nothing_else() {
        for value in ["Bearer t", "bearer t", "BEARER t", "bEaReR    t"] {
            assert_eq!(
                look(&[Source::Bearer], &[("authorization", value)]),
                some("t"),
                "{value}"
            );
        }
        for value in ["Basic dTpw", "BearerX t", "t", "DPoP t", ""] {
            assert_eq!(
                look(&[Source::Bearer], &[("authorization", value)]),
                Ok(None),
                "{value}"
            );
        }
        for value in ["Bearer", "Bearer ", "bearer   "] {
            assert_eq!(
                look(&[Source::Bearer], &[("authorization", value)]),
                Err(Unclear),
                "{value:?}"
            );
        }
    }

    #[test]
    fn r81_two_ways_are_refused_and_the_query_is_not_looked_at() {
        let both = [Source::Bearer, Source::Cookie("at".into())];
        assert_eq!(
            look(
                &both,
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")]
            ),
            Err(Unclear)
        );
        assert_eq!(
            look(
                &both,
                &[("authorization", "Basic a"), ("authorization", "Bearer a")]
            ),
            Err(Unclear)
        );
        assert_eq!(
            look(&both, &[("authorization", "Bearer a"), ("cookie", "at=a")]),
            Err(Unclear)
        );
        assert_eq!(
            look(&both, &[("authorization", "Bearer a"), ("cookie", "at=")]),
            some("a")
        );
        assert_eq!(
            look(&both, &[("authorization", "Basic x"), ("cookie", "at=a")]),
            some("a")
        );
        let request = Request::builder()
            .uri("/?access_token=a")
            .body(())
            .expect("a request");
        assert_eq!(find(&both, &request.into_parts().0), Ok(None));
    }

    #[test]
    fn cookies_are_found_by_exact_name_in_every_line() {
        let at = [Source::Cookie("__Host-at".into())];
        assert_eq!(
            look(&at, &[("cookie", "a=1; __Host-at=t"), ("cookie", "b=2")]),
            some("t")
        );
        assert_eq!(
            look(&at, &[("cookie", "a=1"), ("cookie", "b=2;__Host-at=t")]),
            some("t")
        );
        assert_eq!(
            look(&at, &[("cookie", "__Host-at=t; __Host-at=t")]),
            some("t")
        );
        assert_eq!(
            look(&at, &[("cookie", "__Host-at=t; __Host-at=u")]),
            Err(Unclear)
        );
        for other in [
            "__Host-atx=t",
            "x__Host-at=t",
            "=__Host-at=t",
            "__host-at=t",
            "__Host-at",
            "__Host-at=",
        ] {
            assert_eq!(look(&at, &[("cookie", other)]), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_header_of_its_own_and_a_function() {
        let header = [Source::Header(HeaderName::from_static("x-token"))];
        assert_eq!(look(&header, &[("x-token", "t")]), some("t"));
        assert_eq!(look(&header, &[("x-token", "Bearer t")]), some("t"));
        assert_eq!(look(&header, &[("x-token", "")]), Ok(None));
        assert_eq!(
            look(&header, &[("x-token", "t"), ("x-token", "t")]),
            Err(Unclear)
        );
        let custom = [Source::Custom(Arc::new(|head| {
            head.uri.path().strip_prefix('/').map(Into::into)
        }))];
        assert_eq!(look(&custom, &[]), some(""));
    }
}
