//! The least that a signed-in request can cost without asking anybody: what the full stack with sessions kept in the process
//! has to compute, by hand in one function. A cookie whose tag is checked, a session under the hash of its id, a verified
//! token under its hash, a list of ended logins, `Sec-Fetch-Site`; no layers, no handle, no leases, no bounds.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand;
use axum::{Router, extract::State, routing::post};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::serve::{CLIENTS, OK, Row, SAME_ORIGIN, bearer, cookie};

type Hash = [u8; 32];

/// Values, and when each ends.
type Known<T> = RwLock<HashMap<Hash, (Arc<T>, u64)>>;

struct Local {
    key: Hmac<Sha256>,
    /// The text of a field.
    sessions: Known<[u8]>,
    /// The login of a token.
    tokens: Known<str>,
    ended: RwLock<HashSet<String>>,
}

/// The count in the session, if everything is as it should be.
fn look(local: &Local, headers: &HeaderMap) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let cookie = headers.get(header::COOKIE)?.to_str().ok()?;
    let value = cookie
        .split("; ")
        .find_map(|pair| pair.strip_prefix("id="))?;
    let (id, tag) = value.split_once('.')?;
    let mut bytes = [0; 48];
    BASE64.decode_slice(tag, &mut bytes).ok()?;
    let mac = local.key.clone().chain_update(id);
    mac.verify_slice(&bytes[..32]).ok()?;
    let name: Hash = Sha256::digest(id).into();
    let session = {
        let sessions = local
            .sessions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let (session, ends) = sessions.get(&name)?;
        (*ends > now).then(|| Arc::clone(session))?
    };
    let token = headers.get(header::AUTHORIZATION)?.as_bytes();
    let token: Hash = Sha256::digest(token.strip_prefix(b"Bearer ")?).into();
    let login = {
        let tokens = local.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let (login, ends) = tokens.get(&token)?;
        (*ends > now).then(|| Arc::clone(login))?
    };
    let ended = local.ended.read().unwrap_or_else(PoisonError::into_inner);
    let same = headers.get("sec-fetch-site")? == "same-origin";
    (same && !ended.contains(&*login)).then(|| serde_json::from_slice(&session).ok())?
}

async fn read(
    State(local): State<Arc<Local>>,
    headers: HeaderMap,
) -> Result<([(header::HeaderName, HeaderValue); 1], &'static str), StatusCode> {
    look(&local, &headers).ok_or(StatusCode::UNAUTHORIZED)?;
    let vary = HeaderValue::from_static("Sec-Fetch-Site, Origin, cookie");
    Ok(([(header::VARY, vary)], OK))
}

pub fn row(tokens: &[String], ended: usize) -> Row {
    let local = Local {
        key: Hmac::new_from_slice(b"a secret of at least thirty-two bytes").expect("a key"),
        sessions: RwLock::default(),
        tokens: RwLock::default(),
        ended: RwLock::new(
            (0..ended)
                .map(|login| format!("5f0c1d9a-7c1e-4b1e-9d52-{login:012}"))
                .collect(),
        ),
    };
    let mut headers = Vec::new();
    for (user, token) in tokens.iter().enumerate().take(CLIENTS) {
        let mut id = [0; 33];
        rand::fill(&mut id).expect("randomness");
        let id = BASE64.encode(id);
        let tag = local.key.clone().chain_update(&id).finalize().into_bytes();
        let name = Sha256::digest(&id).into();
        local
            .sessions
            .write()
            .expect("whole")
            .insert(name, (Arc::from(&b"1"[..]), u64::MAX));
        let text = token
            .trim_start_matches("authorization: Bearer ")
            .trim_end();
        let login = Arc::from(format!("login-{user}"));
        local
            .tokens
            .write()
            .expect("whole")
            .insert(Sha256::digest(text).into(), (login, u64::MAX));
        let cookie = cookie(&format!("id={id}.{}", BASE64.encode(tag)));
        headers.push(format!("{cookie}{}{SAME_ORIGIN}", bearer(text)));
    }
    Row {
        app: Router::new()
            .route("/", post(read))
            .with_state(Arc::new(local)),
        method: "POST",
        headers,
    }
}
