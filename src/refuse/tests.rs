//! The texts rendered while compiling are those that would be rendered per request.

use super::{
    DefaultRefuse, Protocol, Refuse, Rejection, RejectionKind, http,
    table::{Format, KINDS, row},
};

#[test]
fn the_table_has_every_kind() {
    assert_eq!(KINDS.len(), 18);
}

#[test]
fn prepared_bodies_are_the_rendered_ones() {
    for &kind in KINDS {
        let row = row(kind);
        if row.format == Format::Problem {
            assert_eq!(row.body, http::problem(&Rejection::new(kind)));
        }
        serde_json::from_str::<serde_json::Value>(row.body).expect("it is JSON");
    }
}

#[test]
fn prepared_challenges_are_the_rendered_ones() {
    for &kind in KINDS {
        let Some(challenge) = row(kind).challenge else {
            continue;
        };
        assert_eq!(challenge, http::build_challenge(&Rejection::new(kind)));
    }
}

#[test]
fn nothing_ends_a_quoted_string_early() {
    let rejection = Rejection::new(RejectionKind::InsufficientScope)
        .realm("a\"b\\c")
        .scope("x\", error=\"none\r\nset-cookie: é");
    assert_eq!(
        http::build_challenge(&rejection),
        r#"Bearer realm="a'b/c", error="insufficient_scope", scope="x', error='none??set-cookie: ?""#
    );
}

#[test]
fn json_text_is_escaped() {
    let rejection = Rejection::new(RejectionKind::Csrf).detail("a \"quote\"\\\n\u{1}é");
    let body: serde_json::Value = serde_json::from_str(&http::problem(&rejection)).unwrap();
    assert_eq!(body["detail"], "a \"quote\"\\\n\u{1}é");
}

#[test]
fn the_content_type_says_how_the_caller_speaks() {
    let table = [
        ("application/grpc", Some("application/grpc")),
        ("application/grpc+proto", Some("application/grpc")),
        ("application/grpc+json", Some("application/grpc")),
        ("Application/GRPC", Some("application/grpc")),
        ("application/grpc; x=y", Some("application/grpc")),
        ("application/grpc-web", Some("application/grpc-web")),
        (
            "application/grpc-web+proto",
            Some("application/grpc-web+proto"),
        ),
        ("application/grpc-web+json", Some("application/grpc-web")),
        (
            "application/grpc-web-text",
            Some("application/grpc-web-text"),
        ),
        (
            "application/grpc-web-text+proto",
            Some("application/grpc-web-text+proto"),
        ),
        ("application/grpcx", None),
        ("application/grpc-webx", None),
        ("application/grpc-other", None),
        ("application/json", None),
        ("text/plain; application/grpc", None),
        ("", None),
    ];
    for (asked, answer) in table {
        let mut headers = ::http::HeaderMap::new();
        headers.insert("content-type", asked.parse().unwrap());
        assert_eq!(Protocol::of(&headers).content_type(), answer, "{asked}");
    }
    assert_eq!(Protocol::of(&::http::HeaderMap::new()), Protocol::Http);
}

#[test]
fn the_causing_error_is_for_this_side_only() {
    use std::error::Error;

    let cause = "redis://10.0.0.7:6379 refused the key sess:1";
    for &kind in KINDS {
        let rejection = Rejection::new(kind).code("a.code").caused_by(cause);
        assert_eq!(
            rejection.source().map(ToString::to_string).as_deref(),
            Some(cause)
        );
        assert!(!rejection.to_string().contains("redis"));
        for content_type in ["text/plain", "application/grpc"] {
            let request = ::http::Request::builder().header("content-type", content_type);
            let (head, ()) = request.body(()).unwrap().into_parts();
            let response: ::http::Response<String> = DefaultRefuse.refuse(head.into(), &rejection);
            let seen = format!("{:?} {}", response.headers(), response.body());
            assert!(
                !seen.contains("redis") && !seen.contains("10.0.0.7"),
                "{seen}"
            );
        }
    }
}
