//! Events, so that call sites carry no `cfg`.
//!
//! `event_warn!(reason = %code, sid = ?short, count, "message in lower case")`: fields first (`name = value`,
//! `name = %display`, `name = ?debug`, or a bare variable), then one literal message. With the feature `tracing` the
//! macros are `tracing`'s own; without it the arguments are type-checked and never evaluated.
//!
//! Invariant: no event carries an id, token, cookie or key; a keyed hash of it at most.

#![allow(
    unused_macros,
    unused_imports,
    reason = "the levels are offered as a set"
)]

#[cfg(feature = "tracing")]
macro_rules! event_debug { ($($event:tt)+) => { ::tracing::debug!($($event)+) } }
#[cfg(feature = "tracing")]
macro_rules! event_info { ($($event:tt)+) => { ::tracing::info!($($event)+) } }
#[cfg(feature = "tracing")]
macro_rules! event_warn { ($($event:tt)+) => { ::tracing::warn!($($event)+) } }
#[cfg(feature = "tracing")]
macro_rules! event_error { ($($event:tt)+) => { ::tracing::error!($($event)+) } }

/// Type-checks an event and drops it; the branch is never entered, so nothing is evaluated.
#[cfg(any(test, not(feature = "tracing")))]
macro_rules! drop_event {
    (@ $message:literal $(,)?) => { let _ = $message; };
    (@ $($name:ident).+ = % $value:expr, $($rest:tt)+) => {
        let _ = ::std::format_args!("{}", $value);
        $crate::trace::drop_event!(@ $($rest)+);
    };
    (@ $($name:ident).+ = ? $value:expr, $($rest:tt)+) => {
        let _ = ::std::format_args!("{:?}", $value);
        $crate::trace::drop_event!(@ $($rest)+);
    };
    (@ $($name:ident).+ = $value:expr, $($rest:tt)+) => {
        let _ = &$value;
        $crate::trace::drop_event!(@ $($rest)+);
    };
    (@ % $name:ident, $($rest:tt)+) => {
        $crate::trace::drop_event!(@ $name = %$name, $($rest)+);
    };
    (@ ? $name:ident, $($rest:tt)+) => {
        $crate::trace::drop_event!(@ $name = ?$name, $($rest)+);
    };
    (@ $name:ident, $($rest:tt)+) => {
        $crate::trace::drop_event!(@ $name = $name, $($rest)+);
    };
    ($($event:tt)+) => {{
        #[allow(unreachable_code, clippy::diverging_sub_expression)]
        if false {
            $crate::trace::drop_event!(@ $($event)+);
        }
    }};
}

#[cfg(not(feature = "tracing"))]
macro_rules! event_debug { ($($event:tt)+) => { $crate::trace::drop_event!($($event)+) } }
#[cfg(not(feature = "tracing"))]
macro_rules! event_info { ($($event:tt)+) => { $crate::trace::drop_event!($($event)+) } }
#[cfg(not(feature = "tracing"))]
macro_rules! event_warn { ($($event:tt)+) => { $crate::trace::drop_event!($($event)+) } }
#[cfg(not(feature = "tracing"))]
macro_rules! event_error { ($($event:tt)+) => { $crate::trace::drop_event!($($event)+) } }

#[cfg(any(test, not(feature = "tracing")))]
pub(crate) use drop_event;
pub(crate) use {event_debug, event_error, event_info, event_warn};

#[cfg(test)]
mod tests {
    /// The grammar is what both readings accept; this compiles under each.
    #[test]
    fn every_form_of_field_is_accepted_and_dropped_unevaluated() {
        let (count, code) = (3, "cross_site");
        event_debug!("only a message");
        event_info!(count, %code, ?code, "bare variables");
        event_warn!(reason = %code, list = ?[1, 2], total = count + 1, "values",);
        event_error!(csrf.reason = %code, "dotted names");
        drop_event!("only a message");
        drop_event!(count, %code, ?code, "bare variables");
        drop_event!(reason = %code, list = ?[1, 2], total = count + 1, "values",);
        drop_event!(csrf.reason = %panics(), n = panics(), "dotted names, never evaluated");
    }

    fn panics() -> u8 {
        panic!("an argument was evaluated")
    }
}
