//! Access tokens by algorithm: seen before, and verified again each time.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::jwt::{Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey};
use portcullis_benches::{
    in_process::{answer, bench, now_ms, request},
    ours::{AUDIENCE, ISSUER, rsa_key},
};
use tower::{Layer, service_fn};

fn tokens(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let mut group = criterion.benchmark_group("tokens");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
        .sample_size(20);
    let keys = [
        ("RS256", rsa_key()),
        ("ES256", generated(JwtAlgorithm::Es256)),
        ("HS256", generated(JwtAlgorithm::Hs256)),
        ("EdDSA", generated(JwtAlgorithm::EdDsa)),
    ];
    for (name, key) in keys {
        let rules = || {
            JwtVerifyLayer::<NoClaims>::new(key.verification_key())
                .issuer(ISSUER)
                .audience(AUDIENCE)
        };
        let (cached, uncached) = (rules().build(), rules().no_cache().build());
        let issuer = Issuer::new(key.clone(), ISSUER).audience(AUDIENCE).build();
        let grant = Grant::user("alice").sid("a-login").scope("orders:read");
        let minted = issuer.expect("settings").mint(&grant).expect("a token");
        let headers = [("authorization", format!("Bearer {}", minted.token()))];

        let verify = uncached.expect("settings");
        group.bench_function(format!("{name} verified"), |bencher| {
            let token = minted.token().as_bytes();
            bencher.iter(|| black_box(verify.verify_at(token, now_ms())).expect("a good token"));
        });
        let service = cached.expect("settings").layer(service_fn(answer));
        let name = format!("{name} seen before");
        bench(&mut group, &runtime, &name, service, || {
            request("GET", &headers)
        });
    }
    group.finish();
}

fn generated(algorithm: JwtAlgorithm) -> SigningKey {
    SigningKey::generate(algorithm).expect("randomness")
}

criterion_group!(benches, tokens);
criterion_main!(benches);
