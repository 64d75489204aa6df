//! The whole decision table, at the layer and with an inner service that counts.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response, StatusCode, header};
use portcullis::{
    Rejection, Store,
    csrf::{CsrfLayer, CsrfToken},
    session::{Login, Session, SessionLayer},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::site::keys;

/// Written by hand from the design (rule 11) and the requirements R36–R39, R43, R54; the first row that fits counts.
///
/// method | Sec-Fetch-Site | Origin | Cookie | Authorization | token | outcome: `pass` or the reason of the refusal
const TABLE: &str = "
    GET/HEAD/OPTIONS | *                | *           | *       | *           | *    | pass
    *                | *                | *           | none    | Bearer/dpop | *    | pass
    *                | same-origin/none | *           | *       | *           | *    | pass
    *                | absent           | trusted     | *       | *           | *    | pass
    *                | absent           | own/own:443 | *       | *           | *    | pass
    *                | absent           | null        | *       | *           | *    | null_origin
    *                | absent           | path/twice  | *       | *           | *    | bad_origin
    *                | absent           | absent      | none    | absent      | *    | pass
    *                | absent           | absent      | session | *           | good | pass
    *                | absent           | absent      | *       | *           | none | token_missing
    *                | absent           | absent      | *       | *           | *    | token_wrong
    *                | absent           | *           | *       | *           | *    | foreign_origin
    *                | *                | trusted     | *       | *           | *    | pass
    *                | same-site        | *           | *       | *           | *    | same_site
    *                | cross-site       | *           | *       | *           | *    | cross_site
    *                | *                | *           | *       | *           | *    | unknown_site
";

/// What the settings that weaken let pass besides; everything else is as in the table.
const SAME_SITE: &str = "* | same-site | * | * | * | * | pass";
const HEADERLESS: &str = "* | absent | absent | * | * | * | pass";
const PLAIN_HTTP: &str = "* | absent | http | * | * | * | pass";

type Axis = &'static [(&'static str, &'static [&'static str])];

const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE"];
const SITES: Axis = &[
    ("absent", &[]),
    ("same-origin", &["same-origin"]),
    ("none", &["none"]),
    ("same-site", &["same-site"]),
    ("cross-site", &["cross-site"]),
    ("garbage", &["Same-Origin"]),
    ("twice", &["same-origin", "same-origin"]),
];
const ORIGINS: Axis = &[
    ("absent", &[]),
    ("own", &["https://app.example"]),
    ("own:443", &["https://APP.example:443"]),
    ("http", &["http://app.example"]),
    ("port", &["https://app.example:8443"]),
    ("prefix", &["https://app.example.evil.example"]),
    ("trusted", &["https://friend.example"]),
    ("null", &["null"]),
    ("path", &["https://app.example/"]),
    ("twice", &["https://app.example", "https://app.example"]),
];
const AUTHORIZATIONS: Axis = &[
    ("absent", &[]),
    ("Bearer", &["Bearer x"]),
    ("dpop", &["dpop x"]),
    ("Basic", &["Basic eDp5"]),
];

fn expected<'t>(cells: [&str; 6], first: &'t str, table: &'t str) -> &'t str {
    let rows = first.lines().chain(table.lines());
    let rows = rows.filter(|line| line.contains('|'));
    let mut rows = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let fits = |row: &Vec<&str>| {
        row.iter()
            .zip(cells)
            .all(|(wanted, cell)| *wanted == "*" || wanted.split('/').any(|wanted| wanted == cell))
    };
    rows.find(fits).expect("the last row fits everything")[6]
}

/// A session cookie and a token of it, made by the layers themselves.
async fn visitor(store: &Store) -> (String, String) {
    let app = service_fn(async |request: Request<()>| {
        let session = request.extensions().get::<Session>().unwrap();
        session.login(Login::new("alice")).await.unwrap();
        let token = request.extensions().get::<CsrfToken>().unwrap();
        Ok::<_, Infallible>(Response::new(token.token().await.unwrap()))
    });
    let app = SessionLayer::new(store, &keys()).layer(CsrfLayer::new(&keys()).layer(app));
    let response = app.oneshot(Request::new(())).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    (cookie, response.into_body())
}

/// Everything one layer says to all combinations; how many there were.
async fn compare(csrf: CsrfLayer, first: &str, store: &Store) -> usize {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let inner = service_fn(|_: Request<()>| {
        CALLS.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let mut app = SessionLayer::new(store, &keys()).layer(csrf.layer(inner));
    let (session, good) = visitor(store).await;
    let (_, wrong) = visitor(store).await;
    let cookies: [(&str, Option<&str>); 3] = [
        ("none", None),
        ("other", Some("theme=dark")),
        ("session", Some(&session)),
    ];
    let tokens: [(&str, Option<&str>); 4] = [
        ("none", None),
        ("good", Some(&good)),
        ("wrong", Some(&wrong)),
        ("garbage", Some("x")),
    ];
    let mut seen = 0;
    for method in METHODS {
        for (site, sites) in SITES {
            for (origin, origins) in ORIGINS {
                for (cookie, cookie_value) in cookies {
                    for (authorization, authorizations) in AUTHORIZATIONS {
                        for (token, token_value) in tokens {
                            let cells = [method, site, origin, cookie, authorization, token];
                            let mut request = Request::builder().method(method).uri("/x");
                            let named = [
                                ("sec-fetch-site", *sites),
                                ("origin", origins),
                                ("cookie", cookie_value.as_slice()),
                                ("authorization", authorizations),
                                ("x-csrf-token", token_value.as_slice()),
                                ("host", &["app.example"]),
                            ];
                            for (name, values) in named {
                                for value in values {
                                    request = request.header(name, *value);
                                }
                            }
                            let before = CALLS.load(Ordering::SeqCst);
                            let request = request.body(()).unwrap();
                            let response = app.ready().await.unwrap().call(request).await.unwrap();
                            let called = CALLS.load(Ordering::SeqCst) - before;
                            let reason = response.extensions().get::<Rejection>();
                            let outcome = reason.map_or("pass", Rejection::reason_code);
                            let expected = expected(cells, first, TABLE);
                            assert_eq!(outcome, expected, "{cells:?}");
                            assert_eq!(called, usize::from(expected == "pass"), "{cells:?}");
                            let status = match expected {
                                "pass" => StatusCode::OK,
                                _ => StatusCode::FORBIDDEN,
                            };
                            assert_eq!(response.status(), status, "{cells:?}");
                            seen += 1;
                        }
                    }
                }
            }
        }
    }
    seen
}

/// R36, R37, R38, R39, R43, R47, R54.
// Fails if: `same-site` passes, a token rescues `cross-site`, an Origin is compared without its scheme or port, Basic
// counts as a token, or the inner service is called before the verdict.
#[tokio::test]
async fn r36_to_r39_the_whole_table() {
    let store = Store::memory();
    let builder = || CsrfLayer::builder(&keys()).trusted_origin("https://friend.example");
    let settings = [
        (builder(), ""),
        (builder().insecure_allow_same_site(), SAME_SITE),
        (builder().insecure_allow_headerless(), HEADERLESS),
        (builder().insecure_plain_http(), PLAIN_HTTP),
    ];
    for (builder, first) in settings {
        let seen = compare(builder.build().unwrap(), first, &store).await;
        assert_eq!(seen, 7 * 7 * 10 * 3 * 4 * 4);
    }
}
