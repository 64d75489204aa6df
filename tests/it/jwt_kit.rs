//! Tokens made by hand: nothing here uses the crate under test to make one, nor the library that it verifies with.
//!
//! HMACs come from `hmac` and `sha2`, EC and Ed25519 keys and signatures from `ring` (through rcgen). Only RSA, which ring
//! cannot generate, comes from aws-lc; RFC 7515's own RS256 token stands beside it.

use std::{sync::OnceLock, time::Duration};

use aws_lc_rs::{encoding::AsDer, rand::SystemRandom, rsa::KeySize, signature as aws};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response, StatusCode};
use portcullis::{
    Clock, Rejection,
    jwt::{
        Claims, JwtAlgorithm, JwtError, JwtErrorKind, JwtKey, JwtVerifyBuilder, JwtVerifyLayer,
        NoClaims, VerifiedToken,
    },
};
use rcgen::{KeyPair, PublicKeyData, SigningKey as _};
use tower::{Layer, ServiceExt as _, service_fn};

pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const NOW_MS: u64 = NOW_S * 1000;
pub(crate) const ISS: &str = "https://id.example";
pub(crate) const AUD: &str = "api";
pub(crate) const SECRET: [u8; 64] = [0x5a; 64];

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The claims of a good token, as the inside of a JSON object; `more` is appended.
pub(crate) fn claims(more: &str) -> String {
    format!(
        r#"{{"iss":"{ISS}","sub":"alice","aud":"{AUD}","exp":{}{more}}}"#,
        NOW_S + 60
    )
}

/// The claims of a good token without one of its members, or with another value for it.
pub(crate) fn claims_with(name: &str, value: Option<&str>) -> String {
    let mut members = vec![
        ("iss", format!("{ISS:?}")),
        ("sub", r#""alice""#.to_owned()),
        ("aud", format!("{AUD:?}")),
        ("exp", (NOW_S + 60).to_string()),
    ];
    members.retain(|(other, _)| *other != name);
    members.extend(value.map(|value| (name, value.to_owned())));
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// How tokens are signed in these tests.
pub(crate) enum Signer {
    Hmac(&'static str, Vec<u8>),
    Ring(&'static str, Box<KeyPair>),
    Rsa(&'static str, aws::RsaKeyPair),
}

impl Signer {
    pub(crate) fn hs256() -> Self {
        Self::Hmac("HS256", SECRET[..32].to_vec())
    }

    pub(crate) fn es256() -> Self {
        Self::Ring(
            "ES256",
            Box::new(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()),
        )
    }

    pub(crate) fn es384() -> Self {
        Self::Ring(
            "ES384",
            Box::new(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()),
        )
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ring(
            "EdDSA",
            Box::new(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()),
        )
    }

    /// The same key for all tests: RSA keys are slow to find.
    pub(crate) fn rsa(alg: &'static str) -> Self {
        Self::Rsa(alg, aws::RsaKeyPair::from_pkcs8(rsa_pkcs8()).unwrap())
    }

    /// One of each kind.
    pub(crate) fn all() -> Vec<Self> {
        let hmac = |alg, len: usize| Self::Hmac(alg, SECRET[..len].to_vec());
        let mut all = vec![hmac("HS256", 32), hmac("HS384", 48), hmac("HS512", 64)];
        all.extend([Self::es256(), Self::es384(), Self::ed25519()]);
        all.extend(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(Self::rsa));
        all
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self {
            Self::Hmac(alg, _) | Self::Ring(alg, _) | Self::Rsa(alg, _) => alg,
        }
    }

    pub(crate) fn algorithm(&self) -> JwtAlgorithm {
        algorithm(self.alg())
    }

    pub(crate) fn header(&self, more: &str) -> String {
        format!(r#"{{"alg":"{}","typ":"at+jwt"{more}}}"#, self.alg())
    }

    /// A token of exactly these texts.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(claims));
        let signature = b64(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A token with these claims that is right otherwise.
    pub(crate) fn with(&self, claims: &str) -> String {
        self.token(&self.header(""), claims)
    }

    /// A token with this header that is right otherwise.
    pub(crate) fn under(&self, header: &str) -> String {
        self.token(header, &claims(""))
    }

    pub(crate) fn good(&self) -> String {
        self.with(&claims(""))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Hmac(alg, secret) => hmac(alg, secret, message),
            Self::Ring("EdDSA", pair) => pair.sign(message).unwrap(),
            Self::Ring(alg, pair) => fixed(
                &pair.sign(message).unwrap(),
                if *alg == "ES256" { 32 } else { 48 },
            ),
            Self::Rsa(alg, pair) => rsa_sign(alg, pair, message),
        }
    }

    /// ECDSA as X.509 has it, which is not how JOSE has it.
    pub(crate) fn der_signature(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ring(_, pair) => pair.sign(message).unwrap(),
            _ => panic!("no ECDSA key"),
        }
    }

    pub(crate) fn public_pem(&self) -> String {
        match self {
            Self::Ring(_, pair) => pair.public_key_pem(),
            Self::Rsa(..) => pem("PUBLIC KEY", &self.public_der()),
            Self::Hmac(..) => panic!("a secret has no public key"),
        }
    }

    pub(crate) fn public_der(&self) -> Vec<u8> {
        match self {
            Self::Ring(_, pair) => pair.subject_public_key_info(),
            Self::Rsa(_, pair) => {
                use aws::KeyPair as _;
                AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key())
                    .unwrap()
                    .as_ref()
                    .to_vec()
            }
            Self::Hmac(..) => panic!("a secret has no public key"),
        }
    }

    pub(crate) fn jwk(&self, more: &str) -> String {
        let der = || self.public_der();
        let point = |len: usize| {
            let der = der();
            let (x, y) = der[der.len() - 2 * len..].split_at(len);
            (b64(x), b64(y))
        };
        match self {
            Self::Hmac(alg, secret) => format!(
                r#"{{"kty":"oct","alg":"{alg}","k":"{}"{more}}}"#,
                b64(secret)
            ),
            Self::Ring("ES256", _) => {
                let (x, y) = point(32);
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"{more}}}"#)
            }
            Self::Ring("ES384", _) => {
                let (x, y) = point(48);
                format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{y}"{more}}}"#)
            }
            Self::Ring(..) => {
                format!(
                    r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"{more}}}"#,
                    b64(&der()[der().len() - 32..])
                )
            }
            Self::Rsa(alg, pair) => {
                use aws::KeyPair as _;
                let public: aws::RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
                format!(
                    r#"{{"kty":"RSA","alg":"{alg}","n":"{}","e":"{}"{more}}}"#,
                    b64(public.n),
                    b64(public.e)
                )
            }
        }
    }

    pub(crate) fn key(&self) -> JwtKey {
        match self {
            Self::Hmac(_, secret) => JwtKey::secret(self.algorithm(), secret).unwrap(),
            _ => JwtKey::from_pem(self.algorithm(), self.public_pem()).unwrap(),
        }
    }
}

pub(crate) fn algorithm(name: &str) -> JwtAlgorithm {
    use JwtAlgorithm::*;
    [
        Hs256, Hs384, Hs512, Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, Es256, Es384, EdDsa,
    ]
    .into_iter()
    .find(|algorithm| algorithm.name() == name)
    .unwrap()
}

pub(crate) fn hmac(alg: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    macro_rules! mac {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(secret).unwrap();
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    match alg {
        "HS256" => mac!(sha2::Sha256),
        "HS384" => mac!(sha2::Sha384),
        _ => mac!(sha2::Sha512),
    }
}

fn rsa_sign(alg: &str, pair: &aws::RsaKeyPair, message: &[u8]) -> Vec<u8> {
    let padding: &'static dyn aws::RsaEncoding = match alg {
        "RS256" => &aws::RSA_PKCS1_SHA256,
        "RS384" => &aws::RSA_PKCS1_SHA384,
        "RS512" => &aws::RSA_PKCS1_SHA512,
        "PS256" => &aws::RSA_PSS_SHA256,
        "PS384" => &aws::RSA_PSS_SHA384,
        _ => &aws::RSA_PSS_SHA512,
    };
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature)
        .unwrap();
    signature
}

pub(crate) fn rsa_pkcs8() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = aws::RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair)
            .unwrap()
            .as_ref()
            .to_vec()
    })
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::engine::general_purpose::STANDARD;
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

/// r and s with leading zeros and without the DER around them.
fn fixed(der: &[u8], len: usize) -> Vec<u8> {
    let body = if der[1] & 0x80 == 0 {
        &der[2..]
    } else {
        &der[3..]
    };
    let r_len = usize::from(body[1]);
    let (r, s) = (&body[2..2 + r_len], &body[4 + r_len..]);
    let mut out = Vec::new();
    for number in [r, s] {
        let digits = number
            .iter()
            .position(|byte| *byte != 0)
            .map_or(&[][..], |at| &number[at..]);
        out.extend(std::iter::repeat_n(0, len - digits.len()));
        out.extend(digits);
    }
    out
}

/// A layer with the kit's issuer and audience and these keys, at the kit's time, without leeway.
pub(crate) fn rules(keys: impl Into<portcullis::jwt::KeySetHandle>) -> JwtVerifyBuilder<NoClaims> {
    JwtVerifyLayer::<NoClaims>::new(keys)
        .issuer(ISS)
        .audience(AUD)
        .leeway(Duration::ZERO)
        .clock(Clock::settable(NOW_MS))
}

pub(crate) fn layer(keys: impl Into<portcullis::jwt::KeySetHandle>) -> JwtVerifyLayer<NoClaims> {
    rules(keys).build().unwrap()
}

/// What came back, and what the inner service saw.
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) cause: Option<JwtErrorKind>,
    pub(crate) token: Option<VerifiedToken>,
    pub(crate) called: bool,
}

/// Sends a request through the layers to a service that answers with what it finds.
pub(crate) async fn send<L>(layer: &L, request: http::request::Builder) -> Outcome
where
    L: Layer<Probe>,
    L::Service:
        tower::Service<Request<()>, Response = Response<String>, Error = std::convert::Infallible>,
{
    let service = layer.layer(probe());
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let source = head
        .extensions
        .get::<Rejection>()
        .and_then(std::error::Error::source);
    Outcome {
        status: head.status,
        headers: head.headers.clone(),
        body,
        cause: source
            .and_then(|source| source.downcast_ref::<JwtError>())
            .map(JwtError::kind),
        token: head.extensions.get::<VerifiedToken>().cloned(),
        called: head.extensions.get::<Called>().is_some(),
    }
}

#[derive(Clone)]
struct Called;

pub(crate) type Probe = tower::util::ServiceFn<
    fn(Request<()>) -> std::future::Ready<Result<Response<String>, std::convert::Infallible>>,
>;

#[allow(clippy::needless_pass_by_value, reason = "a service takes its request")]
fn probe() -> Probe {
    fn answer(
        request: Request<()>,
    ) -> std::future::Ready<Result<Response<String>, std::convert::Infallible>> {
        let mut response = Response::new("inside".to_owned());
        let found = request.extensions();
        assert_eq!(
            found.get::<VerifiedToken>().is_some(),
            Claims::<NoClaims>::of(found).is_some()
        );
        if let Some(token) = found.get::<VerifiedToken>() {
            response.extensions_mut().insert(token.clone());
        }
        response.extensions_mut().insert(Called);
        std::future::ready(Ok(response))
    }
    service_fn(answer)
}

pub(crate) fn bearer(token: &str) -> http::request::Builder {
    Request::builder().header("authorization", format!("Bearer {token}"))
}

/// Refused on the road: 401 `invalid_token`, nothing said about why, the inner service not called; and why, inside.
#[track_caller]
pub(crate) fn refused(layer: &JwtVerifyLayer<NoClaims>, token: &str, why: JwtErrorKind) {
    let error = layer
        .verify_at(token.as_bytes(), NOW_MS)
        .map(|_| ())
        .expect_err(token);
    assert_eq!(error.kind(), why, "{token}");
    // A header cannot carry every token that a function can be given.
    if http::HeaderValue::try_from(format!("Bearer {token}")).is_err()
        || token.trim() != token
        || token.is_empty()
    {
        return;
    }
    let outcome = now(send(layer, bearer(token)));
    assert_eq!(
        (outcome.status, outcome.called),
        (StatusCode::UNAUTHORIZED, false),
        "{token}"
    );
    assert_eq!(outcome.cause, Some(why), "{token}");
    let challenge = outcome.headers["www-authenticate"].to_str().unwrap();
    assert_eq!(
        challenge,
        r#"Bearer realm="api", error="invalid_token", error_description="the access token is expired, revoked or invalid""#
    );
    assert!(
        (token.len() < 20 || !outcome.body.contains(token)) && !outcome.body.contains("jwt"),
        "{}",
        outcome.body
    );
}

#[track_caller]
pub(crate) fn accepted(layer: &JwtVerifyLayer<NoClaims>, token: &str) -> VerifiedToken {
    if let Err(error) = layer.verify_at(token.as_bytes(), NOW_MS) {
        panic!("{error}: {token}");
    }
    let outcome = now(send(layer, bearer(token)));
    assert_eq!(
        (outcome.status, outcome.called),
        (StatusCode::OK, true),
        "{token}"
    );
    outcome.token.expect("a verified token inside")
}

/// A future that needs no runtime.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("a local decision waited"),
    }
}
