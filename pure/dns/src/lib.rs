//! Names outside that Services stand for: when each is asked for, and what becomes of an answer.
//!
//! Sans-IO: [`Book::due`] says whom to ask now, [`Book::hear`] takes what was heard, [`Book::next`] says when to look again.
//! The questions themselves are sent by `io/resolver`. To whom a Service may lead is not decided here, but in `pure/compile`.

mod book;

pub use book::{Book, FAILED_MAX, Heard, IN_FLIGHT_MAX, News, REFUSED, SETTLING, TTL_MAX, TTL_MIN};
