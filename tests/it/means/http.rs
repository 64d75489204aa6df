//! A browser as far as these tests need one: requests one at a time, and a cookie jar.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wait;

/// One visitor: its cookies go with every request, whatever the host. Use one `Client` per person.
pub struct Client {
    hyper: legacy::Client<HttpConnector, Full<Bytes>>,
    jar: Mutex<BTreeMap<String, String>>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    pub fn new() -> Self {
        Self {
            hyper: legacy::Client::builder(TokioExecutor::new()).build_http(),
            jar: Mutex::default(),
        }
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.request(Method::GET, url, &[], Bytes::new()).await
    }

    pub async fn get_with(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.request(Method::GET, url, headers, Bytes::new()).await
    }

    /// Without a body.
    pub async fn post(&self, url: &str) -> Answer {
        self.request(Method::POST, url, &[], Bytes::new()).await
    }

    pub async fn post_json(&self, url: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request(Method::POST, url, &headers, body.to_string().into())
            .await
    }

    pub async fn post_form(&self, url: &str, fields: &[(&str, &str)]) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.request(Method::POST, url, &headers, form(fields).into())
            .await
    }

    /// Anything else. A `cookie` among the headers replaces the jar for this request.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(url);
        let own_cookies = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookies) = self.cookie_header().filter(|_| !own_cookies) {
            request = request.header(header::COOKIE, cookies);
        }
        let request = request.body(Full::new(body)).expect("a valid request");
        let answer = wait::within(url, self.send(request)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error:?}"));
        self.keep_cookies(&answer.headers);
        answer
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let (head, body) = self.hyper.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// The value of a cookie in the jar.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.jar.lock().unwrap().get(name).cloned()
    }

    /// All cookies in the jar.
    pub fn cookies(&self) -> BTreeMap<String, String> {
        self.jar.lock().unwrap().clone()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.jar
            .lock()
            .unwrap()
            .insert(name.to_owned(), value.to_owned());
    }

    /// Another client that starts with the same cookies: a second tab, or a thief.
    pub fn clone_cookies(&self) -> Self {
        let copy = Self::new();
        *copy.jar.lock().unwrap() = self.cookies();
        copy
    }

    pub fn clear_cookies(&self) {
        self.jar.lock().unwrap().clear();
    }

    fn cookie_header(&self) -> Option<String> {
        let jar = self.jar.lock().unwrap();
        let pairs: Vec<_> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn keep_cookies(&self, headers: &HeaderMap) {
        let mut jar = self.jar.lock().unwrap();
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().expect("a Set-Cookie in ASCII");
            let pair = line.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if is_removal(line) {
                jar.remove(name.trim());
            } else {
                jar.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; the test fails if it is none.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// One header as text, empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// All `Set-Cookie` lines.
    pub fn set_cookies(&self) -> Vec<&str> {
        let lines = self.headers.get_all(header::SET_COOKIE).iter();
        lines.map(|line| line.to_str().expect("ASCII")).collect()
    }
}

/// Fields as a browser sends them.
pub fn form(fields: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}={}", escape(name), escape(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
            char::from(byte).to_string()
        }
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// `Max-Age` decides where it is given, else `Expires`, as RFC 6265 §5.3 has it.
fn is_removal(set_cookie: &str) -> bool {
    let attribute = |wanted: &str| {
        set_cookie.split(';').skip(1).find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case(wanted)
                .then(|| value.trim().to_owned())
        })
    };
    if let Some(age) = attribute("max-age") {
        return age.parse::<i64>().is_ok_and(|seconds| seconds <= 0);
    }
    attribute("expires").is_some_and(|date| is_past(&date))
}

/// For dates as in `Wed, 21 Oct 2015 07:28:00 GMT`; anything else is a mistake of the server under test.
fn is_past(date: &str) -> bool {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let [_, day, month, year, time, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else {
        panic!("not a date of a cookie: {date}");
    };
    let number = |text: &str| {
        text.parse::<i64>()
            .unwrap_or_else(|_| panic!("not a number in {date}"))
    };
    let month = MONTHS.find(month).expect("a month") as i64 / 3 + 1;
    let clock: i64 = time
        .split(':')
        .fold(0, |seconds, part| seconds * 60 + number(part));
    let expires = days_since_epoch(number(year), month, number(day)) * 86_400 + clock;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    expires <= now.as_secs() as i64
}

/// Counted in years that begin in March, so that the leap day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_are_told_from_cookies() {
        let removals = [
            "a=; Max-Age=0",
            "a=b; path=/; max-age=-1",
            "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        ];
        assert!(removals.iter().all(|line| is_removal(line)));
        let kept = [
            "a=b",
            "a=; Path=/",
            "a=b; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "a=b; Expires=Fri, 29 Feb 2996 00:00:00 GMT",
        ];
        assert!(!kept.iter().any(|line| is_removal(line)));
        assert_eq!(days_since_epoch(1970, 1, 1), 0);
        assert_eq!(days_since_epoch(2024, 2, 29), 19_782);
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(form(&[("a", "x y"), ("ü", "&=")]), "a=x+y&%C3%BC=%26%3D");
    }
}
