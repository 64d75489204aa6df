//! The table of refusals, line by line, for HTTP and gRPC.

use std::time::Duration;

use http::{HeaderMap, Request, Response};
use portcullis::{DefaultRefuse, Refuse, Rejection, RejectionKind as Kind};

fn refuse(rejection: &Rejection, content_type: &str) -> Response<String> {
    let request = Request::post("/").header("content-type", content_type);
    let (head, ()) = request.body(()).unwrap().into_parts();
    DefaultRefuse::new().refuse(head.into(), rejection)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().unwrap();
    assert!(values.next().is_none(), "{name} occurs twice");
    Some(value)
}

/// One line of the table, written here once more: the crate has its own.
struct Line {
    rejection: Rejection,
    status: u16,
    challenge: Option<&'static str>,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
    grpc: &'static str,
}

fn line(
    rejection: impl Into<Rejection>,
    (status, grpc): (u16, &'static str),
    challenge: impl Into<Option<&'static str>>,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
) -> Line {
    Line {
        rejection: rejection.into(),
        status,
        challenge: challenge.into(),
        code,
        title,
        detail,
        grpc,
    }
}

fn bearer_lines() -> Vec<Line> {
    vec![
        line(
            Kind::MissingCredentials,
            (401, "16"),
            r#"Bearer realm="api""#,
            "missing_credentials",
            "Authentication required",
            "the request carries no credentials",
        ),
        line(
            Kind::InvalidRequest,
            (400, "16"),
            r#"Bearer realm="api", error="invalid_request""#,
            "invalid_request",
            "Invalid request",
            "the credentials are malformed or sent in more than one way",
        ),
        line(
            Kind::InvalidToken,
            (401, "16"),
            r#"Bearer realm="api", error="invalid_token", error_description="the access token is expired, revoked or invalid""#,
            "invalid_token",
            "Invalid token",
            "the access token is expired, revoked or invalid",
        ),
        line(
            Rejection::new(Kind::InsufficientScope).scope("a b"),
            (403, "7"),
            r#"Bearer realm="api", error="insufficient_scope", scope="a b""#,
            "insufficient_scope",
            "Insufficient scope",
            "the access token lacks a scope that this request needs",
        ),
        line(
            Rejection::new(Kind::InsufficientUserAuthentication)
                .acr_values("gold")
                .max_age(Duration::from_secs(300)),
            (401, "16"),
            r#"Bearer realm="api", error="insufficient_user_authentication", acr_values="gold", max_age="300""#,
            "insufficient_user_authentication",
            "Stronger or more recent authentication required",
            "the user must authenticate again for this request",
        ),
        line(
            Rejection::new(Kind::InvalidDpopProof).dpop_algs("ES256 EdDSA"),
            (401, "16"),
            r#"DPoP realm="api", error="invalid_dpop_proof", algs="ES256 EdDSA""#,
            "invalid_dpop_proof",
            "Invalid DPoP proof",
            "the DPoP proof is missing or invalid",
        ),
        line(
            Kind::UseDpopNonce,
            (401, "16"),
            r#"DPoP realm="api", error="use_dpop_nonce""#,
            "use_dpop_nonce",
            "DPoP nonce required",
            "the DPoP proof must carry the nonce of this response",
        ),
    ]
}

fn other_lines() -> Vec<Line> {
    vec![
        line(
            Kind::LoginRequired,
            (401, "16"),
            None,
            "login_required",
            "Login required",
            "there is no valid session",
        ),
        line(
            Kind::Forbidden,
            (403, "7"),
            None,
            "forbidden",
            "Forbidden",
            "this request is not allowed",
        ),
        line(
            Kind::Csrf,
            (403, "7"),
            None,
            "csrf",
            "Cross-site request refused",
            "the request could not be shown to come from this site",
        ),
        line(
            Kind::UnsupportedMediaType,
            (415, "3"),
            None,
            "unsupported_media_type",
            "Unsupported media type",
            "this content type is not accepted here",
        ),
        line(
            Kind::TooLarge,
            (413, "8"),
            None,
            "too_large",
            "Too large",
            "the request would store or carry more than is allowed",
        ),
        line(
            Kind::BadRequest,
            (400, "3"),
            None,
            "bad_request",
            "Bad request",
            "the request is malformed",
        ),
        line(
            Kind::Conflict,
            (409, "8"),
            None,
            "conflict",
            "Session limit reached",
            "the limit of sessions is reached",
        ),
        line(
            Kind::Unavailable,
            (503, "14"),
            None,
            "unavailable",
            "Service unavailable",
            "the request cannot be checked at the moment",
        ),
        line(
            Kind::Internal,
            (500, "13"),
            None,
            "internal",
            "Internal server error",
            "the server is not set up correctly",
        ),
    ]
}

#[test]
fn http_line_by_line() {
    for line in bearer_lines().into_iter().chain(other_lines()) {
        let response = refuse(&line.rejection, "application/json");
        let headers = response.headers();
        assert_eq!(response.status(), line.status, "{}", line.code);
        assert_eq!(line.rejection.status(), line.status);
        assert_eq!(header(headers, "www-authenticate"), line.challenge);
        assert_eq!(header(headers, "cache-control"), Some("no-store"));
        let content_type = header(headers, "content-type");
        assert_eq!(content_type, Some("application/problem+json"));
        let retry = (line.code == "unavailable").then_some("1");
        assert_eq!(header(headers, "retry-after"), retry);
        let vary = (line.code == "csrf").then_some("Sec-Fetch-Site, Origin");
        assert_eq!(header(headers, "vary"), vary);
        let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        let expected = serde_json::json!({
            "type": format!("urn:portcullis:problem:{}", line.code),
            "title": line.title,
            "status": line.status,
            "detail": line.detail,
            "code": line.code,
        });
        assert_eq!(body, expected);
    }
}

#[test]
fn grpc_line_by_line() {
    for line in bearer_lines().into_iter().chain(other_lines()) {
        for content_type in ["application/grpc", "application/grpc-web+proto"] {
            let response = refuse(&line.rejection, content_type);
            let headers = response.headers();
            assert_eq!(response.status(), 200);
            assert_eq!(header(headers, "content-type"), Some(content_type));
            assert_eq!(header(headers, "grpc-status"), Some(line.grpc));
            assert_eq!(line.rejection.grpc_code().to_string(), line.grpc);
            assert_eq!(header(headers, "grpc-message"), Some(line.detail));
            assert_eq!(header(headers, "www-authenticate"), line.challenge);
            let retry = (line.code == "unavailable").then_some("1000");
            assert_eq!(header(headers, "grpc-retry-pushback-ms"), retry);
            assert_eq!(header(headers, "retry-after"), None);
            // It is a 200, and anybody can ask for any page as if by gRPC: a cache must not hand it to others.
            assert_eq!(header(headers, "cache-control"), Some("no-store"));
            assert_eq!(response.body(), "");
        }
    }
}

#[test]
fn refused_grants_are_oauth_errors_and_nothing_more() {
    let table = [
        (Kind::InvalidGrant, r#"{"error":"invalid_grant"}"#, "16"),
        (Kind::InvalidScope, r#"{"error":"invalid_scope"}"#, "3"),
    ];
    for (kind, body, grpc) in table {
        // The reason is for this side: reuse must not look different from an unknown token.
        let rejection = Rejection::new(kind)
            .code("refresh.reuse")
            .detail("used twice");
        let response = refuse(&rejection, "application/x-www-form-urlencoded");
        assert_eq!(response.status(), 400);
        assert_eq!(response.body(), body);
        let headers = response.headers();
        assert_eq!(header(headers, "content-type"), Some("application/json"));
        assert_eq!(header(headers, "cache-control"), Some("no-store"));
        assert_eq!(header(headers, "www-authenticate"), None);
        let response = refuse(&rejection, "application/grpc");
        assert_eq!(header(response.headers(), "grpc-status"), Some(grpc));
        assert_ne!(
            header(response.headers(), "grpc-message"),
            Some("used twice")
        );
    }
}

#[test]
fn what_a_rejection_adds() {
    let rejection = Rejection::new(Kind::MissingCredentials)
        .realm("r")
        .resource_metadata("https://api.example/.well-known/oauth-protected-resource");
    assert_eq!(
        header(refuse(&rejection, "").headers(), "www-authenticate"),
        Some(
            r#"Bearer realm="r", resource_metadata="https://api.example/.well-known/oauth-protected-resource""#
        )
    );
    let rejection = Rejection::new(Kind::InvalidToken).detail("the access token expired");
    assert_eq!(
        header(refuse(&rejection, "").headers(), "www-authenticate"),
        Some(
            r#"Bearer realm="api", error="invalid_token", error_description="the access token expired""#
        )
    );
    let rejection = Rejection::new(Kind::UseDpopNonce).dpop_nonce("abc");
    assert_eq!(
        header(refuse(&rejection, "").headers(), "dpop-nonce"),
        Some("abc")
    );
    let response = refuse(&rejection, "application/grpc");
    assert_eq!(header(response.headers(), "dpop-nonce"), Some("abc"));
    let rejection = Rejection::new(Kind::Conflict).retry_after(Duration::from_millis(1_001));
    assert_eq!(
        header(refuse(&rejection, "").headers(), "retry-after"),
        Some("2")
    );
}

#[test]
fn grpc_messages_are_percent_encoded() {
    let rejection = Rejection::new(Kind::Csrf).detail("100 % não\n");
    let response = refuse(&rejection, "application/grpc");
    let message = header(response.headers(), "grpc-message");
    assert_eq!(message, Some("100 %25 n%C3%A3o%0A"));
}

#[test]
fn a_body_that_cannot_hold_text_stays_empty_and_has_no_type() {
    let (head, ()) = Request::new(()).into_parts();
    let rejection = Rejection::new(Kind::Csrf);
    let response: Response<http_body_util::Empty<bytes::Bytes>> =
        DefaultRefuse::new().refuse(head.into(), &rejection);
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers().get("content-type"), None);
}
