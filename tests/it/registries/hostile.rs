//! Texts that somebody chose with care, in every field: kept as they are, or refused; never cut, changed or obeyed.

use std::sync::Arc;

use portcullis::registry::{CutoffScope, NewSession, Registry, RegistryErrorKind, Rotated, Which};

use super::{HOUR, active, created, new, on_all, sids, sorted};

type Any = Arc<dyn Registry>;

on_all! {
    texts_are_kept_as_they_are
    texts_that_cannot_be_kept_are_refused
    numbers_out_of_range_are_refused_or_bounded
}

fn kept() -> Vec<String> {
    let texts = [
        "'; DROP TABLE portcullis_sessions; --",
        "\"quoted\" \\' \\\\ $1 ?1 {now} :name @x %s",
        "line\r\nbreak\ttab \u{1} \u{7f}",
        "Zoë 名前 🔑 \u{202e}rtl e\u{301} é \u{feff}",
        " trailing ",
        "NULL",
        "0",
        "%_",
        "x'00'",
    ];
    let mut texts: Vec<_> = texts.map(str::to_owned).into();
    texts.push("ü".repeat(512));
    // Does not compress: an index of PostgreSQL has to take it as it is.
    let scattered = |at: u32| char::from(b'!' + (at.wrapping_mul(2_654_435_761) >> 25) as u8 % 94);
    texts.push((0..1024).map(scattered).collect());
    texts
}

async fn texts_are_kept_as_they_are(registry: Any) {
    created(&*registry, &new("bystander", "bystander")).await;
    let texts = kept();
    for text in &texts {
        let session = NewSession {
            sid: text.clone(),
            tenant: text.clone(),
            user: text.clone(),
            token: text.clone(),
            data: text.clone(),
            ..new("", "")
        };
        created(&*registry, &session).await;
        let it = registry.find(text).await.unwrap().unwrap().session;
        assert_eq!(
            [&it.sid, &it.tenant, &it.user, &it.token, &it.data],
            [text; 5]
        );
    }
    for text in &texts {
        assert_eq!(sids(&*registry, text, text).await, [text.as_str()]);
        let next = Rotated {
            token: format!("{text}!").chars().take(500).collect(),
            data: text.clone(),
            lifetime_ms: HOUR,
        };
        assert!(registry.rotate(text, text, &next).await.unwrap());
        let which = Which::Others {
            tenant: text.clone(),
            user: text.clone(),
            keep: text.clone(),
        };
        assert!(registry.revoke(&which, text).await.unwrap().is_empty());
        let which = Which::One {
            tenant: text.clone(),
            user: text.clone(),
            sid: text.clone(),
        };
        assert_eq!(
            registry.revoke(&which, text).await.unwrap(),
            [text.as_str()]
        );
        let it = registry.find(text).await.unwrap().unwrap().session;
        assert_eq!((it.token, it.ended.as_ref()), (next.token, Some(text)));
        for scope in [
            CutoffScope::Tenant(text.clone()),
            CutoffScope::User {
                tenant: text.clone(),
                user: text.clone(),
            },
        ] {
            let at = registry.put_cutoff(&scope, None).await.unwrap();
            assert!(
                registry
                    .recent_cutoffs(u64::MAX)
                    .await
                    .unwrap()
                    .contains(&(scope, at))
            );
        }
    }
    assert_eq!(
        sorted(registry.recently_ended(u64::MAX).await.unwrap()),
        sorted(texts)
    );
    assert!(active(&*registry, "bystander").await);
}

async fn texts_that_cannot_be_kept_are_refused(registry: Any) {
    created(&*registry, &new("s", "alice")).await;
    let long = "x".repeat(10_000);
    for bad in ["a\0b", "\0", &long] {
        for field in 0..5 {
            let mut session = new("fresh", "alice");
            let fields = [
                &mut session.sid,
                &mut session.tenant,
                &mut session.user,
                &mut session.token,
                &mut session.data,
            ];
            bad.clone_into(fields.into_iter().nth(field).unwrap());
            if field == 4 && bad.len() == 10_000 {
                session.sid = "long data".to_owned();
                created(&*registry, &session).await;
                let found = registry.find("long data").await.unwrap().unwrap();
                assert_eq!(found.session.data, long);
                continue;
            }
            let refused = registry.create(&session).await.unwrap_err();
            assert_eq!(refused.kind(), RegistryErrorKind::Failed);
            assert!(!format!("{refused:?}").contains(bad));
            assert!(registry.find("fresh").await.unwrap().is_none());
        }
        let which = Which::Sid("s".to_owned());
        let next = Rotated {
            token: bad.to_owned(),
            ..Rotated::default()
        };
        let scope = CutoffScope::Tenant(bad.to_owned());
        let kinds = [
            registry.find(bad).await.unwrap_err().kind(),
            registry.list("", bad).await.unwrap_err().kind(),
            registry.touch(bad).await.unwrap_err().kind(),
            registry.revoke(&which, bad).await.unwrap_err().kind(),
            registry
                .revoke(&Which::Sid(bad.to_owned()), "x")
                .await
                .unwrap_err()
                .kind(),
            registry
                .rotate("s", "token of s", &next)
                .await
                .unwrap_err()
                .kind(),
            registry
                .rotate("s", bad, &Rotated::default())
                .await
                .unwrap_err()
                .kind(),
            registry.put_cutoff(&scope, None).await.unwrap_err().kind(),
        ];
        assert_eq!(kinds, [RegistryErrorKind::Failed; 8]);
    }
    assert!(registry.create(&new("", "alice")).await.is_err(), "no sid");
    let huge = NewSession {
        data: "x".repeat(70_000),
        ..new("fresh", "alice")
    };
    assert!(registry.create(&huge).await.is_err());
    assert!(active(&*registry, "s").await);
}

async fn numbers_out_of_range_are_refused_or_bounded(registry: Any) {
    let mut session = new("s", "alice");
    session.auth_at_least_ms = u64::MAX;
    assert!(registry.create(&session).await.is_err());
    assert!(
        registry
            .put_cutoff(&CutoffScope::Everyone, Some(u64::MAX))
            .await
            .is_err()
    );
    session.auth_at_least_ms = 0;
    session.lifetime_ms = u64::MAX;
    session.not_before_ms = Some(u64::MAX);
    created(&*registry, &session).await;
    assert!(active(&*registry, "s").await);
    let next = Rotated {
        lifetime_ms: u64::MAX,
        ..Rotated::default()
    };
    assert!(registry.rotate("s", "token of s", &next).await.unwrap());
    assert!(active(&*registry, "s").await);
    // The last moment there is: the next ones go on from there.
    let last = (1 << 53) - 1;
    assert_eq!(
        registry
            .put_cutoff(&CutoffScope::Everyone, Some(last))
            .await
            .unwrap(),
        last
    );
    assert_eq!(created(&*registry, &new("t", "alice")).await.0, last + 1);
    assert_eq!(
        registry
            .put_cutoff(&CutoffScope::Everyone, None)
            .await
            .unwrap(),
        last + 1
    );
}
