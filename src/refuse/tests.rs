//! The texts rendered while compiling are those that would be rendered per request.

use super::{
    Protocol, Rejection, RejectionKind, http,
    table::{Format, KINDS, row},
};

#[test]
fn the_table_has_every_kind() {
    assert_eq!(KINDS.len(), 16);
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
        let expected = answer.map_or(Protocol::Http, Protocol::Grpc);
        assert_eq!(Protocol::of(&headers), expected, "{asked}");
    }
    assert_eq!(Protocol::of(&::http::HeaderMap::new()), Protocol::Http);
}
