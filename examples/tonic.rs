//! JWTs, scopes and revocation in front of a gRPC service: `cargo run --example tonic`, then the lines that it prints.
//!
//! The service is gRPC's own health service, so nothing has to be generated. Beside it, `Auth` (`auth/auth.proto`) hands
//! out pairs of tokens and the next pair, lists devices and ends them. On the same port `POST /logout` revokes the token
//! that it is called with, over plain HTTP: one stack guards all of them.
//!
//! | variable | default |
//! |---|---|
//! | `BIND` | `127.0.0.1:50051` |
//! | `REDIS_URL` | none: revocations in the memory of the process |
//! | `PORTCULLIS_SECRET` | none: tokens are signed with new keys, for this process alone |

#[path = "auth/mod.rs"]
mod auth;

use std::{
    env,
    error::Error,
    io::{self, IsTerminal},
    net::SocketAddr,
    time::Duration,
};

use auth::Auth;
use axum::{extract::State, http::StatusCode, routing::post};
use portcullis::{
    Clock, ConfigError, KeyRing, Rejection, Store,
    blacklist::{Blacklist, BlacklistLayer},
    frameworks::tonic::RequestExt,
    jwt::{
        Grant, Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, RequireScopeLayer, SigningKey,
        VerifiedToken,
    },
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{
    pb::{
        HealthCheckRequest, HealthCheckResponse,
        health_server::{Health, HealthServer},
    },
    server::{HealthReporter, HealthService},
};
use tower::Layer;
use tracing_subscriber::EnvFilter;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "api";
const SCOPE: &str = "health:read";
const LIFETIME: Duration = Duration::from_secs(60 * 60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    log();
    let store = store().await?;
    let key = key()?;
    let verify = JwtVerifyLayer::<NoClaims>::new(key.verification_key())
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .build()?;
    let issuer = Issuer::new(key, ISSUER)
        .audience(AUDIENCE)
        .lifetime(LIFETIME)
        .build()?;

    // Only the health service wants the scope; around it the layer keeps the service's name, and so its place.
    let checks = HealthServer::new(Checks::new());
    let checks = RequireScopeLayer::new(SCOPE)?.layer(checks);
    let auth = Auth::new(&store, &keys()?, &issuer, SCOPE)?;
    let routes = Routes::new(checks)
        .into_axum_router()
        .route("/logout", post(logout).with_state(Blacklist::new(&store)))
        .merge(auth.guarded())
        .layer(BlacklistLayer::new(&store)) // is the token revoked?
        .layer(verify) // the last is the outermost: whose token is it?
        // Clients send their token with every call; to this service they may send one that is no longer good.
        .merge(auth.open());

    let bind = env::var("BIND");
    let listener = TcpListener::bind(bind.as_deref().unwrap_or("127.0.0.1:50051")).await?;
    announce(listener.local_addr()?, &Tokens::mint(&issuer)?);
    Server::builder()
        .accept_http1(true) // for curl and `/logout`; gRPC needs no more than HTTP/2
        .add_routes(routes.into())
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), asked_to_end())
        .await?;
    Ok(())
}

/// The health service, which tells a caller who it is: any method can ask its request whose token it came with.
struct Checks(HealthService);

impl Checks {
    fn new() -> Self {
        Self(HealthService::from_health_reporter(HealthReporter::new()))
    }
}

#[tonic::async_trait]
impl Health for Checks {
    type WatchStream = <HealthService as Health>::WatchStream;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let token = request.verified_token()?;
        let mut response = self.0.check(request).await?;
        if let Some(Ok(user)) = token.user().map(str::parse) {
            response.metadata_mut().insert("caller", user);
        }
        Ok(response)
    }

    /// A call is judged when it begins: a stream that is open stays open when its token is revoked.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.0.watch(request).await
    }
}

/// When `revoke` has returned, no instance takes the token any more.
async fn logout(
    State(blacklist): State<Blacklist>,
    token: VerifiedToken,
) -> Result<StatusCode, Rejection> {
    blacklist.revoke(&token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Instances with the same secret take each other's tokens. A real service verifies those of its identity provider, with
/// public keys: `KeySet::from_jwks`.
fn key() -> Result<SigningKey, ConfigError> {
    match env::var("PORTCULLIS_SECRET") {
        Ok(secret) => SigningKey::secret(JwtAlgorithm::Hs256, secret),
        Err(_) => {
            eprintln!("PORTCULLIS_SECRET is not set: a random key signs the tokens");
            SigningKey::generate(JwtAlgorithm::EdDsa)
        }
    }
}

/// Signs the refresh tokens. Instances with the same secret take each other's.
fn keys() -> Result<KeyRing, ConfigError> {
    match env::var_os("PORTCULLIS_SECRET") {
        Some(_) => KeyRing::from_env("PORTCULLIS_SECRET"),
        None => KeyRing::insecure_development(),
    }
}

/// Redis at `REDIS_URL`, or the memory of this process.
async fn store() -> Result<Store, Box<dyn Error>> {
    let store = match env::var("REDIS_URL") {
        // Lazily, so that the service starts while Redis is away; until it is there, calls are answered UNAVAILABLE.
        Ok(url) => Store::connect_lazy(&url)?,
        Err(_) => Store::memory(),
    };
    match store.check().await {
        Ok(findings) => findings.iter().for_each(|finding| eprintln!("{finding}")),
        Err(error) => eprintln!("{error}; calls with a token get UNAVAILABLE until it is"),
    }
    Ok(store)
}

/// Something to try the service with.
struct Tokens {
    alice: String,
    jti: String,
    no_scope: String,
    expired: String,
}

impl Tokens {
    fn mint(issuer: &Issuer) -> Result<Self, Box<dyn Error>> {
        let alice = issuer.mint(&Grant::user("alice").scope(SCOPE))?;
        let no_scope = issuer.mint(&Grant::user("alice"))?;
        let yesterday = Clock::system().now_millis() - 24 * 60 * 60 * 1000;
        let expired = issuer.mint_at(&Grant::user("alice").scope(SCOPE), yesterday)?;
        Ok(Self {
            alice: alice.token().to_owned(),
            jti: alice.jti().to_owned(),
            no_scope: no_scope.token().to_owned(),
            expired: expired.token().to_owned(),
        })
    }
}

/// Prints where the service is and the lines that try everything: a shell script.
#[allow(clippy::print_stdout)]
fn announce(address: SocketAddr, tokens: &Tokens) {
    let Tokens {
        alice,
        jti,
        no_scope,
        expired,
    } = tokens;
    let method = "grpc.health.v1.Health/Check";
    println!("listening on http://{address}");
    println!(
        r##"
# Three access tokens of alice, good for an hour: with the scope {SCOPE}, without it, and one of yesterday.
ALICE={alice}
NO_SCOPE={no_scope}
EXPIRED={expired}

# gRPC by hand: an empty message is five zero bytes, and the end of the answer says grpc-status 0, 7, 16 and 16. A call
# can be refused before its message has arrived, which older curls take for an error: hence the retries.
check() {{ printf '\0\0\0\0\0' | curl -si --http2-prior-knowledge --retry 3 --retry-all-errors --data-binary @- -o - \
  -H 'content-type: application/grpc' -H 'te: trailers' "$@" http://{address}/{method} | tr -d '\0'; }}
check -H "authorization: Bearer $ALICE"
check -H "authorization: Bearer $NO_SCOPE"
check -H "authorization: Bearer $EXPIRED"
check

# The same with grpcurl, which wants to be told what the service looks like:
cat > health.proto <<'END'
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest {{ string service = 1; }}
message HealthCheckResponse {{ int32 status = 1; }}
service Health {{ rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }}
END
grpcurl -plaintext -proto health.proto -H "authorization: Bearer $ALICE" {address} {method}

# And with Python (pip install grpcio-health-checking):
python3 - "$ALICE" <<'END'
import grpc, sys
from grpc_health.v1 import health_pb2, health_pb2_grpc
health = health_pb2_grpc.HealthStub(grpc.insecure_channel("{address}"))
print(health.Check(health_pb2.HealthCheckRequest(), metadata=[("authorization", "Bearer " + sys.argv[1])]))
END

# A pair of tokens for a password, the next pair, and the devices of the user. Start it in the directory of the sources.
auth() {{ method=$1; shift; grpcurl -plaintext -proto examples/auth/auth.proto "$@" {address} portcullis.example.Auth/$method; }}
token() {{ sed -nE "s/.*\"$1\": \"([^\"]*)\".*/\1/p" pair; }}
auth Login -d '{{"username":"alice","password":"wonderland"}}' > pair
auth Refresh -d "{{\"refresh_token\":\"$(token refreshToken)\"}}" > pair
auth ListDevices -H "authorization: Bearer $(token accessToken)"
auth LogoutOthers -H "authorization: Bearer $(token accessToken)"

# Logs out: from now on the token is refused, by every instance on the same Redis. Either line will do, the second one
# needs REDIS_URL.
curl -si -X POST -H "authorization: Bearer $ALICE" http://{address}/logout
redis-cli SETEX jwt:blacklist:{jti} 60 revoked
check -H "authorization: Bearer $ALICE"

# A second instance that takes the same tokens and revocations:
#   BIND=127.0.0.1:50052 REDIS_URL=redis://127.0.0.1 PORTCULLIS_SECRET=... cargo run --example tonic"##
    );
}

/// Events of the crate on stderr; `RUST_LOG` chooses which.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "portcullis=info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Ctrl-C, or the signal by which an orchestrator asks a service to end.
async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    // Without a handler for Ctrl-C the system ends the process; there is nothing to wait for then.
    let _ = tokio::signal::ctrl_c().await;
}
