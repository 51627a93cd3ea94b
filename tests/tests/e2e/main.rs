//! The one test binary: end to end, against real parts. The stand-ins are in this package's library.

#![allow(clippy::unwrap_used)]

mod function;
mod mixed;
mod payload;
mod pull;
mod sink;
mod verbs;
