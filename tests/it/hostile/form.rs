//! Forms in pieces: a byte that says how many cuts, the cuts, a line with the content type, and the body.

use http::{Response, header};

use super::{
    forge::{carries, expand},
    means::{Pieces, block_on},
    requests::with_world,
    world::*,
};

pub const SEEDS: &[&[u8]] = &[
    b"\x00application/x-www-form-urlencoded\na=1&csrf_token=\x02&b=2",
    b"\x03\x01\x05\x40application/x-www-form-urlencoded\ncsrf_token=\x02&file=xxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"\x04\x05\x01\x01\x80multipart/form-data; boundary=XX\n--XX\r\nContent-Disposition: form-data; name=\"csrf_token\"\r\n\r\n\x02\r\n--XX--\r\n",
    b"\x00multipart/form-data; boundary=\"a b\"\npreamble\r\n--a b\r\ncontent-disposition: form-data; name=f; filename=\"x\\\"y\"\r\nContent-Type: text/plain\r\n\r\n--a \r\n--a b  \r\nContent-Disposition: form-data; name=csrf_token\r\n\r\n\x12\x10\x04\x02\r\n--a b--",
    b"\x02\x00\x00application/x-www-form-urlencoded\na=%63&%63srf_token=%4\x02&csrf_token=%zz+",
    b"\x00application/json\n{\"csrf_token\":\"\x02\"}",
    b"\x80application/x-www-form-urlencoded\ncsrf_token=\x02",
];

pub fn run(input: &[u8]) {
    let Some((flags, rest)) = input.split_first() else {
        return;
    };
    let (cuts, rest) = rest.split_at(rest.len().min(usize::from(flags & 0x1f)));
    let Some(line) = rest.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    with_world(|world| {
        let body = expand(&rest[line + 1..], &world.credentials);
        let whole = send(world, &rest[..line], Pieces::whole(&body));
        let mut pieces = Pieces::cut(&body, cuts);
        pieces.breaks = flags & 0x80 != 0;
        let breaks = pieces.breaks;
        let cut = send(world, &rest[..line], pieces);
        let (Some(whole), Some(cut)) = (whole, cut) else {
            return 0;
        };
        for response in [&whole, &cut] {
            let (status, seen) = (response.status().as_u16(), response.body());
            assert!([200, 400, 403, 413].contains(&status), "{status}");
            let token = &world.credentials[CSRF_TOKEN];
            assert!(!seen.called || carries(&body, token), "without a token");
            assert!(seen.body.as_ref().is_none_or(|seen| *seen == body));
        }
        assert!(breaks || whole.status() == cut.status(), "the cuts decide");
        world.trips()
    });
}

fn send(world: &World, content_type: &[u8], body: Pieces) -> Option<Response<Seen>> {
    let cookie = &world.credentials[SESSION_COOKIE];
    let mut request = request("POST", "/form", Some(cookie));
    let content_type = header::HeaderValue::from_bytes(content_type).ok()?;
    request
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    *request.body_mut() = body;
    Some(block_on(world.call(request)))
}
