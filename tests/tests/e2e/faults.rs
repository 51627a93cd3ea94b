//! Nothing is lost: each of these breaks something while a thousand messages or more flow, and then counts.
//!
//! Every message has its number as `idempotency-key`. At the end each has a result or a dead letter, and there are no
//! others; results of one message have the same `ce-id`, and there is more than one only where the test says how many
//! there may be.

mod bucket;
mod clients;
mod dead_letters;
mod disk;
mod killed;
mod overload;
mod poison;
mod publisher;
mod restart;
mod scene;
mod stopped;
mod tasks;
