//! Guarantees 1 to 3 of the design under forced interleavings: an operation is held back before it reaches the store,
//! the other request runs to its end, then the first goes on.

use axum::http::StatusCode;
use portcullis::session::SaveOutcome;

use super::bench::{App, Browser, both, hold};

/// Fails if: save.lua (and its twin) writes the record that was loaded instead of merging; `fields_of` is skipped.
#[tokio::test]
async fn parallel_writes_of_different_fields_all_survive() {
    for backend in both().await {
        let (app, other) = (App::new(&backend.store), App::new(&backend.other));
        let browser = Browser::new(&app);
        browser.post("/login/alice").await;
        let mut writers = tokio::task::JoinSet::new();
        for i in 0..50 {
            let tab = browser.copy_at(if i % 2 == 0 { &app } else { &other });
            writers
                .spawn(async move { tab.post(&format!("/slow/field{i}/value{i}")).await.status });
        }
        while let Some(status) = writers.join_next().await {
            assert_eq!(status.unwrap(), StatusCode::OK, "{}", backend.name);
        }
        for i in 0..50 {
            let answer = browser.get(&format!("/get/field{i}")).await;
            assert_eq!(answer.text, format!("value{i}"), "{}", backend.name);
        }
    }
}

/// Fails if: a save does not read the session first (`if not raw then return 0 end` removed in save.lua), or the
/// handle answers Gone by making a new session.
#[tokio::test]
async fn a_write_in_flight_does_not_undo_a_logout() {
    for backend in both().await {
        let (app, other) = (App::new(&backend.store), App::new(&backend.other));
        let browser = Browser::new(&app);
        browser.post("/login/alice").await;
        let (writer, thief) = (browser.copy_at(&app), browser.copy_at(&other));
        let save = hold(&backend.store, "session.save");
        let slow = tokio::spawn(async move { writer.post("/slow/a/1").await });
        save.reached().await;
        assert_eq!(
            browser.copy_at(&other).post("/logout").await.status,
            StatusCode::OK
        );
        save.resume();
        let answer = slow.await.unwrap();
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{}: the writer gets no 5xx",
            backend.name
        );
        assert_eq!(answer.outcome, Some(SaveOutcome::Gone), "{}", backend.name);
        assert!(
            answer.set_cookies().is_empty(),
            "{}: {answer:?}",
            backend.name
        );
        assert!(!thief.is_logged_in().await, "{}", backend.name);
        assert_eq!(thief.get("/get/a").await.text, "");
    }
}

/// Fails if: the load of a request is not repeated after a logout elsewhere, i.e. `Known` outlives the request.
#[tokio::test]
async fn a_write_that_loads_after_the_logout_starts_a_visitors_session() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let browser = Browser::new(&app);
        browser.post("/login/alice").await;
        let writer = browser.copy_at(&app);
        let load = hold(&backend.store, "session.read");
        let slow = tokio::spawn(async move {
            let answer = writer.post("/slow/a/1").await;
            (writer, answer)
        });
        load.reached().await;
        browser
            .copy_at(&App::new(&backend.other))
            .post("/logout")
            .await;
        load.resume();
        let (writer, answer) = slow.await.unwrap();
        assert_eq!(
            answer.outcome,
            Some(SaveOutcome::Created),
            "{}",
            backend.name
        );
        assert!(!writer.is_logged_in().await, "{}", backend.name);
        assert_eq!(
            writer.get("/get/a").await.text,
            "1",
            "under an id of its own"
        );
        assert_ne!(writer.cookie_header(), browser.cookie_header());
    }
}

/// Fails if: login.lua does not delete the old session, or save.lua makes one that is missing.
#[tokio::test]
async fn a_write_in_flight_does_not_bring_back_the_id_from_before_the_login() {
    for backend in both().await {
        let (app, other) = (App::new(&backend.store), App::new(&backend.other));
        let visitor = Browser::new(&app);
        visitor.post("/set/cart/book").await;
        let (before, writer) = (visitor.copy_at(&app), visitor.copy_at(&app));
        let save = hold(&backend.store, "session.save");
        let slow = tokio::spawn(async move { writer.post("/slow/a/1").await });
        save.reached().await;
        let user = visitor.copy_at(&other);
        user.post("/login/alice").await;
        save.resume();
        let answer = slow.await.unwrap();
        assert_eq!(
            (answer.status, answer.outcome),
            (StatusCode::OK, Some(SaveOutcome::Gone))
        );
        assert!(
            answer.set_cookies().is_empty(),
            "{}: {answer:?}",
            backend.name
        );
        assert_eq!(
            before.get("/get/cart").await.text,
            "",
            "{}: the old id is dead",
            backend.name
        );
        assert_eq!(before.get("/get/a").await.text, "");
        assert_eq!(
            user.get("/get/cart").await.text,
            "book",
            "{}: carried over",
            backend.name
        );
        assert_eq!(
            user.get("/get/a").await.text,
            "",
            "the loser's write goes to nobody"
        );
    }
}

/// Fails if: renew.lua copies instead of moving.
#[tokio::test]
async fn of_parallel_renewals_one_wins_and_the_others_are_told() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let browser = Browser::new(&app);
        browser.post("/login/alice").await;
        let old = browser.copy_at(&app);
        let renew = hold(&backend.store, "session.renew");
        let loser = browser.copy_at(&app);
        let slow = tokio::spawn(async move {
            let answer = loser.post("/renew").await;
            (loser, answer)
        });
        renew.reached().await;
        let winner = browser.copy_at(&App::new(&backend.other));
        assert_eq!(winner.post("/renew").await.status, StatusCode::OK);
        renew.resume();
        let (loser, answer) = slow.await.unwrap();
        assert!(
            answer.set_cookies().is_empty(),
            "{}: {answer:?}",
            backend.name
        );
        assert!(winner.is_logged_in().await, "{}", backend.name);
        assert!(
            !loser.is_logged_in().await && !old.is_logged_in().await,
            "{}",
            backend.name
        );
    }
}

/// The user logs out with the id from before a renewal whose response is still on its way.
///
/// Fails if: renew.lua or login.lua deletes the old id without a mark, or destroy.lua does not follow it.
#[tokio::test]
async fn a_logout_ends_what_was_renewed_meanwhile() {
    for backend in both().await {
        for step in ["/renew", "/login/alice"] {
            let (app, other) = (App::new(&backend.store), App::new(&backend.other));
            let browser = Browser::new(&app);
            browser.post("/login/alice").await;
            let (renewed, leaver) = (browser.copy_at(&other), browser.copy_at(&app));
            renewed.post(step).await;
            renewed.post("/renew").await;
            assert!(
                !browser.is_logged_in().await,
                "{}: the old id is dead",
                backend.name
            );
            assert_eq!(leaver.post("/logout").await.status, StatusCode::OK);
            assert!(!renewed.is_logged_in().await, "{} {step}", backend.name);
        }
    }
}

/// Fails if: a cutoff is not compared when a session is saved or loaded.
#[tokio::test]
async fn a_write_in_flight_does_not_outlive_a_cutoff() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let browser = Browser::new(&app);
        browser.post("/login/alice").await;
        let writer = browser.copy_at(&app);
        let save = hold(&backend.store, "session.save");
        let slow = tokio::spawn(async move { writer.post("/slow/a/1").await });
        save.reached().await;
        let cutoffs = portcullis::cutoff::Cutoffs::new(&backend.other);
        cutoffs.user("", "alice").await.unwrap();
        save.resume();
        let answer = slow.await.unwrap();
        assert_eq!(answer.outcome, Some(SaveOutcome::Gone), "{}", backend.name);
        assert!(!browser.is_logged_in().await, "{}", backend.name);
    }
}

/// A client that disconnects takes nothing of another request with it.
///
/// Fails if: changes taken for a save that is cancelled are lost to the handle (`Unsent::drop` does nothing).
#[tokio::test]
async fn cancelled_requests_leave_the_session_whole() {
    for backend in both().await {
        let app = App::new(&backend.store);
        let browser = Browser::new(&app);
        browser.post("/login/alice").await;
        for operation in ["session.read", "session.save"] {
            let held = hold(&backend.store, operation);
            let tab = browser.copy_at(&app);
            let request = tokio::spawn(async move { tab.post("/slow/a/1").await });
            held.reached().await;
            request.abort();
            assert!(request.await.unwrap_err().is_cancelled());
            assert!(browser.is_logged_in().await, "{} {operation}", backend.name);
        }
        assert_eq!(
            browser.post("/slow/b/2").await.outcome,
            Some(SaveOutcome::Saved)
        );
        assert_eq!(browser.get("/get/b").await.text, "2");
    }
}
