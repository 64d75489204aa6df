use axum::{Router, body::Body, extract::State, response::Response, routing::{get, post}};
use portcullis::{
    ConfigError, KeyRing, Rejection, Store,
    endpoint::{IntrospectionEndpoint, JwksEndpoint, RefreshEndpoint, RevocationEndpoint},
    frameworks::axum::endpoint,
    jwt::{Issuer, JwtAlgorithm, JwtVerifyLayer, NoClaims, SigningKey},
    refresh::{RefreshLogin, Rotation},
};

fn tokens(store: &Store, keys: &KeyRing) -> Result<Router, ConfigError> {
    let key = SigningKey::generate(JwtAlgorithm::EdDsa)?; // for one process; several share one: SigningKey::from_pem
    let issuer = Issuer::new(key, "https://id.example").audience("api").build()?;
    let verify = JwtVerifyLayer::<NoClaims>::new(issuer.keys().verification_keys());
    let verify = verify.issuer("https://id.example").audience("api").build()?;
    let rotation = Rotation::new(store, keys, &issuer)?;

    let app = RefreshEndpoint::new(&rotation); // refresh tokens in bodies
    let page = RefreshEndpoint::in_cookie(&rotation).build()?; // and in a cookie, `__Host-refresh`
    let revocation = RevocationEndpoint::new(&rotation, &verify);
    let introspection = IntrospectionEndpoint::new(store, &verify).refresh_tokens(&rotation);
    let internal = Router::new() // around these goes your layer that knows who may ask
        .route("/revoke", post(endpoint(&revocation)))
        .route("/introspect", post(endpoint(&introspection)));
    Ok(Router::new()
        .route("/token/refresh", post(endpoint(&app)))
        .route("/token/logout", post(endpoint(&app.logout())))
        .route("/page/refresh", post(endpoint(&page)))
        .route("/page/logout", post(endpoint(&page.logout())))
        .route("/.well-known/jwks.json", get(endpoint(&JwksEndpoint::new(issuer.keys()))))
        .merge(internal)
        .route("/token", post(login).with_state((rotation.clone(), app)))
        .route("/page/login", post(login).with_state((rotation, page))))
}

async fn login(State((rotation, refresh)): State<(Rotation, RefreshEndpoint)>) -> Result<Response, Rejection> {
    // Once the password is checked.
    let pair = rotation.issue(&RefreshLogin::new("alice").scope("read")).await?;
    Ok(refresh.answer(&pair).map(Body::from))
}
