//! CSRF protection from outside: real servers, and the layer itself where thousands of requests are compared.
//!
//! Numbers such as R36 are those of the requirements.

mod decisions;
mod forms;
mod layer;
mod site;
mod stored;
mod tokens;
