//! Requests in front of the whole stack: a line with method and target, header lines, an empty line and a body.

use std::cell::RefCell;

use http::{HeaderMap, Method, Request, Response, header};

use super::{
    forge::{carries, expand},
    means::{Pieces, block_on},
    world::*,
};

pub const SEEDS: &[&[u8]] = &[
    b"\x00GET / HTTP/1.1\nhost: app.example\ncookie: \x01\nuser-agent: a browser\nsec-fetch-site: none\n\n",
    b"\x01GET / HTTP/1.1\nhost: app.example\ncookie: \x01; theme=dark\nuser-agent: a browser\nsec-fetch-site: same-origin\nsec-fetch-mode: navigate\nsec-fetch-dest: document\n\n",
    b"\x00POST /x HTTP/1.1\nhost: app.example\ncookie: a=b; \x01\nx-csrf-token: \x02\n\nbody",
    b"\x00POST /x HTTP/1.1\nhost: app.example\ncookie: \x03\nx-csrf-token: \x04\n\n",
    b"\x00POST /x HTTP/1.1\nhost: app.example\ncookie: \x01\ncontent-type: application/x-www-form-urlencoded\n\na=1&csrf_token=\x02&b=2",
    b"\x01POST /x HTTP/1.1\nhost: app.example\ncookie: \x03\ncontent-type: multipart/form-data; boundary=XX\n\n--XX\r\nContent-Disposition: form-data; name=\"csrf_token\"\r\n\r\n\x04\r\n--XX--\r\n",
    b"\x00POST /x HTTP/1.1\nhost: app.example:443\ncookie: \x01\norigin: https://app.example\n\n{}",
    b"\x00POST /x HTTP/1.1\nhost: app.example\ncookie: \x01\norigin: https://evil.example\nsec-fetch-site: cross-site\n\n",
    b"\x00GET / HTTP/1.1\nhost: app.example\nauthorization: Bearer \x05\n\n",
    b"\x00GET / HTTP/1.1\nhost: app.example\ncookie: __Host-access=\x05\n\n",
    b"\x00POST /x HTTP/2\nhost: app.example\nauthorization: Bearer \x15\x20\x04\x01\ncontent-type: application/grpc\n\n",
    b"\x01GET / HTTP/1.1\nhost: [::1]:3000\ncookie: \x11\x30\x00A\nx-forwarded-for: 6.6.6.6, 203.0.113.7, 10.0.0.9\nx-real-ip: 1.2.3.4\n\n",
    b"\x00DELETE http://app.example/x HTTP/1.1\ncookie: __Host-session=x; __Host-session=\x06; \x01\nupgrade: websocket\nx-http-method-override: PUT\n\n",
    b"\x00GET / HTTP/1.1\nauthorization: DPoP \x05\ndpop: \x05\nauthorization: Basic YTpi\ncookie: \"\x01\"\n\n",
];

/// A new service after so many questions to the store: what piles up in memory is of a test alone.
const OLD: usize = 4096;

thread_local! {
    static WORLD: RefCell<Option<(World, usize)>> = const { RefCell::new(None) };
}

/// Runs something with a service that is kept from input to input.
pub fn with_world(run: impl FnOnce(&World) -> usize) {
    WORLD.with(|kept| {
        let kept = kept.take();
        let (world, age) = kept.unwrap_or_else(|| (block_on(World::in_memory()), 0));
        let age = age + 1 + run(&world);
        WORLD.set((age < OLD).then_some((world, age)));
    });
}

pub fn run(input: &[u8]) {
    let Some((flags, text)) = input.split_first() else {
        return;
    };
    with_world(|world| {
        let text = expand(text, &world.credentials);
        let Some(request) = parse(&text) else {
            return 0;
        };
        let (head, body) = (request.headers().clone(), body_of(&text));
        let shown = Shown {
            method: request.method().clone(),
            authority: request.uri().authority().map(ToString::to_string),
            headers: head,
            body,
        };
        world.trips();
        let response = block_on(async {
            match flags & 1 {
                0 => world.call(request).await,
                _ => world.call_strict(request).await,
            }
        });
        let trips = world.trips();
        shown.judge(world, &response, trips, flags & 1 == 1);
        trips
    });
}

fn parse(text: &[u8]) -> Option<Request<Pieces>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.split(|byte| *byte == b' ');
    let (method, target) = (first.next()?, first.next()?);
    let mut request = Request::builder().method(method).uri(target);
    for line in lines.take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        request = request.header(name, value);
    }
    let mut request = request.body(Pieces::whole(body_of(text))).ok()?;
    request.extensions_mut().insert(peer());
    Some(request)
}

fn body_of(text: &[u8]) -> &[u8] {
    let end = text.windows(2).position(|pair| pair == b"\n\n");
    end.map_or(&[], |end| &text[end + 2..])
}

/// A request as its sender wrote it.
struct Shown<'t> {
    method: Method,
    authority: Option<String>,
    headers: HeaderMap,
    body: &'t [u8],
}

impl Shown<'_> {
    fn all(&self, name: impl header::AsHeaderName) -> Vec<&[u8]> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.as_bytes()).collect()
    }

    fn shows(&self, name: impl header::AsHeaderName, credential: &str) -> bool {
        let shows = |value: &&[u8]| {
            value
                .windows(credential.len())
                .any(|w| w == credential.as_bytes())
        };
        self.all(name).iter().any(shows)
    }

    fn judge(&self, world: &World, response: &Response<Seen>, trips: usize, strict: bool) {
        let good = |which: usize| world.credentials[which].as_str();
        let (status, seen) = (response.status().as_u16(), response.body());
        assert!(
            status == 200 || (400..500).contains(&status),
            "{status}: {seen:?}"
        );
        let session = self.shows(header::COOKIE, good(SESSION_COOKIE));
        let visitor = self.shows(header::COOKIE, good(VISITOR_COOKIE));
        let token = self.shows(header::COOKIE, good(ACCESS_TOKEN))
            || self.shows(header::AUTHORIZATION, good(ACCESS_TOKEN));
        assert!(session || seen.user.is_none(), "a forged session");
        assert!(token || seen.token_of.is_none(), "a forged token");
        // A stored secret of a visitor is asked for under an authentic cookie alone.
        assert!(
            session || token || visitor && strict || trips == 0,
            "{trips} trips"
        );
        assert!(
            !seen.called || self.may_pass(good, session, visitor, strict),
            "another site's"
        );
        assert_eq!(seen.called, seen.client.is_some(), "the peer is known");
        if let Some(body) = &seen.body {
            assert_eq!(body, self.body);
        }
    }

    /// The rules of `csrf`, in the loosest reading.
    fn may_pass<'w>(
        &self,
        good: impl Fn(usize) -> &'w str,
        session: bool,
        visitor: bool,
        strict: bool,
    ) -> bool {
        let once = |name: &str| match *self.all(name) {
            [value] => Some(value),
            _ => None,
        };
        let has = |name: &str| self.headers.contains_key(name);
        let overrides = [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ];
        let safe = matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let websocket = once("upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
        if safe && !websocket && !overrides.into_iter().any(has) {
            return true;
        }
        let bearer = once("authorization").is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.starts_with(b"bearer") || value.starts_with(b"dpop")
        });
        if bearer && !has("cookie") {
            return true;
        }
        if has("sec-fetch-site") {
            return matches!(once("sec-fetch-site"), Some(b"same-origin" | b"none"));
        }
        if let Some(origin) = once("origin") {
            let origin = String::from_utf8_lossy(origin).to_ascii_lowercase();
            let host = once("host")
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            let hosts = match strict {
                true => vec![HOST.to_owned()],
                false => vec![
                    host.into_owned(),
                    self.authority.clone().unwrap_or_default(),
                ],
            };
            let name = |host: &String| match host.rsplit_once(':') {
                Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    name.to_ascii_lowercase()
                }
                _ => host.to_ascii_lowercase(),
            };
            let is_at = |host: &String| !host.is_empty() && origin.contains(&name(host));
            return hosts.iter().any(is_at);
        }
        if has("origin") {
            return false;
        }
        if !has("cookie") && !has("authorization") {
            return true;
        }
        let shown = |which: usize| {
            self.shows("x-csrf-token", good(which)) || carries(self.body, good(which))
        };
        session && shown(CSRF_TOKEN) || visitor && shown(VISITOR_TOKEN)
    }
}
