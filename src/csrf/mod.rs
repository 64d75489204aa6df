//! Cross-site request forgery: who caused this request?
//!
//! The pure cores. They know HTTP heads, bytes and keys; no session, no store and no Tower.
//!
//! 1. `origin` reads what an `Origin` or `Host` header names, strictly;
//! 2. `facts` collects what a request's head says, and `verdict` decides by what the browser itself says of its
//!    cause;
//! 3. `token` makes and checks the second proof, for requests about which the browser says nothing;
//! 4. `form` finds that proof in a submitted form.

mod facts;
mod form;
mod origin;
mod token;
mod verdict;
