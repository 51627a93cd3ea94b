//! The one test binary: end to end, against real parts. The stand-ins are in this package's library.

#![allow(clippy::unwrap_used)]

mod deploy;
mod function;
mod google;
mod load;
mod payload;
mod sink;
