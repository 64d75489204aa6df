//! What a Rust client sees.

use portcullis::jwt::Grant;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use super::{BAD_TOKEN, NO_SCOPE, NO_TOKEN, Node, SCOPE, issuer};
use crate::means::{redis::RedisServer, wait};

pub struct RustClient(HealthClient<Channel>);

pub type Outcome = Result<Response<HealthCheckResponse>, Status>;

impl RustClient {
    pub fn new(node: &Node) -> Self {
        let endpoint = Endpoint::from_shared(node.app.base_url().to_owned()).unwrap();
        Self(HealthClient::new(endpoint.connect_lazy()))
    }

    pub async fn check(&mut self, token: &str) -> Outcome {
        let mut request = Request::new(HealthCheckRequest::default());
        if !token.is_empty() {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        wait::within("an answer to a Rust client", self.0.check(request)).await
    }
}

/// The code and the message of a refused call.
pub fn refusal(outcome: Outcome) -> (Code, String) {
    let status = outcome.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// Fails if: refusals are HTTP statuses; the message is not percent-encoded; the challenge stays behind.
#[tokio::test]
async fn a_rust_client_gets_the_status_of_each_refusal() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let mut client = RustClient::new(&node);

    let response = client.check(&node.token("ALICE")).await.unwrap();
    assert_eq!(response.metadata().get("caller").unwrap(), "alice");
    let none = client.check("").await.unwrap_err();
    assert_eq!(
        (none.code(), none.message()),
        (Code::Unauthenticated, NO_TOKEN.1)
    );
    assert_eq!(
        none.metadata().get("www-authenticate").unwrap(),
        r#"Bearer realm="api""#
    );
    let expired = refusal(client.check(&node.token("EXPIRED")).await);
    assert_eq!(expired, (Code::Unauthenticated, BAD_TOKEN.1.to_owned()));
    let scope = refusal(client.check(&node.token("NO_SCOPE")).await);
    assert_eq!(scope, (Code::PermissionDenied, NO_SCOPE.1.to_owned()));

    let token = issuer().mint(&Grant::user("alice").scope(SCOPE)).unwrap();
    assert!(client.check(token.token()).await.is_ok());
    assert_eq!(node.logout(token.token()).await, 204);
    let revoked = refusal(client.check(token.token()).await);
    assert_eq!(revoked, expired, "says nothing of the list");
    assert_eq!(node.logout(token.token()).await, 401, "and HTTP gets HTTP");
}

/// A call is refused by its head, often before its message has arrived: that must not look like a broken connection.
///
/// Fails if: a refusal resets its stream with an error, or comes without the end of the stream.
#[tokio::test]
async fn refusals_that_overtake_the_message_are_still_statuses() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis).await;
    let token = node.token("EXPIRED");
    let client = RustClient::new(&node).0;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, token) = (RustClient(client.clone()), token.clone());
            tokio::spawn(async move {
                for _ in 0..100 {
                    let refused = refusal(client.check(&token).await);
                    assert_eq!(refused, (Code::Unauthenticated, BAD_TOKEN.1.to_owned()));
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}
