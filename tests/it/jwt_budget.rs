//! What a request costs at the layer, in allocations: no more than the backend, the strings and the extensions need.

use std::{convert::Infallible, future::ready};

use http::{Request, Response};
use tower::{Layer, Service, service_fn};

use crate::{
    jwt_kit::{NOW_MS, Signer, bearer, claims, now, rules},
    means::alloc,
};

#[test]
fn a_verified_token_costs_little() {
    for signer in Signer::all() {
        let layer = rules(signer.key()).no_cache().build().unwrap();
        let claims = claims(
            r#","jti":"abcdefghijklmnopqrstuv","sid":"s","scope":"a b","iat":1799999999,"auth_ms":1799999999000"#,
        );
        let token = signer.with(&claims);
        // The text of header and claims, the signature, the strings, the two shared structs, and the backend's box, which
        // holds a copy of a public key: one part of it, or for RSA two.
        let key = match signer.alg().as_bytes()[0] {
            b'H' => 0,
            b'E' => 1,
            _ => 2,
        };
        let (count, verified) = alloc::count(|| layer.verify_at(token.as_bytes(), NOW_MS));
        assert!(verified.is_ok());
        assert_eq!(count, 6 + key, "{}", signer.alg());

        // In a request without extensions: the map, its table and one entry. What is remembered is another test's matter.
        let mut service = layer.layer(service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(String::new())))
        }));
        let request = bearer(&token).body(()).unwrap();
        let (count, response) = alloc::count(|| now(service.call(request)));
        assert_eq!(response.map(|response| response.status().as_u16()), Ok(200));
        assert_eq!(count, 9 + key, "{}", signer.alg());
    }
}
