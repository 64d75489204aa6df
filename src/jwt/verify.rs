//! Is this text a token that these rules accept at this time? A pure function of the three.
//!
//! The order is part of the protection:
//!
//! 1. Size and shape, before anything is decoded.
//! 2. The header, once. It chooses a key by exact name and agrees with the key's algorithm, or the token is refused;
//!    nothing in it adds a key, an algorithm or a place to fetch one from.
//! 3. The signature, over the bytes as they came.
//! 4. Only then the claims: they are the issuer's words from here on. A key speaks for its own issuer only.

use std::sync::Arc;

use base64::{Engine as _, decoded_len_estimate, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::value::RawValue;

use super::{
    JwtAlgorithm, JwtError,
    JwtErrorKind::{
        self, BadSignature, Expired, InvalidClaim, IssuedInTheFuture, LivesTooLong, Malformed,
        MissingClaim, NotAnAccessToken, NotYetValid, SenderConstrained, TooLarge, UnknownKey,
        WrongAudience, WrongIssuer, WrongType,
    },
    json::{Text, Texts},
    key::LONGEST_KID,
    members::{self, Header, Registered},
    rules::Rules,
    token::{AuthorizationDetail, Parts, Span, SubjectKind, Times},
};

/// An accepted token: what every layer reads, and the claims as text for the application's type.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) parts: Parts,
    pub(super) payload: Vec<u8>,
}

/// Whether `token` is accepted under `rules` at `now_ms`, milliseconds since the Unix epoch.
pub(super) fn verify_at(token: &[u8], rules: &Rules, now_ms: u64) -> Result<Verified, JwtError> {
    let signed = Signed::split(token, rules.max_size)?;
    // One allocation for both: the header is not looked at again once it has named the key.
    let longest = signed.header.len().max(signed.payload.len());
    let mut payload = Vec::with_capacity(decoded_len_estimate(longest));
    decode(signed.header, &mut payload)?;
    let issuer_index = signer(&payload, &signed, rules)?;

    payload.clear();
    decode(signed.payload, &mut payload)?;
    let claims = Registered::parse(&payload, &rules.tenant_claim)?;
    right_issuer(&claims, rules, issuer_index)?;
    right_audience(&claims, rules)?;
    let times = Times {
        exp_ms: claims.exp.ok_or(MissingClaim)?,
        nbf_ms: claims.nbf,
        iat_ms: claims.iat,
    };
    times.check(rules, now_ms)?;
    right_kind(&claims, rules)?;
    let parts = parts(&claims, rules, issuer_index, times)?;
    Ok(Verified { parts, payload })
}

/// The place of the issuer whose key the header names and whose key signed.
fn signer(header: &[u8], signed: &Signed<'_>, rules: &Rules) -> Result<usize, JwtErrorKind> {
    let header = Header::parse(header)?;
    right_type(header.typ.as_ref(), rules)?;
    signed.signer(&header, rules)
}

/// The three parts of a compact JWS (RFC 7515 §7.1).
struct Signed<'t> {
    header: &'t [u8],
    payload: &'t [u8],
    signature: &'t [u8],
    /// What was signed: header, dot, payload.
    message: &'t [u8],
}

impl<'t> Signed<'t> {
    fn split(token: &'t [u8], max_size: usize) -> Result<Self, JwtErrorKind> {
        if token.len() > max_size {
            return Err(TooLarge);
        }
        // Four parts more would be encryption (RFC 7516), and a thousand an attack: neither is looked at.
        let mut dots = token
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'.')
            .map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Malformed);
        };
        Ok(Self {
            header: &token[..first],
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
            message: &token[..second],
        })
    }

    /// The place of the issuer whose key signed this.
    fn signer(&self, header: &Header<'_>, rules: &Rules) -> Result<usize, JwtErrorKind> {
        let name = header.alg.as_ref().ok_or(Malformed)?;
        let algorithm = JwtAlgorithm::from_name(name.as_str()).ok_or(UnknownKey)?;
        let kid = header.kid.as_ref().map(Text::as_str);
        if kid.is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(UnknownKey);
        }
        let mut signature = Vec::new();
        decode(self.signature, &mut signature)?;
        match kid {
            Some(kid) => self.signer_by_name(kid, algorithm, &signature, rules),
            None => self.only_signer(algorithm, &signature, rules),
        }
    }

    /// Issuers choose their key ids without asking each other, so several may have a key of this name: each of those is
    /// tried, and the one that signed speaks for its own issuer only.
    fn signer_by_name(
        &self,
        kid: &str,
        algorithm: JwtAlgorithm,
        signature: &Vec<u8>,
        rules: &Rules,
    ) -> Result<usize, JwtErrorKind> {
        let mut failure = UnknownKey;
        for (index, issuer) in rules.issuers.iter().enumerate() {
            let current = issuer.keys.current();
            if let Some(key) = current.keys.named(kid, algorithm) {
                if key.verify(self.message, signature) {
                    return Ok(index);
                }
                failure = BadSignature;
            }
        }
        Err(failure)
    }

    /// Without a name there must be no choice.
    fn only_signer(
        &self,
        algorithm: JwtAlgorithm,
        signature: &Vec<u8>,
        rules: &Rules,
    ) -> Result<usize, JwtErrorKind> {
        let mut only = None;
        for (index, issuer) in rules.issuers.iter().enumerate() {
            let current = issuer.keys.current();
            for place in current.keys.of_algorithm(algorithm) {
                if only.replace((index, Arc::clone(&current), place)).is_some() {
                    return Err(UnknownKey);
                }
            }
        }
        let (index, current, place) = only.ok_or(UnknownKey)?;
        let key = current.keys.at(place).ok_or(UnknownKey)?;
        if key.verify(self.message, signature) {
            Ok(index)
        } else {
            Err(BadSignature)
        }
    }
}

/// Base64url as RFC 7515 §2 has it: every value has exactly one text.
fn decode(text: &[u8], into: &mut Vec<u8>) -> Result<(), JwtErrorKind> {
    URL_SAFE_NO_PAD
        .decode_vec(text, into)
        .map_err(|_| Malformed)
}

/// RFC 8725 §3.11: what was made for another purpose is refused, whoever signed it.
fn right_type(typ: Option<&Text<'_>>, rules: &Rules) -> Result<(), JwtErrorKind> {
    let Some(types) = &rules.types else {
        return Ok(());
    };
    let typ = without_application(typ.ok_or(WrongType)?.as_str());
    let right = types
        .iter()
        .any(|expected| expected.eq_ignore_ascii_case(typ));
    if right { Ok(()) } else { Err(WrongType) }
}

/// RFC 7515 §4.1.9: `application/` is left out where nothing else contains a slash.
pub(super) fn without_application(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        _ => typ,
    }
}

fn right_issuer(claims: &Registered<'_>, rules: &Rules, index: usize) -> Result<(), JwtErrorKind> {
    let Some(expected) = &rules.issuers[index].iss else {
        return Ok(());
    };
    let iss = claims.iss.as_ref().ok_or(MissingClaim)?;
    if iss.as_str() == &**expected {
        Ok(())
    } else {
        Err(WrongIssuer)
    }
}

fn right_audience(claims: &Registered<'_>, rules: &Rules) -> Result<(), JwtErrorKind> {
    let Some(audiences) = &rules.audiences else {
        return Ok(());
    };
    let aud = claims.aud.as_ref().ok_or(MissingClaim)?;
    let ours = aud
        .iter()
        .any(|aud| audiences.iter().any(|ours| **ours == *aud));
    if ours { Ok(()) } else { Err(WrongAudience) }
}

impl Times {
    /// The bounds are exact: accepted from `nbf - leeway` on, and refused from `exp + leeway` on.
    ///
    /// All that depends on the time is here: a token that was verified once is judged again by this alone.
    pub(super) fn check(self, rules: &Rules, now_ms: u64) -> Result<(), JwtErrorKind> {
        let latest = now_ms.saturating_add(rules.leeway_ms);
        if self.exp_ms.saturating_add(rules.leeway_ms) <= now_ms {
            return Err(Expired);
        }
        if self.nbf_ms.is_some_and(|nbf_ms| nbf_ms > latest) {
            return Err(NotYetValid);
        }
        if self.iat_ms.is_some_and(|iat_ms| iat_ms > latest) {
            return Err(IssuedInTheFuture);
        }
        if self.exp_ms > latest.saturating_add(rules.max_life_ms) {
            return Err(LivesTooLong);
        }
        Ok(())
    }
}

fn right_kind(claims: &Registered<'_>, rules: &Rules) -> Result<(), JwtErrorKind> {
    if claims.other_kind {
        return Err(NotAnAccessToken);
    }
    if claims.confirmation && !rules.ignore_confirmation {
        return Err(SenderConstrained);
    }
    if claims.sub.is_none() && rules.subject_required {
        return Err(MissingClaim);
    }
    // An empty id would be the same id for everybody who forgot to write one.
    let ids = [
        &claims.sub,
        &claims.jti,
        &claims.sid,
        &claims.client_id,
        &claims.tenant,
    ];
    if ids.into_iter().flatten().any(|id| id.as_str().is_empty()) {
        return Err(InvalidClaim);
    }
    Ok(())
}

fn parts(
    claims: &Registered<'_>,
    rules: &Rules,
    issuer_index: usize,
    times: Times,
) -> Result<Parts, JwtErrorKind> {
    let client_id = claims.client_id.as_ref().or(claims.azp.as_ref());
    let scopes = claims.scope.as_ref().or(claims.scp.as_ref());
    let mut text = Strings::for_all(claims, client_id, scopes);
    Ok(Parts {
        iss: text.keep(claims.iss.as_ref()),
        sub: text.keep(claims.sub.as_ref()),
        jti: text.keep(claims.jti.as_ref()),
        sid: text.keep(claims.sid.as_ref()),
        client_id: text.keep(client_id),
        tenant: text.keep(claims.tenant.as_ref()),
        acr: text.keep(claims.acr.as_ref()),
        amr: text.keep_words(claims.amr.as_ref())?,
        scope: text.keep_words(scopes)?,
        times,
        auth_ms: claims.auth_ms,
        auth_time_ms: claims.auth_time,
        leeway_ms: rules.leeway_ms,
        kind: subject_kind(claims, client_id),
        issuer_index,
        authorization_details: claims.authorization_details.map(details).transpose()?,
        text: text.0.into_boxed_str(),
    })
}

/// RFC 9068 §2.2: a client on its own behalf has its client id as subject. `gty` is how one large provider says it.
fn subject_kind(claims: &Registered<'_>, client_id: Option<&Text<'_>>) -> SubjectKind {
    let says_so = claims
        .gty
        .as_ref()
        .is_some_and(|gty| gty.iter().any(|grant| grant == "client-credentials"));
    let is_itself = claims
        .sub
        .as_ref()
        .is_none_or(|sub| client_id == Some(sub) || claims.azp.as_ref() == Some(sub));
    if says_so || is_itself {
        SubjectKind::Client
    } else {
        SubjectKind::User
    }
}

fn details(text: &RawValue) -> Result<Box<[AuthorizationDetail]>, JwtErrorKind> {
    let entries = members::authorization_details(text).ok_or(InvalidClaim)?;
    Ok(entries
        .into_iter()
        .map(|(name, json)| AuthorizationDetail { name, json })
        .collect())
}

/// The strings of a token, behind each other. A token is far smaller than the 4 GiB that a [`Span`] can address.
struct Strings(String);

impl Strings {
    fn for_all(
        claims: &Registered<'_>,
        client_id: Option<&Text<'_>>,
        scopes: Option<&Texts<'_>>,
    ) -> Self {
        let strings = [
            &claims.iss,
            &claims.sub,
            &claims.jti,
            &claims.sid,
            &claims.tenant,
            &claims.acr,
        ];
        let strings = strings
            .into_iter()
            .flatten()
            .chain(client_id)
            .map(|text| text.as_str().len());
        let words = scopes.into_iter().chain(&claims.amr);
        let words = words.flat_map(Texts::iter).map(|word| word.len() + 1);
        Self(String::with_capacity(strings.chain(words).sum()))
    }

    fn keep(&mut self, text: Option<&Text<'_>>) -> Option<Span> {
        text.map(|text| self.span_of(|all| all.push_str(text.as_str())))
    }

    /// `"a b"` or `["a", "b"]`. An element with a space in it would become two scopes that nobody granted.
    fn keep_words(&mut self, words: Option<&Texts<'_>>) -> Result<Option<Span>, JwtErrorKind> {
        let Some(words) = words else {
            return Ok(None);
        };
        let is_list = matches!(words, Texts::Many(_));
        if is_list
            && words
                .iter()
                .any(|word| word.is_empty() || word.contains(char::is_whitespace))
        {
            return Err(InvalidClaim);
        }
        Ok(Some(self.span_of(|all| {
            for word in words.iter() {
                all.push_str(word);
                all.push(' ');
            }
        })))
    }

    fn span_of(&mut self, write: impl FnOnce(&mut String)) -> Span {
        let start = self.0.len();
        write(&mut self.0);
        Span {
            start: narrow(start),
            end: narrow(self.0.len()),
        }
    }
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
