//! Every kind of refusal with its numbers and texts, in one table.
//!
//! The texts are rendered while compiling: a refusal whose rejection says nothing special allocates nothing for them.

use http::StatusCode;

use super::rejection::RejectionKind;

/// What is the same for all refusals of one kind.
pub(super) struct Row {
    pub(super) status: StatusCode,
    pub(super) grpc: i32,
    pub(super) grpc_text: &'static str,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: &'static str,
    /// The whole body with `code` and `detail` as above.
    pub(super) body: &'static str,
    /// The whole `WWW-Authenticate` with the default realm and no further parameter.
    pub(super) challenge: Option<&'static str>,
    pub(super) format: Format,
}

/// The shape of the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/problem+json`, RFC 9457.
    Problem,
    /// `{"error":".."}`, RFC 6749 section 5.2.
    OAuth,
}

macro_rules! table {
    ($($kind:ident: $status:ident $number:literal, $grpc:literal, $code:literal, $title:literal, $detail:literal,
       $format:ident, $challenge:expr;)*) => {
        pub(super) const fn row(kind: RejectionKind) -> &'static Row {
            match kind {
                $(RejectionKind::$kind => &Row {
                    status: StatusCode::$status,
                    grpc: $grpc,
                    grpc_text: stringify!($grpc),
                    code: $code,
                    title: $title,
                    detail: $detail,
                    body: body!($format, $number, $code, $title, $detail),
                    challenge: $challenge,
                    format: Format::$format,
                },)*
            }
        }

        #[cfg(test)]
        pub(super) const KINDS: &[RejectionKind] = &[$(RejectionKind::$kind),*];
    };
}

macro_rules! body {
    (Problem, $number:literal, $code:literal, $title:literal, $detail:literal) => {
        concat!(
            r#"{"type":"urn:portcullis:problem:"#,
            $code,
            r#"","title":""#,
            $title,
            r#"","status":"#,
            $number,
            r#","detail":""#,
            $detail,
            r#"","code":""#,
            $code,
            r#""}"#
        )
    };
    (OAuth, $number:literal, $code:literal, $title:literal, $detail:literal) => {
        concat!(r#"{"error":""#, $code, r#""}"#)
    };
}

// kind: HTTP status and its number, gRPC code, reason code, title, detail, format, challenge
table! {
    MissingCredentials: UNAUTHORIZED 401, 16, "missing_credentials", "Authentication required",
        "the request carries no credentials", Problem,
        Some(r#"Bearer realm="api""#);
    InvalidRequest: BAD_REQUEST 400, 16, "invalid_request", "Invalid request",
        "the credentials are malformed or sent in more than one way", Problem,
        Some(r#"Bearer realm="api", error="invalid_request""#);
    InvalidToken: UNAUTHORIZED 401, 16, "invalid_token", "Invalid token",
        "the access token is expired, revoked or invalid", Problem,
        Some(concat!(
            r#"Bearer realm="api", error="invalid_token", "#,
            r#"error_description="the access token is expired, revoked or invalid""#
        ));
    InsufficientScope: FORBIDDEN 403, 7, "insufficient_scope", "Insufficient scope",
        "the access token lacks a scope that this request needs", Problem,
        Some(r#"Bearer realm="api", error="insufficient_scope""#);
    InsufficientUserAuthentication: UNAUTHORIZED 401, 16, "insufficient_user_authentication",
        "Stronger or more recent authentication required",
        "the user must authenticate again for this request", Problem,
        Some(r#"Bearer realm="api", error="insufficient_user_authentication""#);
    InvalidDpopProof: UNAUTHORIZED 401, 16, "invalid_dpop_proof", "Invalid DPoP proof",
        "the DPoP proof is missing or invalid", Problem,
        Some(r#"DPoP realm="api", error="invalid_dpop_proof""#);
    UseDpopNonce: UNAUTHORIZED 401, 16, "use_dpop_nonce", "DPoP nonce required",
        "the DPoP proof must carry the nonce of this response", Problem,
        Some(r#"DPoP realm="api", error="use_dpop_nonce""#);
    LoginRequired: UNAUTHORIZED 401, 16, "login_required", "Login required",
        "there is no valid session", Problem, None;
    Forbidden: FORBIDDEN 403, 7, "forbidden", "Forbidden",
        "this request is not allowed", Problem, None;
    Csrf: FORBIDDEN 403, 7, "csrf", "Cross-site request refused",
        "the request could not be shown to come from this site", Problem, None;
    UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE 415, 3, "unsupported_media_type", "Unsupported media type",
        "this content type is not accepted here", Problem, None;
    TooLarge: PAYLOAD_TOO_LARGE 413, 8, "too_large", "Too large",
        "the request would store or carry more than is allowed", Problem, None;
    BadRequest: BAD_REQUEST 400, 3, "bad_request", "Bad request",
        "the request is malformed", Problem, None;
    InvalidGrant: BAD_REQUEST 400, 16, "invalid_grant", "Invalid grant",
        "the refresh token is expired, revoked or invalid", OAuth, None;
    InvalidScope: BAD_REQUEST 400, 3, "invalid_scope", "Invalid scope",
        "the requested scope exceeds what was granted", OAuth, None;
    Conflict: CONFLICT 409, 8, "conflict", "Session limit reached",
        "the limit of sessions is reached", Problem, None;
    Unavailable: SERVICE_UNAVAILABLE 503, 14, "unavailable", "Service unavailable",
        "the request cannot be checked at the moment", Problem, None;
    Internal: INTERNAL_SERVER_ERROR 500, 13, "internal", "Internal server error",
        "the server is not set up correctly", Problem, None;
}
