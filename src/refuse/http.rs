//! Refusals for HTTP: status, challenge, when to retry, and a small JSON body.

use std::{borrow::Cow, fmt::Write, time::Duration};

use http::{
    HeaderMap, HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
};

use super::{
    Rejection, RejectionKind, body,
    table::{Format, row},
};

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const DEFAULT_REALM: &str = "api";

/// Writes the refusal into an empty response.
pub(super) fn write<B: 'static>(response: &mut Response<B>, rejection: &Rejection) {
    *response.status_mut() = rejection.status();
    write_headers(response.headers_mut(), rejection);
    let row = row(rejection.kind());
    let content_type = match row.format {
        Format::Problem => "application/problem+json",
        Format::OAuth => "application/json",
    };
    // An OAuth error is nothing but its name: reused, revoked and unknown must look the same.
    let prepared = row.format == Format::OAuth || rejection.is_plain();
    let wrote = body::put(response.body_mut(), || match prepared {
        true => Cow::Borrowed(row.body),
        false => Cow::Owned(problem(rejection)),
    });
    if wrote {
        let content_type = HeaderValue::from_static(content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
}

fn write_headers(headers: &mut HeaderMap, rejection: &Rejection) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    write_challenge(headers, rejection);
    if rejection.kind() == RejectionKind::Csrf {
        // Not every cache honours `no-store`, and another page's request is answered differently.
        headers.insert(VARY, HeaderValue::from_static("Sec-Fetch-Site, Origin"));
    }
    if let Some(after) = rejection.retry() {
        headers.insert(RETRY_AFTER, seconds(after));
    }
}

/// The challenge and what belongs to it, the same for HTTP and gRPC.
pub(super) fn write_challenge(headers: &mut HeaderMap, rejection: &Rejection) {
    if let Some(challenge) = challenge(rejection) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(Ok(nonce)) = rejection.nonce().map(HeaderValue::from_str) {
        headers.insert(DPOP_NONCE, nonce);
    }
}

/// Rounded up, since a client that comes back too early is refused again.
fn seconds(after: Duration) -> HeaderValue {
    if after == Duration::from_secs(1) {
        return HeaderValue::from_static("1");
    }
    HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0))
}

/// The value of `WWW-Authenticate`, for the kinds that have a challenge.
fn challenge(rejection: &Rejection) -> Option<HeaderValue> {
    let plain = row(rejection.kind()).challenge?;
    if rejection.has_plain_challenge() {
        return Some(HeaderValue::from_static(plain));
    }
    // `quoted` leaves only visible ASCII and spaces, so the plain text is never needed.
    let built = HeaderValue::try_from(build_challenge(rejection));
    Some(built.unwrap_or_else(|_| HeaderValue::from_static(plain)))
}

pub(super) fn build_challenge(rejection: &Rejection) -> String {
    use RejectionKind::{InsufficientScope, InsufficientUserAuthentication, InvalidToken};

    let kind = rejection.kind();
    let with = rejection.parameters();
    let dpop = is_dpop(kind);
    let mut text = String::from(if dpop { "DPoP " } else { "Bearer " });
    quoted(
        &mut text,
        "realm",
        Some(with.realm.unwrap_or(DEFAULT_REALM)),
    );
    let error = (kind != RejectionKind::MissingCredentials).then_some(row(kind).code);
    quoted(&mut text, "error", error);
    match kind {
        InvalidToken => quoted(
            &mut text,
            "error_description",
            Some(rejection.detail_text()),
        ),
        InsufficientScope => quoted(&mut text, "scope", with.scope),
        InsufficientUserAuthentication => {
            quoted(&mut text, "acr_values", with.acr_values);
            if let Some(age) = with.max_age {
                // Writing to a `String` cannot fail.
                let _ = write!(text, r#", max_age="{}""#, age.as_secs());
            }
        }
        _ if dpop => quoted(&mut text, "algs", with.dpop_algs),
        _ => {}
    }
    quoted(&mut text, "resource_metadata", with.resource_metadata);
    text
}

const fn is_dpop(kind: RejectionKind) -> bool {
    matches!(
        kind,
        RejectionKind::InvalidDpopProof | RejectionKind::UseDpopNonce
    )
}

/// Appends `name="value"`. RFC 6750 section 3 allows neither quotes nor backslashes inside, escaped or not, so they are
/// replaced, as is everything that could end the header.
fn quoted(text: &mut String, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    if !text.ends_with(' ') {
        text.push_str(", ");
    }
    text.push_str(name);
    text.push_str("=\"");
    text.extend(value.chars().map(|char| match char {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => char,
        _ => '?',
    }));
    text.push('"');
}

/// `application/problem+json` with the reason and the detail of this rejection.
pub(super) fn problem(rejection: &Rejection) -> String {
    let row = row(rejection.kind());
    let (code, detail) = (rejection.reason_code(), rejection.detail_text());
    let text = [
        r#"{"type":"urn:portcullis:problem:"#,
        row.code,
        r#"","title":""#,
        row.title,
        r#"","status":"#,
        row.status.as_str(),
        r#","detail":""#,
        detail,
        r#"","code":""#,
        code,
        r#""}"#,
    ];
    // Exact unless something is escaped: then the text becomes the body without another allocation.
    let mut json = String::with_capacity(text.iter().map(|part| part.len()).sum());
    for (index, part) in text.into_iter().enumerate() {
        match index {
            7 | 9 => push_json(&mut json, part),
            _ => json.push_str(part),
        }
    }
    json
}

fn push_json(json: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                json.push('\\');
                json.push(char);
            }
            '\0'..='\x1f' => {
                // Writing to a `String` cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(char));
            }
            _ => json.push(char),
        }
    }
}
